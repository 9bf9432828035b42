"""Random networks for the property tests of the surgery, and the checker that compares two.

A network is described by plain frozen data (:class:`Description`): a list of steps, each of which
reads earlier values, and a list of outputs. Hypothesis draws descriptions, makes a failing one
small, and prints it so that it can be pasted into a test. :func:`build` turns a description into
an ordinary ``nn.Module``; :func:`assert_same_function` says whether two modules agree.

Values are counted back from the newest (``source=0``), modulo how many there are, so that every
description means something, also after Hypothesis has taken steps out of it. A step that cannot
be done on the values it meets (a pixel shuffle of three channels) is left out.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

SMALLEST, EXAMPLE, LARGEST = (11, 13), (16, 16), (19, 24)
"""(height, width) of the images that networks are tried on; two of them are odd."""

MOST_CHANNELS = 32


# Descriptions -----------------------------------------------------------------------------------


class Compact:
    """A repr that can be pasted and names only what differs from the defaults."""

    def __repr__(self) -> str:
        changed = [
            f"{item.name}={getattr(self, item.name)!r}"
            for item in fields(self)
            if item.default is MISSING or getattr(self, item.name) != item.default
        ]
        return f"{type(self).__name__}({', '.join(changed)})"


@dataclass(frozen=True, repr=False)
class Zeros(Compact):
    """What is zeroed in a layer. Levels are "none", "some" (40 %), "most" (all but one), "all"."""

    filters: str = "none"
    bias: bool = False
    """Zero the bias of the zeroed filters as well."""
    norm: bool = False
    """Zero scale and shift of the zeroed filters' norm as well, so that no constant is left."""
    columns: str = "none"
    """Input channels that the layer multiplies by zero."""
    scales: str = "none"
    """Channels whose norm has a scale of zero, whatever their filter."""


@dataclass(frozen=True, repr=False)
class Convolution(Compact):
    """A convolution, its norm and its activation."""

    source: int = 0
    channels: int = 4
    kernel: int = 1
    stride: int = 1
    padding: str = "same"
    """"none", "same" (keeps the size) or "large" (two pixels more than that)."""
    dilation: int = 1
    groups: int = 1
    """0 means depthwise; a number that does not fit the channels is made smaller."""
    transposed: bool = False
    mode: str = "zeros"
    bias: bool = True
    norm: str = "none"
    activation: str = "none"
    zeros: Zeros = Zeros()
    weights: str = "own"
    """How the layer comes by its weights, see WEIGHTS."""


@dataclass(frozen=True, repr=False)
class Block(Compact):
    """Several convolutions in a well-known pattern, see BLOCKS."""

    kind: str = "residual"
    source: int = 0
    channels: int = 4
    norm: str = "batch"
    activation: str = "relu"
    zeros: Zeros = Zeros()


@dataclass(frozen=True, repr=False)
class Function(Compact):
    """An operator on one value, with parameters (LEARNED) or without (FUNCTIONS)."""

    name: str
    source: int = 0


@dataclass(frozen=True, repr=False)
class Join(Compact):
    """An operator on two values; the second is resized, and projected if it must be."""

    kind: str = "add"
    source: int = 0
    other: int = 1
    zeros: Zeros = Zeros()
    """What is zeroed in the projection."""


@dataclass(frozen=True, repr=False)
class Again(Compact):
    """An earlier step's module, called once more on another value."""

    step: int = 0
    source: int = 0


@dataclass(frozen=True, repr=False)
class Output(Compact):
    """One output of the network, see OUTPUTS."""

    kind: str = "convolution"
    source: int = 0
    zeros: Zeros = Zeros()


Step = Convolution | Block | Function | Join | Again


@dataclass(frozen=True, repr=False)
class Description(Compact):
    """A whole network; ``build`` makes the same weights of the same description every time."""

    steps: tuple[Step, ...] = ()
    outputs: tuple[Output, ...] = (Output(),)
    seed: int = 0
    aligned: bool = False
    """Layers of the same width zero the same channels, as pruning by dependency groups does."""

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of the images that the network takes."""
        if any(output.kind == "flattened" for output in self.outputs):
            return (EXAMPLE,)
        return (EXAMPLE, SMALLEST, LARGEST)


# Operators on one value (N, C, H, W), without parameters ----------------------------------------


def shuffle_channels(x: Tensor) -> Tensor:
    count, channels, height, width = x.shape
    return x.view(count, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)


def even(x: Tensor) -> Tensor:
    return x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]


def focus(x: Tensor) -> Tensor:
    x = even(x)
    return torch.cat([x[:, :, ::2, ::2], x[:, :, 1::2, 1::2]], dim=1)


def assign_channel(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 0] = 0.5
    return x


def assign_where_negative(x: Tensor) -> Tensor:
    x = x.clone()
    x[x < 0] = 0.25
    return x


def append_coordinates(x: Tensor) -> Tensor:
    row = torch.linspace(-1, 1, x.shape[3], dtype=x.dtype).expand(x.shape[0], 1, x.shape[2], -1)
    return torch.cat([x, row], dim=1)


def append_ones(x: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(x[:, :1]), x], dim=1)


def attend(x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    out = F.scaled_dot_product_attention(tokens, tokens, tokens)
    return out.transpose(1, 2).reshape(x.shape)


def channel_of_largest_mean(x: Tensor) -> Tensor:
    return x[torch.arange(x.shape[0]), x.mean(dim=(2, 3)).argmax(dim=1)].unsqueeze(1)


def flip_when_positive(x: Tensor) -> Tensor:
    if x.mean() > 0:
        return -x
    return x


def swap_halves(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=1)
    return torch.cat([second, first], dim=1)


def split_and_weight(x: Tensor) -> Tensor:
    first, rest = torch.split(x, [1, x.shape[1] - 1], dim=1)
    return first.sigmoid() * rest


def mark_bright_in_numpy(x: Tensor) -> Tensor:
    return torch.from_numpy((x.detach().numpy() > 500).astype("float32")).to(x.dtype)


def flip_when_a_list_is_bright(x: Tensor) -> Tensor:
    means = x.detach().mean(dim=(2, 3)).tolist()
    return -x if max(map(max, means)) > 60 else x


def sample_shifted(x: Tensor) -> Tensor:
    shift = torch.eye(2, 3, dtype=x.dtype).repeat(x.shape[0], 1, 1)
    shift[:, 0, 2] = 0.3
    return F.grid_sample(x, F.affine_grid(shift, list(x.shape), False), align_corners=False)


POINTWISE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.1),
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "hardswish": F.hardswish,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "relu6": F.relu6,
    "softplus": F.softplus,
    "elu": F.elu,
    "absolute": torch.abs,
    "negative": torch.neg,
    "square": lambda x: 0.1 * x**2,
    "affine": lambda x: 0.5 * x + 1.25,
    "reciprocal": lambda x: 1 / (1 + x.abs()),
    "dropout": lambda x: F.dropout(x, 0.5, training=False),
    "clamp": lambda x: x.clamp(-1, 2),
    "clamp_below": lambda x: x.clamp(min=0.3),
    "maximum_constant": lambda x: torch.maximum(x, x.new_tensor(0.2)),
    "detach": torch.detach,
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "in_double": lambda x: x.double().tanh().to(x.dtype),
    "subtract_itself": lambda x: x - x.detach(),
    "times_zero": lambda x: x * 0,
}

SPATIAL: dict[str, Callable[[Tensor], Tensor]] = {
    "max_pool": lambda x: F.max_pool2d(x, 2),
    "max_pool_padded": lambda x: F.max_pool2d(x, 3, stride=1, padding=1),
    "average_pool": lambda x: F.avg_pool2d(x, 2),
    "average_pool_padded": lambda x: F.avg_pool2d(x, 3, stride=1, padding=1),
    "average_pool_padding_not_counted": lambda x: F.avg_pool2d(
        x, 3, stride=2, padding=1, count_include_pad=False
    ),
    "upsample_nearest": lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
    "upsample_bilinear": lambda x: F.interpolate(
        x, scale_factor=2, mode="bilinear", align_corners=False
    ),
    "resize_bicubic": lambda x: F.interpolate(x, size=(7, 9), mode="bicubic", align_corners=True),
    "pad_zeros": lambda x: F.pad(x, (1, 1, 1, 1)),
    "pad_constant": lambda x: F.pad(x, (0, 2, 1, 0), value=1.5),
    "pad_reflect": lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    "pad_replicate": lambda x: F.pad(x, (1, 2, 1, 0), mode="replicate"),
    "crop": lambda x: x[:, :, 1:-1, 1:-1],
    "flip": lambda x: x.flip(3),
    "roll": lambda x: x.roll(1, dims=2),
    "global_mean": lambda x: x.mean(dim=(2, 3), keepdim=True),
    "global_pool": lambda x: F.adaptive_avg_pool2d(x, 1),
    "global_sum": lambda x: 0.01 * x.sum(dim=(2, 3), keepdim=True),
    "global_largest": lambda x: x.amax(dim=(2, 3), keepdim=True),
    "center": lambda x: x - x.mean(dim=(2, 3), keepdim=True),
    "weigh_by_size": lambda x: x * (x.shape[2] / 16),
    "weigh_by_batch": lambda x: x * (1 + 0.1 * x.shape[0]),
    "softmax_of_space": lambda x: x.flatten(2).softmax(dim=2).view(x.shape),
    "sample_shifted": sample_shifted,
    "mean_of_batch": lambda x: x + x.mean(dim=0, keepdim=True),
}

MIXING: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda x: x.softmax(dim=1),
    "mean_of_channels": lambda x: x.mean(dim=1, keepdim=True),
    "sum_of_channels": lambda x: x.sum(dim=1, keepdim=True),
    "largest_channel": lambda x: x.amax(dim=1, keepdim=True),
    "spatial_attention": lambda x: x * x.mean(dim=1, keepdim=True).sigmoid(),
    "cumulative": lambda x: x.cumsum(dim=1),
    "sorted": lambda x: x.sort(dim=1).values,
    "unit_length": lambda x: F.normalize(x, dim=1),
    "local_response": lambda x: F.local_response_norm(x, 3),
    "shuffle_channels": shuffle_channels,
    "nn_channel_shuffle": lambda x: F.channel_shuffle(x, 2),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(even(x), 2),
    "unfold": lambda x: F.unfold(x, 1).view(x.shape),
    "focus": focus,
    "swap_halves": swap_halves,
    "split_and_weight": split_and_weight,
    "gated_linear_unit": lambda x: F.glu(x, dim=1),
    "first_half": lambda x: x[:, : x.shape[1] // 2],
    "first_two": lambda x: x[:, :2],
    "last_two": lambda x: x[:, -2:],
    "every_other": lambda x: x[:, ::2],
    "narrow": lambda x: x.narrow(1, 1, 2),
    "pick": lambda x: x[:, [2, 0]],
    "reversed_channels": lambda x: x.flip(1),
    "rolled_channels": lambda x: x.roll(1, dims=1),
    "repeated_channels": lambda x: x.repeat(1, 2, 1, 1),
    "interleaved_channels": lambda x: x.repeat_interleave(2, dim=1),
    "largest_of_pairs": lambda x: x.unflatten(1, (-1, 2)).amax(dim=2),
    "stacked_pairs": lambda x: torch.stack(x.unbind(dim=1)[:2], dim=1),
    "assign_channel": assign_channel,
    "append_ones": append_ones,
    "append_coordinates": append_coordinates,
    "ones_like": torch.ones_like,
    "normalised_by_all": lambda x: F.layer_norm(x, x.shape[1:]),
    "largest_norm": lambda x: x / (1 + x.abs().amax()),
}

SWALLOWING: dict[str, Callable[[Tensor], Tensor]] = {
    "where_positive": lambda x: torch.where(x > 0, x, 0.1 * x),
    "where_constant": lambda x: torch.where(x > 0.1, 1.0, -0.5).to(x.dtype),
    "masked_fill": lambda x: x.masked_fill(x < 0, 0.5),
    "compare": lambda x: (x >= 0.2).to(x.dtype),
    "sign": torch.sign,
    "heaviside": lambda x: torch.heaviside(x.detach(), x.new_tensor(0.5)),
    "fmax": lambda x: torch.fmax(x, x.new_tensor(0.3)),
    "fmin": lambda x: torch.fmin(x, x.new_tensor(0.3)),
    "nan_to_num": torch.nan_to_num,
    "nansum": lambda x: x.nansum(dim=1, keepdim=True),
    "power_zero": lambda x: x.abs().pow(0),
    "power_of_exponent": lambda x: torch.pow(torch.ones_like(x), x),
    "to_int": lambda x: x.clamp(-100, 100).to(torch.int32).to(x.dtype),
    "to_bool": lambda x: x.bool().to(x.dtype),
    "logical_and": lambda x: torch.logical_and(x, x > 0).to(x.dtype),
    "isfinite": lambda x: torch.isfinite(x).to(x.dtype),
    "fake_quantize": lambda x: torch.fake_quantize_per_tensor_affine(
        x.float(), 0.05, 0, -128, 127
    ).to(x.dtype),
    "attend": attend,
    "flip_when_positive": flip_when_positive,
    "scale_by_item": lambda x: x * math.tanh(x.mean().item()),
    "channel_of_largest_mean": channel_of_largest_mean,
    "assign_where_negative": assign_where_negative,
    "sum_of_chosen": lambda x: x + 0.01 * x[x > 0].sum(),
    "count_positive": lambda x: x + 0.01 * (x > 0).sum(dim=(2, 3), keepdim=True),
    "bucketize": lambda x: torch.bucketize(x.contiguous(), x.new_tensor([-1.0, 0.0, 1.0])).to(
        x.dtype
    ),
    "one_hot": lambda x: F.one_hot(x.argmax(dim=1), x.shape[1]).permute(0, 3, 1, 2).to(x.dtype),
    "largest_index": lambda x: x.argmax(dim=1, keepdim=True).to(x.dtype),
    "dropped_mask": lambda x: x * (x > x.mean()),
    "gather": lambda x: x.gather(1, x.argmax(dim=1, keepdim=True)),
    "clamp_to_itself": lambda x: x.clamp(min=x.detach() - 1),
    "mark_bright_in_numpy": mark_bright_in_numpy,
    "flip_when_a_list_is_bright": flip_when_a_list_is_bright,
    "numpy": lambda x: x + torch.from_numpy(x.detach().numpy().clip(0, 1)),
    "data": lambda x: x.data.tanh(),
}

FUNCTIONS = {**POINTWISE, **SPATIAL, **MIXING, **SWALLOWING}


# Operators on one value, with parameters --------------------------------------------------------


class Apply(nn.Module):
    """A function of FUNCTIONS as a module."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        return FUNCTIONS[self.name](x)


class Scale(nn.Module):
    """A learned factor for each channel, (1, C, 1, 1), and optionally a learned term."""

    def __init__(self, channels: int, shift: bool = False) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.randn(1, channels, 1, 1))
        self.term = nn.Parameter(torch.randn(1, channels, 1, 1)) if shift else None

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor if self.term is None else x * self.factor + self.term


class Scalar(nn.Module):
    """One learned factor and one learned term for all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.randn(()))
        self.term = nn.Parameter(torch.randn(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x + self.term


class Standardise(nn.Module):
    """Subtract a mean and divide by a deviation that are kept in buffers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.randn(channels, 1, 1))
        self.register_buffer("deviation", 0.5 + torch.rand(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation


class ChannelsLast(nn.Module):
    """A layer that works on the last dimension: LayerNorm over channels, or Linear."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Mixture(nn.Module):
    """A learned matrix over channels, as einsum or as matmul."""

    def __init__(self, channels: int, einsum: bool) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(channels, channels) / channels)
        self.einsum = einsum

    def forward(self, x: Tensor) -> Tensor:
        if self.einsum:
            return torch.einsum("nchw,dc->ndhw", x, self.matrix)
        return (self.matrix @ x.flatten(2)).view(x.shape)


class AppendLearned(nn.Module):
    """Learned constants laid beside the value as two more channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.constants = nn.Parameter(torch.randn(1, 2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        constants = self.constants.expand(x.shape[0], -1, x.shape[2], x.shape[3])
        return torch.cat([constants, x], dim=1)


class Embedding(nn.Module):
    """A learned map, resized to the value and added: it depends on the place, not on the image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.map = nn.Parameter(torch.randn(1, channels, 4, 4))

    def forward(self, x: Tensor) -> Tensor:
        size = [x.shape[2], x.shape[3]]
        return x + F.interpolate(self.map, size=size, mode="bilinear", align_corners=False)


class EfficientChannelAttention(nn.Module):
    """A gate for each channel from the means of its neighbours (ECA-Net)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(dim=(2, 3)).unsqueeze(1)
        return x * self.conv(means).sigmoid().transpose(1, 2).unsqueeze(3)


class SelfAttention(nn.Module):
    """Multi-head attention among the pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        out, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return x + out.transpose(1, 2).reshape(x.shape)


def batch_norm(channels: int, **keywords: bool) -> nn.BatchNorm2d:
    """A batch norm with statistics, scales and shifts as if it had been trained."""
    norm = nn.BatchNorm2d(channels, **keywords)
    if norm.running_mean is not None and norm.running_var is not None:
        norm.running_mean.normal_(0, 0.5)
        norm.running_var.uniform_(0.5, 2.0)
    if norm.affine:
        nn.init.normal_(norm.weight, 1.0, 0.3)
        nn.init.normal_(norm.bias, 0.0, 0.5)
    return norm


def affine_norm(norm: nn.Module) -> nn.Module:
    """Give a norm scales and shifts as if it had been trained."""
    nn.init.normal_(norm.weight, 1.0, 0.3)
    nn.init.normal_(norm.bias, 0.0, 0.5)
    return norm


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": batch_norm,
    "batch_without_affine": lambda channels: batch_norm(channels, affine=False),
    "batch_without_statistics": lambda channels: batch_norm(channels, track_running_stats=False),
    "group": lambda channels: affine_norm(nn.GroupNorm(math.gcd(2, channels), channels)),
    "instance": lambda channels: affine_norm(nn.InstanceNorm2d(channels, affine=True)),
    "instance_with_statistics": lambda channels: nn.InstanceNorm2d(
        channels, track_running_stats=True
    ),
    "layer": lambda channels: ChannelsLast(affine_norm(nn.LayerNorm(channels))),
}

SPATIAL_NORMS = ("batch_without_statistics", "instance", "instance_with_statistics")
"""Norms that refuse a single pixel."""

ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "relu": lambda channels: nn.ReLU(),
    "relu_in_place": lambda channels: nn.ReLU(inplace=True),
    "prelu": lambda channels: nn.PReLU(1),
    "prelu_channels": lambda channels: random_slopes(channels),
    "silu": lambda channels: nn.SiLU(),
    "leaky_relu": lambda channels: nn.LeakyReLU(0.2),
    "sigmoid": lambda channels: nn.Sigmoid(),
    "hardswish": lambda channels: nn.Hardswish(),
    "tanh": lambda channels: nn.Tanh(),
    "gelu": lambda channels: nn.GELU(),
    "dropout": lambda channels: nn.Dropout2d(0.3),
}


def random_slopes(channels: int) -> nn.PReLU:
    """A PReLU with a slope for each channel."""
    layer = nn.PReLU(channels)
    nn.init.normal_(layer.weight, 0.2, 0.3)
    return layer


LEARNED: dict[str, Callable[[int], nn.Module]] = {
    **{f"norm_{name}": factory for name, factory in NORMS.items()},
    "prelu": ACTIVATIONS["prelu"],
    "prelu_channels": ACTIVATIONS["prelu_channels"],
    "scale": Scale,
    "scale_and_shift": lambda channels: Scale(channels, shift=True),
    "scalar": Scalar,
    "standardise": Standardise,
    "linear_channels_last": lambda channels: ChannelsLast(nn.Linear(channels, 5)),
    "einsum": lambda channels: Mixture(channels, einsum=True),
    "matmul": lambda channels: Mixture(channels, einsum=False),
    "append_learned": AppendLearned,
    "embedding": Embedding,
    "efficient_channel_attention": EfficientChannelAttention,
    "self_attention": SelfAttention,
}

Shape = tuple[int, int, int]
"""(channels, height, width) of a value when the image has the smallest size."""

NEEDS: dict[str, Callable[[int, int, int], bool]] = {
    "max_pool": lambda c, h, w: min(h, w) >= 2,
    "average_pool": lambda c, h, w: min(h, w) >= 2,
    "upsample_nearest": lambda c, h, w: max(h, w) <= 13,
    "upsample_bilinear": lambda c, h, w: max(h, w) <= 13,
    "pad_zeros": lambda c, h, w: max(h, w) <= 20,
    "pad_constant": lambda c, h, w: max(h, w) <= 20,
    "pad_reflect": lambda c, h, w: min(h, w) >= 2 and max(h, w) <= 20,
    "pad_replicate": lambda c, h, w: max(h, w) <= 20,
    "crop": lambda c, h, w: min(h, w) >= 3,
    "shuffle_channels": lambda c, h, w: c % 2 == 0,
    "nn_channel_shuffle": lambda c, h, w: c % 2 == 0,
    "pixel_shuffle": lambda c, h, w: c % 4 == 0 and max(h, w) <= 13,
    "pixel_unshuffle": lambda c, h, w: min(h, w) >= 2 and 4 * c <= MOST_CHANNELS,
    "focus": lambda c, h, w: min(h, w) >= 2 and 2 * c <= MOST_CHANNELS,
    "swap_halves": lambda c, h, w: c >= 2,
    "split_and_weight": lambda c, h, w: c >= 2,
    "gated_linear_unit": lambda c, h, w: c % 2 == 0,
    "first_half": lambda c, h, w: c >= 2,
    "narrow": lambda c, h, w: c >= 3,
    "pick": lambda c, h, w: c >= 3,
    "repeated_channels": lambda c, h, w: 2 * c <= MOST_CHANNELS,
    "interleaved_channels": lambda c, h, w: 2 * c <= MOST_CHANNELS,
    "largest_of_pairs": lambda c, h, w: c % 2 == 0,
    "append_ones": lambda c, h, w: c < MOST_CHANNELS,
    "append_coordinates": lambda c, h, w: c < MOST_CHANNELS,
    "append_learned": lambda c, h, w: c < MOST_CHANNELS,
    "attend": lambda c, h, w: h * w <= 400,
    **{f"norm_{name}": lambda c, h, w: h * w > 1 for name in SPATIAL_NORMS},
}
"""When an operator can be done; the others always can."""


# Convolutions ------------------------------------------------------------------------------------


class FunctionalConvolution(nn.Module):
    """A convolution whose module is not one: its parameters go to ``F.conv2d``."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.settings = (
            convolution.stride,
            convolution.padding,
            convolution.dilation,
            convolution.groups,
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, *self.settings)


class StandardisedConvolution(nn.Conv2d):
    """A convolution that centres its own weights over the input channels, so that all matter."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight, self.bias)


class PeekedConvolution(nn.Module):
    """A convolution whose weights are read by the code around it as well."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x) * (1 + self.convolution.weight.abs().mean())


class ViewedConvolution(nn.Module):
    """A convolution whose number of channels is used by the code around it."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        out = self.convolution(x)
        middle = self.convolution.out_channels // 2
        return torch.cat([out[:, middle:], out[:, :middle]], dim=1)


class HookedConvolution(nn.Module):
    """A convolution with a forward hook that changes what it gives."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution
        self.convolution.register_forward_hook(add_quarter)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x)


def add_quarter(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output + 0.25


def standardised(convolution: nn.Conv2d) -> nn.Module:
    out = StandardisedConvolution(
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel_size,
        convolution.stride,
        convolution.padding,
        convolution.dilation,
        convolution.groups,
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
    "functional": FunctionalConvolution,
    "standardised": standardised,
    "peeked": PeekedConvolution,
    "viewed": ViewedConvolution,
    "hooked": HookedConvolution,
    "normalised": normalised,
}


def wrapped(layer: nn.Conv2d | nn.ConvTranspose2d, weights: str) -> nn.Module:
    """The layer as WEIGHTS has it, if it is a layer that can be had so."""
    if isinstance(layer, nn.ConvTranspose2d):
        return layer
    if weights == "functional" and layer.padding_mode != "zeros":
        return layer
    return WEIGHTS[weights](layer)


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
    fits = padding < min(height, width)
    return padding, step.mode if fits else "zeros"


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


class Unfitting(Exception):
    """A step that cannot be done on the values it meets."""


class Builder:
    """Places steps one after the other; knows every value's shape from a probe of its own."""

    def __init__(self, description: Description) -> None:
        self.random = torch.Generator().manual_seed(description.seed)
        self.order = torch.randperm(64, generator=self.random).tolist()
        self.aligned = description.aligned
        size = min(description.sizes)
        self.values = [torch.randn(2, 3, *size, generator=self.random)]
        self.modules: list[nn.Module] = []
        self.wiring: list[tuple[int, tuple[int, ...]]] = []
        self.reusable: list[tuple[int, Shape]] = []
        """Modules that read one value, and the shape of that value."""
        self.fusion: nn.Parameter | None = None

    def index(self, back: int) -> int:
        """The number of the value that is ``back`` behind the newest."""
        return len(self.values) - 1 - back % len(self.values)

    def shape(self, index: int) -> Shape:
        _, channels, height, width = self.values[index].shape
        return channels, height, width

    def place(self, module: nn.Module, *sources: int) -> int:
        """Call a new module on earlier values; return the number of its value."""
        self.modules.append(module.eval())
        out = self.call(len(self.modules) - 1, *sources)
        if len(sources) == 1:
            self.reusable.append((len(self.modules) - 1, self.shape(*sources)))
        return out

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


# Blocks ------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """A chain of units whose output is added to its input (projected if it must be)."""

    def __init__(self, body: list[Unit], shortcut: Unit | None, activation: str) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)
        self.shortcut = shortcut
        self.activation = ACTIVATIONS[activation](1) if activation == "relu" else None

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x) + (x if self.shortcut is None else self.shortcut(x))
        return out if self.activation is None else self.activation(out)


class Cascade(nn.Module):
    """Units one after the other, and all that they give laid side by side."""

    def __init__(self, units: list[Unit], with_input: bool) -> None:
        super().__init__()
        self.units = nn.ModuleList(units)
        self.with_input = with_input

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for unit in self.units:
            values.append(unit(values[-1]))
        return torch.cat(values if self.with_input else values[1:], dim=1)


class Excitation(nn.Module):
    """Squeeze and excitation: a gate for each channel from the means of all."""

    def __init__(self, squeeze: Unit, excite: Unit) -> None:
        super().__init__()
        self.squeeze = squeeze
        self.excite = excite

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.excite(self.squeeze(F.adaptive_avg_pool2d(x, 1))))


class Loop(nn.Module):
    """The same unit three times over, added to its input each time."""

    def __init__(self, unit: Unit) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = x + 0.5 * self.unit(x)
        return x


def chain(builder: Builder, block: Block, shape: Shape, *units: Convolution) -> list[Unit]:
    """Units that read each other, with the block's norm, activation and zeros."""
    out: list[Unit] = []
    for step in units:
        step = replace(step, norm=block.norm, zeros=block.zeros, bias=block.norm == "none")
        out.append(builder.unit(step, shape))
        shape = (step.channels if step.groups else shape[0], shape[1], shape[2])
    return out


def residual(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    convolution = Convolution(channels=block.channels, kernel=3)
    first = replace(convolution, activation=block.activation)
    body = chain(builder, block, shape, first, convolution)
    projection = replace(convolution, kernel=1)
    same = shape[0] == block.channels
    shortcut = None if same else chain(builder, block, shape, projection)[0]
    return Residual(body, shortcut, block.activation)


def inverted(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    widen = Convolution(channels=2 * block.channels, activation=block.activation)
    depthwise = replace(widen, kernel=3, groups=0)
    body = chain(builder, block, shape, widen, depthwise, Convolution(channels=shape[0]))
    return Residual(body, None, "none")


def cascade(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    unit = Convolution(channels=block.channels, kernel=3, activation=block.activation)
    half = replace(unit, channels=max(1, block.channels // 2))
    return Cascade(chain(builder, block, shape, unit, half, half), with_input=False)


def dense(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    unit = Convolution(channels=max(1, block.channels // 2), activation=block.activation)
    return Cascade(chain(builder, block, shape, unit), with_input=True)


def excitation(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    squeeze = Convolution(channels=max(1, shape[0] // 2), activation=block.activation)
    pooled = (shape[0], 1, 1)
    plain = replace(block, norm="none")
    return Excitation(*chain(builder, plain, pooled, squeeze, Convolution(channels=shape[0])))


def loop(builder: Builder, block: Block, shape: Shape) -> nn.Module:
    unit = Convolution(channels=shape[0], kernel=3, activation=block.activation)
    return Loop(chain(builder, block, shape, unit)[0])


BLOCKS = {
    "residual": residual,
    "inverted": inverted,
    "cascade": cascade,
    "dense": dense,
    "excitation": excitation,
    "loop": loop,
}


# Operators on two values -------------------------------------------------------------------------


class WeightedSum(nn.Module):
    """EResFD's fusion: column ``column`` of a learned (2, 9) that all sums of a network share."""

    def __init__(self, weight: nn.Parameter, column: int) -> None:
        super().__init__()
        self.weight = weight
        self.column = column

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        weight = F.relu(self.weight)
        weight = (weight / (weight.sum(dim=0) + 1e-4))[:, self.column]
        return (weight[0] * a + weight[1] * b) / (weight[0] + weight[1] + 1e-4)


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


NEEDS_SAME_CHANNELS = ("interleave", "mean", "interpolate")
"""Joins that cannot broadcast one channel."""


class Joined(nn.Module):
    """A function of JOINS after the second value was resized and projected to the first."""

    def __init__(self, kind: str, projection: Unit | None, fusion: WeightedSum | None) -> None:
        super().__init__()
        self.kind = kind
        self.projection = projection
        self.fusion = fusion

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        if a.shape[2:] != b.shape[2:]:
            b = F.interpolate(b, size=[a.shape[2], a.shape[3]], mode="nearest")
        if self.projection is not None:
            b = self.projection(b)
        return JOINS[self.kind](a, b) if self.fusion is None else self.fusion(a, b)


class Resize(nn.Module):
    """The first value in the size of the second."""

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(x, size=[like.shape[2], like.shape[3]], mode="nearest")


# Outputs -----------------------------------------------------------------------------------------


class Perceptron(nn.Module):
    """Linear layers on a vector."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Levels(nn.Module):
    """A detector's head: cells row by row, (N, H * W, 2)."""

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 2)


class Largest(nn.Module):
    """The number of the largest channel, an integer."""

    def forward(self, x: Tensor) -> Tensor:
        return x.argmax(dim=1)


def hidden_layers(builder: Builder, features: int, zeros: Zeros) -> list[nn.Module]:
    hidden, last = nn.Linear(features, 6), nn.Linear(6, 3)
    builder.zero(hidden, None, zeros)
    return [hidden, nn.ReLU(), last]


OUTPUTS: dict[str, Callable[[Builder, Shape, Zeros], nn.Module]] = {
    "convolution": lambda builder, shape, zeros: builder.unit(
        Convolution(channels=3, kernel=3, zeros=zeros), shape
    ),
    "pointwise": lambda builder, shape, zeros: builder.unit(
        Convolution(channels=3, zeros=zeros), shape
    ),
    "levels": lambda builder, shape, zeros: Levels(
        builder.unit(Convolution(channels=2, kernel=3, zeros=zeros), shape)
    ),
    "pooled": lambda builder, shape, zeros: Perceptron(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(shape[0], 3)
    ),
    "pooled_cells": lambda builder, shape, zeros: Perceptron(
        nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(4 * shape[0], 3)
    ),
    "perceptron": lambda builder, shape, zeros: Perceptron(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), *hidden_layers(builder, shape[0], zeros)
    ),
    "flattened": lambda builder, shape, zeros: Perceptron(
        nn.Flatten(), *hidden_layers(builder, math.prod(shape), zeros)
    ),
    "map": lambda builder, shape, zeros: nn.Identity(),
    "mean": lambda builder, shape, zeros: Apply("global_mean"),
    "largest": lambda builder, shape, zeros: Largest(),
}


# From a description to a network -----------------------------------------------------------------


class Network(nn.Module):
    """What a description describes."""

    def __init__(
        self,
        modules: list[nn.Module],
        wiring: list[tuple[int, tuple[int, ...]]],
        heads: list[tuple[nn.Module, int]],
    ) -> None:
        super().__init__()
        self.steps = nn.ModuleList(modules)
        self.wiring = wiring
        self.heads = nn.ModuleList(head for head, _ in heads)
        self.read = [source for _, source in heads]

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        values = [image]
        for module, sources in self.wiring:
            values.append(self.steps[module](*(values[source] for source in sources)))
        out = tuple(
            head(values[source]) for head, source in zip(self.heads, self.read, strict=True)
        )
        return out if len(out) > 1 else out[0]


def place_convolution(builder: Builder, step: Convolution) -> None:
    source = builder.index(step.source)
    builder.place(builder.unit(step, builder.shape(source)), source)


def place_block(builder: Builder, step: Block) -> None:
    source = builder.index(step.source)
    builder.place(BLOCKS[step.kind](builder, step, builder.shape(source)), source)


def place_function(builder: Builder, step: Function) -> None:
    source = builder.index(step.source)
    shape = builder.shape(source)
    if step.name in NEEDS and not NEEDS[step.name](*shape):
        raise Unfitting
    learned = LEARNED.get(step.name)
    builder.place(learned(shape[0]) if learned else Apply(step.name), source)


def place_join(builder: Builder, step: Join) -> None:
    first, second = builder.index(step.source), builder.index(step.other)
    channels, (others, height, width) = builder.shape(first)[0], builder.shape(second)
    projection = None
    if step.kind != "concatenate" and others not in (1, channels):
        projecting = Convolution(channels=channels, zeros=step.zeros)
        projection = builder.unit(projecting, (others, height, width))
    fusion = None
    if step.kind == "weighted_sum":
        if builder.fusion is None:
            builder.fusion = nn.Parameter(torch.rand(2, 9))
        fusion = WeightedSum(builder.fusion, len(builder.modules) % 9)
    elif step.kind in NEEDS_SAME_CHANNELS and others == 1 != channels:
        raise Unfitting
    builder.place(Joined(step.kind, projection, fusion), first, second)


def place_again(builder: Builder, step: Again) -> None:
    if not builder.reusable:
        raise Unfitting
    module, (channels, height, width) = builder.reusable[-1 - step.step % len(builder.reusable)]
    source = builder.index(step.source)
    shape = builder.shape(source)
    if shape[0] != channels:
        source = builder.place(builder.unit(Convolution(channels=channels), shape), source)
    if (shape[1], shape[2]) != (height, width):
        first_call = next(call for call in builder.wiring if call[0] == module)
        source = builder.place(Resize(), source, first_call[1][0])
    builder.call(module, source)


PLACE: dict[type, Callable[[Builder, Any], None]] = {
    Convolution: place_convolution,
    Block: place_block,
    Function: place_function,
    Join: place_join,
    Again: place_again,
}


def build(description: Description) -> Network:
    """The network that a description describes, in eval mode, the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(description.seed)
        builder = Builder(description)
        for step in description.steps:
            try:
                PLACE[type(step)](builder, step)
            except Unfitting:
                continue
        heads = []
        for output in description.outputs:
            source = builder.index(output.source)
            head = OUTPUTS[output.kind](builder, builder.shape(source), output.zeros)
            heads.append((head, source))
    return Network(builder.modules, builder.wiring, heads).eval()


# The checker -------------------------------------------------------------------------------------


LIMIT = 1e-5
"""Largest difference that is allowed, as a share of the output's range."""


def outputs_of(network: nn.Module, image: Tensor) -> list[Tensor]:
    """The network's outputs as a list."""
    with torch.no_grad():
        out = network(image)
    return [out] if isinstance(out, Tensor) else list(out)


def images(sizes: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, Tensor]]:
    """Named test images, float32: random ones of every size, alone and in pairs, and flat ones."""
    random = torch.Generator().manual_seed(1)
    for number, size in enumerate(sizes):
        count = 1 + number % 2
        yield f"random * 50, {count} x {size}", torch.randn(count, 3, *size, generator=random) * 50
    size = sizes[0]
    yield f"random, 2 x {size}", torch.randn(2, 3, *size, generator=random)
    yield f"zeros, 1 x {size}", torch.zeros(1, 3, *size)
    yield f"ones * 1000, 1 x {size}", torch.ones(1, 3, *size) * 1e3


def scale_of(reference: Tensor) -> float:
    """Range of an output over the batch; where it is constant, its magnitude, or one."""
    reference = reference.double()
    span = float(reference.max() - reference.min())
    return span or float(reference.abs().max()) or 1.0


def shares(reference: list[Tensor], other: list[Tensor]) -> list[float]:
    """Largest difference of each output as a share of its scale; infinite where NaN is new."""
    out = []
    for a, b in zip(reference, other, strict=True):
        difference = (a.double() - b.double()).abs()
        share = float(difference.max()) / scale_of(a) if difference.numel() else 0.0
        out.append(math.inf if math.isnan(share) else share)
    return out


def nudged(network: nn.Module, seed: int) -> nn.Module:
    """The network in float64, every weight and statistic changed by about a millionth of itself."""
    random = torch.Generator().manual_seed(seed)
    out = copy.deepcopy(network).double()
    with torch.no_grad():
        for tensor in [*out.parameters(), *out.buffers()]:
            if tensor.is_floating_point():
                tensor.mul_(1 + 1e-6 * torch.randn(tensor.shape, generator=random).double())
    return out


def assert_same_function(
    original: nn.Module, shrunk: nn.Module, sizes: tuple[tuple[int, int], ...]
) -> None:
    """Raise AssertionError unless both networks give the same outputs on every test image.

    The largest difference may be 1e-5 of the range (maximum minus minimum over the batch) of the
    original's output. Both run in float32, unless the original's own float32 rounding, which is
    what it gives in float32 against what it gives in float64, is already more than 1e-6 of that
    range: softmax, normalisation and large cancelling numbers amplify rounding. Then both run in
    float64.

    Float64 does not help where an operator jumps (sign, a cast to int, argmax), or where the
    range is tiny beside the values: the shrunk network's constants were rounded to float32 once
    and for all. So before a difference counts, it is compared with what the original does itself
    when all its weights are changed by a millionth (eight random ways, in float64); three times
    that is allowed. A constant that was lost is thousands of times larger than a millionth, so
    this hides no mistake that the limit alone would find, except next to a jump.
    """
    double = copy.deepcopy(original).double()
    shrunk_double = copy.deepcopy(shrunk).double()
    for name, image in images(sizes):
        reference, exact = outputs_of(original, image), outputs_of(double, image.double())
        if not all(torch.isfinite(output).all() for output in [*reference, *exact]):
            continue
        if max(shares(exact, reference)) > 0.1 * LIMIT:
            reference, other = exact, outputs_of(shrunk_double, image.double())
        else:
            other = outputs_of(shrunk, image)
        assert [a.shape for a in other] == [a.shape for a in reference], f"shapes ({name})"
        for number, share in enumerate(shares(reference, other)):
            if share > LIMIT:
                allowed = max(
                    shares(exact, outputs_of(nudged(original, seed), image.double()))[number]
                    for seed in range(8)
                )
                assert share <= 3 * allowed, (
                    f"output {number} on {name}: differs by {share:.1e} of the range "
                    f"(a millionth of the weights moves it by {allowed:.1e})"
                )


# Sizes -------------------------------------------------------------------------------------------


LAYERS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def deployed_parameters(network: nn.Module) -> int:
    """Weights of all layers, each shared tensor once, and a bias for every output channel.

    Norms are not counted (an exporter folds most of them), and every layer is taken to have a
    bias (it has one once a norm or a constant is folded into it).
    """
    weights: dict[int, int] = {}
    for module in network.modules():
        if isinstance(module, LAYERS):
            weight = module.weight
            out_channels = getattr(module, "out_channels", None) or module.out_features
            weights[id(weight)] = weight.numel() + int(out_channels)
    return sum(weights.values())


def parameters_in_all(network: nn.Module) -> int:
    """All parameters and buffers, each shared tensor once."""
    tensors = {id(tensor): tensor for tensor in [*network.parameters(), *network.buffers()]}
    return sum(tensor.numel() for tensor in tensors.values())


# Strategies --------------------------------------------------------------------------------------


LEVELS_OF_ZEROS = ("none", "some", "some", "most", "all")
BACK = st.integers(0, 5)
WIDTHS = (4, 2, 6, 8, 3, 1)


@st.composite
def some_zeros(draw: st.DrawFn) -> Zeros:
    return Zeros(
        filters=draw(st.sampled_from(LEVELS_OF_ZEROS)),
        bias=draw(st.booleans()),
        norm=draw(st.booleans()),
        columns=draw(st.sampled_from(("none", "none", "none", "some", "most", "all"))),
        scales=draw(st.sampled_from(("none", "none", "none", "none", "some", "all"))),
    )


COMMON_NORMS = ("batch", "none", "batch", "batch")
COMMON_ACTIVATIONS = ("none", "relu", "relu", "prelu", "prelu_channels", "silu", "relu_in_place")


@st.composite
def plain_convolutions(draw: st.DrawFn, width: int) -> Convolution:
    """What most networks are made of; ``width`` is the number of channels that most layers have."""
    return Convolution(
        source=draw(st.sampled_from((0, 0, 0, 0, 1, 2, 3))),
        channels=draw(st.sampled_from((width,) * 6 + WIDTHS)),
        kernel=draw(st.sampled_from((1, 3, 3, 5))),
        stride=draw(st.sampled_from((1, 1, 1, 2))),
        padding=draw(st.sampled_from(("same", "same", "same", "none"))),
        groups=draw(st.sampled_from((1, 1, 1, 1, 0, 2))),
        bias=draw(st.booleans()),
        norm=draw(st.sampled_from(COMMON_NORMS)),
        activation=draw(st.sampled_from(COMMON_ACTIVATIONS)),
        zeros=draw(some_zeros()),
    )


@st.composite
def odd_convolutions(draw: st.DrawFn, width: int) -> Convolution:
    """Every setting that a convolution has, and every way to come by its weights."""
    return replace(
        draw(plain_convolutions(width)),
        padding=draw(st.sampled_from(("same", "none", "large"))),
        dilation=draw(st.sampled_from((1, 2))),
        groups=draw(st.sampled_from((1, 0, 2, 4))),
        mode=draw(st.sampled_from(("zeros", "zeros", "reflect", "replicate", "circular"))),
        transposed=draw(st.sampled_from((False, False, False, True))),
        norm=draw(st.sampled_from(("none", *NORMS))),
        activation=draw(st.sampled_from(("none", *ACTIVATIONS))),
        weights=draw(st.sampled_from(("own",) * 5 + tuple(WEIGHTS))),
    )


@st.composite
def blocks(draw: st.DrawFn, width: int) -> Block:
    return Block(
        kind=draw(st.sampled_from(tuple(BLOCKS))),
        source=draw(st.sampled_from((0, 0, 1))),
        channels=draw(st.sampled_from((width,) * 6 + WIDTHS)),
        norm=draw(st.sampled_from(COMMON_NORMS)),
        activation=draw(st.sampled_from(("relu", "prelu_channels", "silu", "none"))),
        zeros=draw(some_zeros()),
    )


def functions(names: Iterable[str]) -> st.SearchStrategy[Function]:
    return st.builds(Function, st.sampled_from(tuple(names)), st.sampled_from((0, 0, 0, 1, 2)))


def joins(kinds: list[str]) -> st.SearchStrategy[Join]:
    return st.builds(Join, st.sampled_from(kinds), BACK, BACK, some_zeros())


COMMON_JOINS = ["add", "concatenate", "gate", "weighted_sum", "multiply"]
COMMON_FUNCTIONS = [
    *("relu", "silu", "sigmoid", "leaky_relu", "max_pool", "average_pool", "upsample_nearest"),
    *("upsample_bilinear", "global_pool", "prelu", "prelu_channels", "scale", "norm_batch"),
    *("first_half", "split_and_weight", "affine", "clamp", "dropout"),
]
AGAIN = st.builds(Again, BACK, BACK)

HARMLESS = [*POINTWISE, *SPATIAL, *LEARNED]


@st.composite
def steps_of(draw: st.DrawFn, sort: str, width: int) -> Step:
    """A step of a network that is "plain", "odd", or "swallowing" NaN."""
    convolutions = plain_convolutions(width)
    odd = odd_convolutions(width)
    common = (joins(COMMON_JOINS), functions(COMMON_FUNCTIONS))
    strategies: dict[str, tuple[st.SearchStrategy[Any], ...]] = {
        "plain": (convolutions, convolutions, *common, blocks(width)),
        "odd": (odd, odd, joins([*JOINS, "weighted_sum"]), functions(HARMLESS), functions(MIXING)),
        "swallowing": (*common, functions(SWALLOWING), functions(SWALLOWING), functions(HARMLESS)),
    }
    every = (convolutions, convolutions, *strategies[sort], blocks(width), AGAIN)
    return draw(draw(st.sampled_from(every)))


@st.composite
def outputs(draw: st.DrawFn, kinds: tuple[str, ...]) -> Output:
    zeros = draw(st.sampled_from((Zeros(), Zeros(), Zeros(filters="some"), Zeros(columns="some"))))
    return Output(draw(st.sampled_from(kinds)), draw(st.sampled_from((0, 0, 0, 1, 2))), zeros)


LIVE_OUTPUTS = ("convolution", "pointwise", "levels", "pooled", "perceptron")


@st.composite
def single_descriptions(draw: st.DrawFn) -> Description:
    """Networks of three sorts: half of plain steps, and a quarter each with odd ones and with
    operators that swallow NaN."""
    sort = draw(st.sampled_from(("plain", "plain", "odd", "swallowing")))
    steps = steps_of(sort, draw(st.sampled_from(WIDTHS[:4])))
    kinds = LIVE_OUTPUTS if sort == "plain" else (*LIVE_OUTPUTS, *OUTPUTS)
    return Description(
        steps=tuple(draw(st.lists(steps, min_size=1, max_size=8))),
        outputs=tuple(draw(st.lists(outputs(kinds), min_size=1, max_size=3))),
        seed=draw(st.integers(0, 2**16)),
        aligned=draw(st.booleans()),
    )


def descriptions() -> st.SearchStrategy[Description]:
    """Descriptions of networks that have little in common.

    Of the examples that Hypothesis tries, five in six are the one before with a part of it copied
    over another. It does not do so inside a list of unique items, hence the list of one.
    """
    return st.lists(single_descriptions(), min_size=1, max_size=1, unique=True).map(
        lambda items: items[0]
    )
