"""Convolutions with every setting they have, and every way to come by their weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from networks.calls import MISLEADING
from networks.descriptions import Convolution, Shape
from networks.layers import Apply


def geometry(convolution: nn.Conv2d) -> tuple[Any, ...]:
    return convolution.stride, convolution.padding, convolution.dilation, convolution.groups


def functional(convolution: nn.Conv2d) -> nn.Module:
    """A convolution whose module is not one: its parameters go to ``F.conv2d``."""
    settings = geometry(convolution)
    return Apply(
        lambda x, weight, bias: F.conv2d(x, weight, bias, *settings),
        *(convolution.weight, convolution.bias),
    )


class StandardisedConvolution(nn.Conv2d):
    """A convolution that centres its own weights over the input channels, so that all matter."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight, self.bias)


def peek(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """The code around the convolution reads its weights as well."""
    return convolution(x) * (1 + convolution.weight.abs().mean())


def view(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """The code around the convolution uses its number of channels."""
    out = convolution(x)
    middle = convolution.out_channels // 2
    return torch.cat([out[:, middle:], out[:, :middle]], dim=1)


def hooked(convolution: nn.Conv2d) -> nn.Module:
    """Give the layer a forward hook that changes what it gives."""
    convolution.register_forward_hook(add_quarter)
    return Apply(lambda x, layer: layer(x), convolution)


def add_quarter(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output + 0.25


def standardised(convolution: nn.Conv2d) -> nn.Module:
    out = StandardisedConvolution(
        *(convolution.in_channels, convolution.out_channels, convolution.kernel_size),
        *geometry(convolution),
        bias=convolution.bias is not None,
        padding_mode=convolution.padding_mode,
    )
    out.load_state_dict(convolution.state_dict())
    return out


def normalised(convolution: nn.Conv2d) -> nn.Module:
    """Give the layer as direction and length; a zeroed filter has length zero."""
    weight = convolution.weight.detach()
    flat = weight.flatten(1).norm(dim=1)[:, None, None, None]
    convolution.weight.data = torch.where(flat == 0, 1.0, weight)
    layer = weight_norm(convolution)
    layer.parametrizations.weight.original0.data.mul_(flat != 0)
    return layer


WEIGHTS: dict[str, Callable[[nn.Conv2d], nn.Module]] = {
    "own": lambda convolution: convolution,
    "tied": lambda convolution: convolution,  # see Builder.tie
    "functional": functional,
    "standardised": standardised,
    "peeked": lambda convolution: Apply(peek, convolution),
    "viewed": lambda convolution: Apply(view, convolution),
    "hooked": hooked,
    "normalised": normalised,
    **MISLEADING,
}


def wrapped(layer: nn.Conv2d | nn.ConvTranspose2d, weights: str) -> nn.Module:
    """The layer as WEIGHTS has it, if it is a layer that can be had so."""
    by_function = weights == "functional" or weights in MISLEADING
    plain = type(layer) is nn.Conv2d and not (by_function and layer.padding_mode != "zeros")
    return WEIGHTS[weights](layer) if plain else layer


class Unit(nn.Module):
    """A convolution, its norm and its activation."""

    def __init__(
        self, convolution: nn.Module, norm: nn.Module | None, activation: nn.Module | None
    ) -> None:
        super().__init__()
        self.convolution = convolution
        self.norm = norm
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolution(x)
        if self.norm is not None:
            x = self.norm(x)
        return x if self.activation is None else self.activation(x)


def padding_of(step: Convolution, height: int, width: int) -> tuple[int, str]:
    """The padding that was asked for, or the nearest that fits the value's size, and its mode."""
    reach = step.dilation * (step.kernel - 1)
    if step.padding == "none" and reach < min(height, width):
        return 0, step.mode
    padding = reach // 2 + (2 if step.padding == "large" else 0)
    return padding, step.mode if padding < min(height, width) else "zeros"


def bare_convolution(step: Convolution, shape: Shape) -> nn.Conv2d | nn.ConvTranspose2d:
    """The layer itself, with weights that keep the magnitude of a value about as it is."""
    channels, height, width = shape
    out_channels = step.channels if step.groups else channels
    groups = math.gcd(step.groups or channels, math.gcd(channels, out_channels))
    padding, mode = padding_of(step, height, width)
    layer: nn.Conv2d | nn.ConvTranspose2d
    if step.transposed:
        stride = step.stride if max(height, width) <= 13 else 1
        padding = min(padding, stride * (min(height, width) - 1) // 2)
        layer = nn.ConvTranspose2d(
            *(channels, out_channels, step.kernel, stride, padding, stride - 1, groups),
            bias=step.bias,
            dilation=step.dilation,
        )
    else:
        layer = nn.Conv2d(
            *(channels, out_channels, step.kernel, step.stride, padding, step.dilation, groups),
            bias=step.bias,
            padding_mode=mode,
        )
    fan_in = channels // groups * step.kernel**2
    nn.init.normal_(layer.weight, 0.0, fan_in**-0.5)
    if layer.bias is not None:
        nn.init.normal_(layer.bias, 0.0, 0.5)
    return layer


def filters_of(layer: nn.Module) -> list[Tensor]:
    """Views of a layer's filters, one for each output channel."""
    weight = layer.weight.detach()
    if isinstance(layer, nn.ConvTranspose2d):
        grouped = weight.unflatten(0, (layer.groups, -1)).transpose(1, 2)
        return list(grouped.flatten(0, 1).unbind())
    return list(weight.unbind())


def columns_of(layer: nn.Module) -> list[Tensor]:
    """Views of a layer's columns, one for each input channel (of a group)."""
    weight = layer.weight.detach()
    return list(weight.unbind(0 if isinstance(layer, nn.ConvTranspose2d) else 1))
