"""Layers with parameters on one value: norms, activations, learned constants, attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks.calls import FUNCTIONAL_NORMS, OtherEpsilon
from networks.constants import CONSTANTS
from networks.descriptions import MOST_CHANNELS
from networks.numbers import NUMBERS
from networks.picks import PICKS
from networks.recurrent import RECURRENT


class Apply(nn.Module):
    """A function of values and of parts: modules, and tensors, which are learned."""

    def __init__(self, function: Callable[..., Tensor], *parts: nn.Module | Tensor | None) -> None:
        super().__init__()
        self.function = function
        self.names = [f"part_{number}" for number in range(len(parts))]
        for name, part in zip(self.names, parts, strict=True):
            fresh = isinstance(part, Tensor) and not isinstance(part, nn.Parameter)
            setattr(self, name, nn.Parameter(part) if fresh else part)

    def forward(self, *values: Tensor) -> Tensor:
        return self.function(*values, *(getattr(self, name) for name in self.names))


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


def append(x: Tensor, constants: Tensor) -> Tensor:
    """Learned constants laid beside the value as two more channels."""
    return torch.cat([constants.expand(x.shape[0], -1, x.shape[2], x.shape[3]), x], dim=1)


def embed(x: Tensor, embedding: Tensor) -> Tensor:
    """A learned map, resized to the value and added: it depends on the place, not on the image."""
    size = [x.shape[2], x.shape[3]]
    return x + F.interpolate(embedding, size=size, mode="bilinear", align_corners=False)


def gate_by_neighbours(x: Tensor, convolution: nn.Module) -> Tensor:
    """A gate for each channel from the means of its neighbours (ECA-Net)."""
    means = x.mean(dim=(2, 3)).unsqueeze(1)
    return x * convolution(means).sigmoid().transpose(1, 2).unsqueeze(3)


def attend_to_itself(x: Tensor, attention: nn.Module) -> Tensor:
    """Multi-head attention among the pixels."""
    tokens = x.flatten(2).transpose(1, 2)
    out, _ = attention(tokens, tokens, tokens, need_weights=False)
    return x + out.transpose(1, 2).reshape(x.shape)


def trained(norm: nn.Module) -> nn.Module:
    """Give a norm statistics, scales and shifts as if it had been trained."""
    if getattr(norm, "running_mean", None) is not None:
        norm.running_mean.normal_(0, 0.5)
        norm.running_var.uniform_(0.5, 2.0)
    if norm.weight is not None:
        nn.init.normal_(norm.weight, 1.0, 0.3)
    if getattr(norm, "bias", None) is not None:
        nn.init.normal_(norm.bias, 0.0, 0.5)
    return norm


def random_slopes(channels: int) -> nn.PReLU:
    """A PReLU with a slope for each channel."""
    layer = nn.PReLU(channels)
    nn.init.normal_(layer.weight, 0.2, 0.3)
    return layer


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": lambda c: trained(nn.BatchNorm2d(c)),
    "batch_without_affine": lambda c: trained(nn.BatchNorm2d(c, affine=False)),
    "batch_without_statistics": lambda c: trained(nn.BatchNorm2d(c, track_running_stats=False)),
    "group": lambda c: trained(nn.GroupNorm(math.gcd(2, c), c)),
    "instance": lambda c: trained(nn.InstanceNorm2d(c, affine=True)),
    "instance_with_statistics": lambda c: nn.InstanceNorm2d(c, track_running_stats=True),
    "layer": lambda c: ChannelsLast(trained(nn.LayerNorm(c))),
    "root_mean_square": lambda c: ChannelsLast(trained(nn.RMSNorm(c))),
    **FUNCTIONAL_NORMS,
    "batch_other_epsilon": lambda c: trained(OtherEpsilon(c)),
}

SPATIAL_NORMS = ("batch_without_statistics", "instance", "instance_with_statistics")
"""Norms that refuse a single pixel."""

ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "relu": lambda c: nn.ReLU(),
    "relu_in_place": lambda c: nn.ReLU(inplace=True),
    "prelu": lambda c: nn.PReLU(1),
    "prelu_channels": random_slopes,
    "silu": lambda c: nn.SiLU(),
    "leaky_relu": lambda c: nn.LeakyReLU(0.2),
    "sigmoid": lambda c: nn.Sigmoid(),
    "hardswish": lambda c: nn.Hardswish(),
    "tanh": lambda c: nn.Tanh(),
    "gelu": lambda c: nn.GELU(),
    "dropout": lambda c: nn.Dropout2d(0.3),
}


def factors(channels: int) -> Tensor:
    return torch.randn(1, channels, 1, 1)


def matrix(channels: int) -> Tensor:
    return torch.randn(channels, channels) / channels


LEARNED: dict[str, Callable[[int], nn.Module]] = {
    **{f"norm_{name}": factory for name, factory in NORMS.items()},
    "prelu": ACTIVATIONS["prelu"],
    "prelu_channels": ACTIVATIONS["prelu_channels"],
    "scale": lambda c: Apply(torch.mul, factors(c)),
    "scale_and_shift": lambda c: Apply(lambda x, a, b: x * a + b, factors(c), factors(c)),
    "scalar": lambda c: Apply(lambda x, a, b: a * x + b, torch.randn(()), torch.randn(1)),
    "standardise": Standardise,
    "linear_channels_last": lambda c: ChannelsLast(nn.Linear(c, 5)),
    "einsum": lambda c: Apply(lambda x, m: torch.einsum("nchw,dc->ndhw", x, m), matrix(c)),
    "matmul": lambda c: Apply(lambda x, m: (m @ x.flatten(2)).view(x.shape), matrix(c)),
    "append_learned": lambda c: Apply(append, torch.randn(1, 2, 1, 1)),
    "embedding": lambda c: Apply(embed, torch.randn(1, c, 4, 4)),
    "efficient_channel_attention": lambda c: Apply(
        gate_by_neighbours, nn.Conv1d(1, 1, 3, padding=1, bias=False)
    ),
    **CONSTANTS,
    **NUMBERS,
    **PICKS,
    **RECURRENT,
    "self_attention": lambda c: Apply(
        attend_to_itself, nn.MultiheadAttention(c, 1, batch_first=True)
    ),
}


def each(names: str, fits: Callable[[int, int, int], bool]) -> dict[str, Any]:
    return dict.fromkeys(names.split(), fits)


NEEDS: dict[str, Callable[[int, int, int], bool]] = {
    **each("max_pool average_pool", lambda c, h, w: min(h, w) >= 2),
    **each("upsample_nearest upsample_bilinear", lambda c, h, w: max(h, w) <= 13),
    **each("pad_zeros pad_constant pad_replicate", lambda c, h, w: max(h, w) <= 20),
    **each("pad_reflect", lambda c, h, w: min(h, w) >= 2 and max(h, w) <= 20),
    **each("crop", lambda c, h, w: min(h, w) >= 3),
    **each("shuffle_channels nn_channel_shuffle", lambda c, h, w: c % 2 == 0),
    **each("gated_linear_unit largest_of_pairs", lambda c, h, w: c % 2 == 0),
    **each("pixel_shuffle", lambda c, h, w: c % 4 == 0 and max(h, w) <= 13),
    **each("pixel_unshuffle", lambda c, h, w: min(h, w) >= 2 and 4 * c <= MOST_CHANNELS),
    **each("focus", lambda c, h, w: min(h, w) >= 2 and 2 * c <= MOST_CHANNELS),
    **each(
        "swap_halves split_and_weight first_half chunked split_unevenly pick_by_tensor",
        lambda c, h, w: c >= 2,
    ),
    **each(
        "halves_by_attribute halves_by_number doubled_by_attribute doubled_by_number",
        lambda c, h, w: c >= 2,
    ),
    **each(
        "slices_by_attribute slices_by_number", lambda c, h, w: c >= 2 and 2 * c <= MOST_CHANNELS
    ),
    **each("paired_by_attribute paired_by_number", lambda c, h, w: c >= 2 and c % 2 == 0),
    **each("narrow pick", lambda c, h, w: c >= 3),
    **dict.fromkeys(PICKS, lambda c, h, w: 3 <= c < MOST_CHANNELS),
    **each("repeated_channels interleaved_channels", lambda c, h, w: 2 * c <= MOST_CHANNELS),
    **each("append_ones append_coordinates append_learned", lambda c, h, w: c < MOST_CHANNELS),
    **each("attend self_attention", lambda c, h, w: h * w <= 400),
    **{f"norm_{name}": lambda c, h, w: h * w > 1 for name in SPATIAL_NORMS},
}
"""When an operator can be done; the others always can."""
