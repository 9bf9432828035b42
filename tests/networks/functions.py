"""Operators without parameters on one value (N, C, H, W)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def even(x: Tensor) -> Tensor:
    return x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]


def focus(x: Tensor) -> Tensor:
    x = even(x)
    return torch.cat([x[:, :, ::2, ::2], x[:, :, 1::2, 1::2]], dim=1)


def assign(x: Tensor, where: object, value: float) -> Tensor:
    x = x.clone()
    x[where] = value
    return x


def append_coordinates(x: Tensor) -> Tensor:
    row = torch.linspace(-1, 1, x.shape[3], dtype=x.dtype).expand(x.shape[0], 1, x.shape[2], -1)
    return torch.cat([x, row], dim=1)


def attend(x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    out = F.scaled_dot_product_attention(tokens, tokens, tokens)
    return out.transpose(1, 2).reshape(x.shape)


def split_and_weight(x: Tensor) -> Tensor:
    first, rest = torch.split(x, [1, x.shape[1] - 1], dim=1)
    return first.sigmoid() * rest


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
    "shuffle_channels": lambda x: (
        x.view(len(x), 2, -1, *x.shape[2:]).transpose(1, 2).reshape(x.shape)
    ),
    "nn_channel_shuffle": lambda x: F.channel_shuffle(x, 2),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(even(x), 2),
    "unfold": lambda x: F.unfold(x, 1).view(x.shape),
    "focus": focus,
    "swap_halves": lambda x: torch.cat(x.chunk(2, dim=1)[::-1], dim=1),
    "split_and_weight": split_and_weight,
    "gated_linear_unit": lambda x: F.glu(x, dim=1),
    "first_half": lambda x: x[:, : x.shape[1] // 2],
    "first_two": lambda x: x[:, :2],
    "last_two": lambda x: x[:, -2:],
    "every_other": lambda x: x[:, ::2],
    "narrow": lambda x: x.narrow(1, 1, 2),
    "pick": lambda x: x[:, [2, 0]],
    "pick_by_tensor": lambda x: x[:, torch.tensor([1, 0])],
    "chunked": lambda x: torch.cat([x.chunk(2, dim=1)[1].relu(), x.chunk(2, dim=1)[0]], dim=1),
    "split_unevenly": lambda x: torch.cat(x.split([1, x.shape[1] - 1], dim=1)[::-1], dim=1),
    "reversed_channels": lambda x: x.flip(1),
    "rolled_channels": lambda x: x.roll(1, dims=1),
    "repeated_channels": lambda x: x.repeat(1, 2, 1, 1),
    "interleaved_channels": lambda x: x.repeat_interleave(2, dim=1),
    "largest_of_pairs": lambda x: x.unflatten(1, (-1, 2)).amax(dim=2),
    "stacked_pairs": lambda x: torch.stack(x.unbind(dim=1)[:2], dim=1),
    "assign_channel": lambda x: assign(x, (slice(None), 0), 0.5),
    "append_ones": lambda x: torch.cat([torch.ones_like(x[:, :1]), x], dim=1),
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
    "flip_when_positive": lambda x: -x if x.mean() > 0 else x,
    "scale_by_item": lambda x: x * math.tanh(x.mean().item()),
    "channel_of_largest_mean": lambda x: x[
        torch.arange(x.shape[0]), x.mean(dim=(2, 3)).argmax(dim=1)
    ].unsqueeze(1),
    "assign_where_negative": lambda x: assign(x, x < 0, 0.25),
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
    "mark_bright_in_numpy": lambda x: torch.from_numpy(
        (x.detach().numpy() > 500).astype("float32")
    ).to(x.dtype),
    "flip_when_a_list_is_bright": lambda x: (
        -x if max(map(max, x.detach().mean(dim=(2, 3)).tolist())) > 60 else x
    ),
    "numpy": lambda x: x + torch.from_numpy(x.detach().numpy().clip(0, 1)),
    "data": lambda x: x.data.tanh(),
}

FUNCTIONS = {**POINTWISE, **SPATIAL, **MIXING, **SWALLOWING}
