"""Patterns of newer architectures: channels that are split, shuffled and stacked, and tokens."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks.builder import Builder, Unfitting
from networks.descriptions import Block, Convolution, Shape
from networks.layers import Apply


def unit_of(builder: Builder, block: Block, shape: Shape, step: Convolution) -> nn.Module:
    """A unit with the block's norm and zeros."""
    step = replace(step, norm=block.norm, zeros=block.zeros, bias=block.norm == "none")
    return builder.unit(step, shape)


def even_channels(shape: Shape) -> int:
    if shape[0] % 2:
        raise Unfitting
    return shape[0] // 2


def split_and_stack(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    """YOLOv8's C2f: the halves of a unit's output, what comes of the second one, and a fusion."""
    half = max(1, block.channels // 2)
    plain = Convolution(channels=2 * half, activation=block.activation)
    first = unit_of(builder, block, shape, plain)
    inner = unit_of(builder, block, (half, *shape[1:]), replace(plain, channels=half, kernel=3))
    last = unit_of(builder, block, (3 * half, *shape[1:]), replace(plain, channels=block.channels))

    def run(x: Tensor, first: nn.Module, inner: nn.Module, last: nn.Module) -> Tensor:
        parts = list(first(x).chunk(2, dim=1))
        parts.append(inner(parts[-1]) + parts[-1])
        return last(torch.cat(parts, dim=1))

    return Apply(run, first, inner, last)


def shuffled_halves(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    """ShuffleNetV2: one half passes, the other one is convolved, and both are shuffled."""
    half = even_channels(shape)
    plain = Convolution(channels=half, activation=block.activation)
    units = [
        unit_of(builder, block, (half, *shape[1:]), step)
        for step in (plain, replace(plain, kernel=3, groups=0), plain)
    ]

    def run(x: Tensor, *units: nn.Module) -> Tensor:
        passing, worked = x.chunk(2, dim=1)
        for unit in units:
            worked = unit(worked)
        return F.channel_shuffle(torch.cat([passing, worked], dim=1), 2)

    return Apply(run, *units)


def shuffled_groups(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    """ShuffleNet: grouped convolutions with their channels shuffled by views between them."""
    even_channels(shape)
    plain = Convolution(channels=shape[0], groups=2, activation=block.activation)
    units = [
        unit_of(builder, block, shape, step)
        for step in (plain, replace(plain, kernel=3, groups=0), plain)
    ]

    def run(x: Tensor, first: nn.Module, depthwise: nn.Module, last: nn.Module) -> Tensor:
        out = first(x)
        count, channels, height, width = out.shape
        out = out.view(count, 2, channels // 2, height, width).transpose(1, 2)
        out = out.reshape(count, channels, height, width)
        return x + last(depthwise(out))

    return Apply(run, *units)


def mirror(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    """A convolution, and back by its own weights transposed."""
    unit = builder.unit(Convolution(channels=block.channels, zeros=block.zeros), shape)

    def run(x: Tensor, unit: nn.Module) -> Tensor:
        return F.conv_transpose2d(unit(x).relu(), unit.convolution.weight)

    return Apply(run, unit)


def pyramid(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    """Dilated convolutions side by side, and the mean of the image (DeepLab's ASPP)."""
    plain = Convolution(channels=max(1, block.channels // 2), activation=block.activation)
    steps = (plain, replace(plain, kernel=3, dilation=2), replace(plain, kernel=3, dilation=3))
    units = [unit_of(builder, block, shape, step) for step in steps]
    pooled = builder.unit(replace(plain, zeros=block.zeros), (shape[0], 1, 1))

    def run(x: Tensor, pooled: nn.Module, *units: nn.Module) -> Tensor:
        mean = pooled(x.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        return torch.cat([*(unit(x) for unit in units), mean], dim=1)

    return Apply(run, pooled, *units)


def tokens(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    """ConvNeXt: a depthwise convolution, linear layers over the last axis, and the input added."""
    depthwise = unit_of(builder, block, shape, Convolution(kernel=3, groups=0))
    wide, narrow = nn.Linear(shape[0], 2 * shape[0]), nn.Linear(2 * shape[0], shape[0])
    builder.zero(wide, None, block.zeros)

    def run(x: Tensor, depthwise: nn.Module, wide: nn.Module, narrow: nn.Module) -> Tensor:
        rows = depthwise(x).permute(0, 2, 3, 1)
        return x + narrow(F.gelu(wide(rows))).permute(0, 3, 1, 2)

    return Apply(run, depthwise, wide, narrow)


def encoder(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    """A unit and a transformer's layer among its pixels."""
    channels = 2 * max(1, block.channels // 2)
    if shape[1] * shape[2] > 200:
        raise Unfitting
    unit = unit_of(builder, block, shape, Convolution(channels=channels))
    layer = nn.TransformerEncoderLayer(channels, 2, 2 * channels, 0.0, batch_first=True)
    builder.zero(layer.linear1, None, block.zeros)

    def run(x: Tensor, unit: nn.Module, layer: nn.Module) -> Tensor:
        out = unit(x)
        rows = layer(out.flatten(2).transpose(1, 2))
        return rows.transpose(1, 2).reshape(out.shape)

    return Apply(run, unit, layer)


def by_function(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    """A unit whose layer is called by function, its input padded before, and another unit."""
    unit = unit_of(builder, block, shape, Convolution(channels=block.channels, kernel=3))
    plain = Convolution(channels=block.channels, activation=block.activation)
    other = unit_of(builder, block, (block.channels, *shape[1:]), plain)

    def run(x: Tensor, unit: nn.Module, other: nn.Module) -> Tensor:
        layer = unit.convolution
        valid = F.conv2d(F.pad(x, (1, 1, 1, 1)), layer.weight, layer.bias)
        return other(valid)

    return Apply(run, unit, other)


PATTERNS = {
    "split_and_stack": split_and_stack,
    "shuffled_halves": shuffled_halves,
    "shuffled_groups": shuffled_groups,
    "mirror": mirror,
    "pyramid": pyramid,
    "tokens": tokens,
    "encoder": encoder,
    "by_function": by_function,
}
