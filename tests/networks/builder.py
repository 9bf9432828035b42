"""The builder: steps are placed one after the other, each where it fits."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor, nn

from networks.convolutions import Unit, bare_convolution, columns_of, filters_of, wrapped
from networks.descriptions import MOST_CHANNELS, Convolution, Description, Shape, Zeros
from networks.layers import ACTIVATIONS, NORMS, SPATIAL_NORMS, ChannelsLast


class Unfitting(Exception):
    """A step that cannot be done on the values it meets."""


def seconds(kind: str, image: Tensor) -> tuple[Tensor, ...]:
    """What a network of several inputs takes beside an image: made of the image's values."""
    height, width = image.shape[2:]
    if kind == "image":
        return (image[:, :2, : math.ceil(height / 2), : math.ceil(width / 2)].flip(3).contiguous(),)
    if kind == "vector":
        return (image.flatten(1)[:, :: math.ceil(3 * height * width / 5)].contiguous(),)
    return ()


def as_map(value: Tensor) -> Tensor:
    """A vector for each image as a map of one pixel."""
    return value if value.ndim == 4 else value[:, :, None, None]


class Builder:
    """Places steps one after the other; knows every value's shape from a probe of its own."""

    def __init__(self, description: Description) -> None:
        self.random = torch.Generator().manual_seed(description.seed)
        self.order = torch.randperm(64, generator=self.random).tolist()
        self.aligned = description.aligned
        size = min(description.sizes)
        self.values = [torch.randn(2, 3, *size, generator=self.random)]
        self.values[:0] = [as_map(other) for other in seconds(description.second, self.values[0])]
        self.modules: list[nn.Module] = []
        self.wiring: list[tuple[int, tuple[int, ...]]] = []

    @cached_property
    def fusion(self) -> nn.Parameter:
        """The weights that all weighted sums of a network share."""
        return nn.Parameter(torch.rand(2, 9))

    def read(self, back: int) -> tuple[int, Shape]:
        """The number and the shape of the value that is ``back`` behind the newest."""
        index = len(self.values) - 1 - back % len(self.values)
        return index, self.shape(index)

    def shape(self, index: int) -> Shape:
        _, channels, height, width = self.values[index].shape
        return channels, height, width

    def place(self, module: nn.Module, *sources: int) -> int:
        """Call a new module on earlier values; return the number of its value."""
        self.modules.append(module.eval())
        return self.call(len(self.modules) - 1, *sources)

    def call(self, module: int, *sources: int) -> int:
        """Call a module that is there on earlier values; return the number of its value."""
        with torch.no_grad():
            out = self.modules[module](*(self.values[source] for source in sources))
        if out.shape[1] > MOST_CHANNELS:
            raise Unfitting
        self.values.append(out)
        self.wiring.append((module, sources))
        return len(self.values) - 1

    def choose(self, level: str, count: int) -> list[int]:
        """The channels that a level of Zeros means in a layer of so many."""
        some = min(math.ceil(0.4 * count), count - 1)
        number = {"none": 0, "some": some, "most": count - 1, "all": count}[level]
        order = torch.randperm(count, generator=self.random).tolist()
        if self.aligned:
            order = [channel for channel in self.order if channel < count]
        return order[:number]

    def zero(self, layer: nn.Module, norm: nn.Module | None, zeros: Zeros) -> None:
        """Zero in a layer and its norm what the description wants."""
        filters, columns = filters_of(layer), columns_of(layer)
        for column in self.choose(zeros.columns, len(columns)):
            columns[column].zero_()
        norm = norm.layer if isinstance(norm, ChannelsLast) else norm
        weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
        for channel in self.choose(zeros.filters, len(filters)):
            filters[channel].zero_()
            if zeros.bias and layer.bias is not None:
                layer.bias.data[channel] = 0.0
            if zeros.norm and weight is not None and bias is not None:
                weight.data[channel] = bias.data[channel] = 0.0
        if zeros.scales != "none" and weight is not None:
            weight.data[self.choose(zeros.scales, len(filters))] = 0.0

    def tie(self, layer: nn.Module) -> None:
        """Give a layer the very weights of an earlier one that has as many."""
        for module in self.modules:
            for other in module.modules():
                if type(other) is type(layer) and other.weight.shape == layer.weight.shape:
                    layer.weight = other.weight
                    return

    def unit(self, step: Convolution, shape: Shape) -> Unit:
        """Convolution, norm and activation with what is to be zeroed in them."""
        layer = bare_convolution(step, shape)
        channels = layer.out_channels
        size = layer(torch.zeros(1, *shape)).shape[2:]
        kind = "batch" if step.norm in SPATIAL_NORMS and size.numel() == 1 else step.norm
        norm = NORMS[kind](channels) if kind != "none" else None
        if step.weights == "tied":
            self.tie(layer)
        self.zero(layer, norm, step.zeros)
        activation = ACTIVATIONS[step.activation](channels) if step.activation != "none" else None
        return Unit(wrapped(layer, step.weights), norm, activation)
