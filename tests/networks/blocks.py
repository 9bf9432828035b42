"""Several convolutions in well-known patterns, operators on two values, and outputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks.attention import ATTENTION
from networks.builder import Builder
from networks.convolutions import Unit
from networks.descriptions import Block, Convolution, Shape, Zeros
from networks.functions import FUNCTIONS
from networks.layers import Apply
from networks.patterns import PATTERNS


def chain(builder: Builder, block: Block, shape: Shape, *units: Convolution) -> list[Unit]:
    """Units that read each other, with the block's norm, activation and zeros."""
    out = []
    for step in units:
        step = replace(step, norm=block.norm, zeros=block.zeros, bias=block.norm == "none")
        out.append(builder.unit(step, shape))
        shape = (step.channels if step.groups else shape[0], shape[1], shape[2])
    return out


def add_shortcut(
    x: Tensor, body: nn.Module, shortcut: nn.Module | None, activation: nn.Module | None
) -> Tensor:
    out = body(x) + (x if shortcut is None else shortcut(x))
    return out if activation is None else activation(out)


def residual(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    """A chain of units whose output is added to its input (projected if it must be)."""
    convolution = Convolution(channels=block.channels, kernel=3)
    first = replace(convolution, activation=block.activation)
    body = chain(builder, block, shape, first, convolution)
    shortcut = None
    if shape[0] != block.channels:
        shortcut = chain(builder, block, shape, replace(convolution, kernel=1))[0]
    last = nn.ReLU() if block.activation == "relu" else None
    return Apply(add_shortcut, nn.Sequential(*body), shortcut, last)


def inverted(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    """A residual whose body is wide and depthwise in its middle."""
    widen = Convolution(channels=2 * block.channels, activation=block.activation)
    depthwise = replace(widen, kernel=3, groups=0)
    body = chain(builder, block, shape, widen, depthwise, Convolution(channels=shape[0]))
    return Apply(add_shortcut, nn.Sequential(*body), None, None)


def side_by_side(x: Tensor, *units: nn.Module) -> Tensor:
    values = [x]
    for unit in units:
        values.append(unit(values[-1]))
    return torch.cat(values[1:], dim=1)


def cascade(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    """Units one after the other, and all that they give laid side by side."""
    unit = Convolution(channels=block.channels, kernel=3, activation=block.activation)
    half = replace(unit, channels=max(1, block.channels // 2))
    return Apply(side_by_side, *chain(builder, block, shape, unit, half, half))


def dense(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    """What a unit gives, laid beside its input."""
    unit = Convolution(channels=max(1, block.channels // 2), activation=block.activation)
    units = chain(builder, block, shape, unit)
    return Apply(lambda x, unit: torch.cat([x, unit(x)], dim=1), *units)


def excite(x: Tensor, first: nn.Module, second: nn.Module) -> Tensor:
    return x * torch.sigmoid(second(first(F.adaptive_avg_pool2d(x, 1))))


def excitation(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    """Squeeze and excitation: a gate for each channel from the means of all."""
    squeeze = Convolution(channels=max(1, shape[0] // 2), activation=block.activation)
    pooled = (shape[0], 1, 1)
    plain = replace(block, norm="none")
    units = chain(builder, plain, pooled, squeeze, Convolution(channels=shape[0]))
    return Apply(excite, *units)


def add_three_times(x: Tensor, unit: nn.Module) -> Tensor:
    for _ in range(3):
        x = x + 0.5 * unit(x)
    return x


def loop(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    """The same unit three times over, added to its input each time."""
    unit = Convolution(channels=shape[0], kernel=3, activation=block.activation)
    return Apply(add_three_times, *chain(builder, block, shape, unit))


BLOCKS = {
    "residual": residual,
    "inverted": inverted,
    "cascade": cascade,
    "dense": dense,
    "excitation": excitation,
    "loop": loop,
    **PATTERNS,
    **ATTENTION,
}


def weighted_sum(fusion: nn.Parameter, column: int) -> nn.Module:
    """EResFD's fusion: column ``column`` of a learned (2, 9) that all sums of a network share."""

    def add(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
        weight = F.relu(weight)
        weight = (weight / (weight.sum(dim=0) + 1e-4))[:, column]
        return (weight[0] * a + weight[1] * b) / (weight[0] + weight[1] + 1e-4)

    return Apply(add, fusion)


JOINS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "concatenate": lambda a, b: torch.cat([a, b], dim=1),
    "multiply": lambda a, b: a * b.tanh(),
    "gate": lambda a, b: a * b.sigmoid(),
    "divide": lambda a, b: a / (1 + b.abs()),
    "maximum": torch.maximum,
    "mean": lambda a, b: torch.stack([a, b]).mean(dim=0),
    "interleave": lambda a, b: torch.stack([a, b], dim=2).flatten(1, 2),
    "interpolate": lambda a, b: torch.lerp(a, b, 0.3),
    "choose": lambda a, b: torch.where(b > 0, a, b),
    "fmax": torch.fmax,
    "channel_by_channel": lambda a, b: a + (a * b).mean(dim=(2, 3), keepdim=True).tanh(),
    "correlate": lambda a, b: (a * b).sum(dim=1, keepdim=True),
}

SAME_CHANNELS = ("interleave", "mean", "interpolate")
"""Joins that cannot broadcast one channel."""


def resize(x: Tensor, like: Tensor) -> Tensor:
    """The first value in the size of the second."""
    return F.interpolate(x, size=[like.shape[2], like.shape[3]], mode="nearest")


def join_resized(a: Tensor, b: Tensor, join: nn.Module, projection: nn.Module | None) -> Tensor:
    """Join two values after the second was resized and projected to the first."""
    if a.shape[2:] != b.shape[2:]:
        b = resize(b, a)
    return join(a, b if projection is None else projection(b))


def cells(x: Tensor, unit: nn.Module) -> Tensor:
    """A detector's head: cells row by row, (N, H * W, 2)."""
    return unit(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 2)


def scaled(function: Callable[[Tensor], Tensor], kernel: int) -> Callable[..., nn.Module]:
    """A convolution's output in a range of its own: pixels, scores, or tiny numbers."""
    return lambda b, s, zeros: Apply(
        lambda x, unit: function(unit(x)),
        b.unit(Convolution(channels=3, kernel=kernel, zeros=zeros), s),
    )


def boxes_beside_scores(x: Tensor) -> Tensor:
    """Channels of very different ranges in one tensor."""
    return torch.cat([x[:, :2] * 640, x[:, 2:].sigmoid()], dim=1)


def hidden_layers(builder: Builder, features: int, zeros: Zeros) -> list[nn.Module]:
    hidden, last = nn.Linear(features, 6), nn.Linear(6, 3)
    builder.zero(hidden, None, zeros)
    return [hidden, nn.ReLU(), last]


OUTPUTS: dict[str, Callable[[Builder, Shape, Zeros], nn.Module]] = {
    "convolution": lambda b, s, zeros: b.unit(Convolution(channels=3, kernel=3, zeros=zeros), s),
    "pointwise": lambda b, s, zeros: b.unit(Convolution(channels=3, zeros=zeros), s),
    "levels": lambda b, s, zeros: Apply(
        cells, b.unit(Convolution(channels=2, kernel=3, zeros=zeros), s)
    ),
    "pooled": lambda b, s, zeros: nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(s[0], 3)
    ),
    "pooled_cells": lambda b, s, zeros: nn.Sequential(
        nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(4 * s[0], 3)
    ),
    "perceptron": lambda b, s, zeros: nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), *hidden_layers(b, s[0], zeros)
    ),
    "flattened": lambda b, s, zeros: nn.Sequential(
        nn.Flatten(), *hidden_layers(b, math.prod(s), zeros)
    ),
    "boxes": scaled(lambda x: x * 640, 1),
    "scores": scaled(torch.sigmoid, 3),
    "faint": scaled(lambda x: x * 1e-3, 3),
    "boxes_and_scores": scaled(boxes_beside_scores, 3),
    "detections": scaled(
        lambda x: boxes_beside_scores(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 3), 1
    ),
    "map": lambda b, s, zeros: nn.Identity(),
    "mean": lambda b, s, zeros: Apply(FUNCTIONS["global_mean"]),
    "largest": lambda b, s, zeros: Apply(lambda x: x.argmax(dim=1)),
}
