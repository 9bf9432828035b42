"""What depends on the image must be NaN, whatever operator it passes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toolchain.errors import AnalysisError
from toolchain.operators.known import BUILT_IN
from toolchain.surgery.taint import _Tracer, trace_taint

CLEAN, LIVE = slice(0, 2), slice(2, 4)
"""Channels of the probe (1, 4, 6, 6): two constant, two that depend on the image."""


class Probe(nn.Module):
    """Two constant channels beside two of the image, an operator, and its result."""

    def __init__(self, operator: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.operator = operator

    def forward(self, image: Tensor) -> Tensor:
        constant = torch.full_like(image[:, :2], 0.75)
        return self.operator(torch.cat([constant, image], dim=1))


def assigned(x: Tensor) -> Tensor:
    """A mask that is written through a view of it."""
    mask = torch.zeros(x.shape, dtype=torch.bool)
    mask[:, 1:] = x[:, 1:] > 0
    return mask


OPERATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "prelu": lambda x: F.prelu(x, torch.tensor([0.3]).to(x)),
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "hardtanh": F.hardtanh,
    "relu6": F.relu6,
    "elu": F.elu,
    "gelu": F.gelu,
    "mish": F.mish,
    "softplus": F.softplus,
    "add": lambda x: x + x.flip(3),
    "sub": lambda x: 1 - x,
    "mul": lambda x: x * 3,
    "mul_by_zero": lambda x: x * torch.zeros(1, 4, 1, 1),
    "div": lambda x: x / 2,
    "neg": torch.neg,
    "abs": torch.abs,
    "exp": torch.exp,
    "sqrt": lambda x: torch.sqrt(x.abs() + 1),
    "square": torch.square,
    "pow": lambda x: x**2,
    "pow_zero": lambda x: x**0,
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "clamp_min": lambda x: x.clamp_min(0),
    "minimum": lambda x: torch.minimum(x, torch.tensor(0.1)),
    "maximum": lambda x: torch.maximum(x, torch.tensor(0.1)),
    "cat": lambda x: torch.cat([x, x], dim=1),
    "split": lambda x: torch.cat(torch.split(x, 2, dim=1)[::-1], dim=1),
    "flip": lambda x: x.flip(1),
    "roll": lambda x: x.roll(1, dims=1),
    "repeat": lambda x: x.repeat(1, 2, 1, 1),
    "unbind_and_stack": lambda x: torch.stack(x.unbind(1)[::-1], dim=1),
    "glu": lambda x: F.glu(x, dim=1),
    "channel_shuffle": lambda x: F.channel_shuffle(x, 2),
    "max_pool": lambda x: F.max_pool2d(x, 2),
    "avg_pool": lambda x: F.avg_pool2d(x, 2),
    "adaptive_pool": lambda x: F.adaptive_avg_pool2d(x, 1),
    "mean": lambda x: x.mean((2, 3), keepdim=True),
    "sum": lambda x: x.sum((2, 3), keepdim=True),
    "amax": lambda x: x.amax(1, keepdim=True),
    "max_values": lambda x: x.max(dim=1, keepdim=True)[0],
    "index": lambda x: x[:, [2, 1, 0]],
    "index_of_positions": lambda x: x[..., torch.tensor([3, 0])],
    "index_of_the_image": lambda x: torch.ones_like(x).flatten()[x.argmax(3).flatten()],
    "index_put": lambda x: torch.zeros_like(x).index_put((torch.tensor([0]),), x[0]),
    "index_select": lambda x: x.index_select(1, torch.tensor([3, 1])),
    "gather": lambda x: x.gather(2, torch.zeros(1, 4, 2, 6, dtype=torch.int64)),
    "masked_select": lambda x: x.masked_select(torch.eye(6).bool()),
    "mask_in_memory": lambda x: torch.zeros_like(x, dtype=torch.bool).copy_(x > 0).to(x.dtype),
    "mask_by_parts": lambda x: torch.where(assigned(x), 1.0, 2.0).to(x.dtype),
    "argmax_used": lambda x: torch.gather(x, 1, x.argmax(1, keepdim=True)),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "bilinear": lambda x: F.interpolate(x, size=(9, 7), mode="bilinear"),
    "pad": lambda x: F.pad(x, (1, 1, 1, 1)),
    "reflect": lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    "circular": lambda x: F.pad(x, (1, 1, 1, 1), mode="circular"),
    "shuffle": lambda x: F.pixel_shuffle(x, 2),
    "softmax": lambda x: x.softmax(dim=2),
    "layer_norm": lambda x: F.layer_norm(x, (6, 6)),
    "group_norm": lambda x: F.group_norm(x, 2),
    "where": lambda x: torch.where(x > 0, torch.ones_like(x), -torch.ones_like(x)),
    "masked_fill": lambda x: torch.ones_like(x).masked_fill(x > 0, 5.0),
    "sign": torch.sign,
    "heaviside": lambda x: torch.heaviside(x, torch.tensor(1.0, dtype=x.dtype)),
    "fmax": lambda x: torch.fmax(x, torch.zeros_like(x)),
    "fmin": lambda x: torch.fmin(x, torch.zeros_like(x)),
    "nan_to_num": torch.nan_to_num,
    "nansum": lambda x: torch.nansum(x, dim=1, keepdim=True),
    "comparison_cast": lambda x: (x > 0).to(x.dtype),
    "int_cast": lambda x: (x * 10).to(torch.int32).to(x.dtype),
    "isnan_cast": lambda x: torch.isnan(x / x.abs().floor()).to(x.dtype),
    "bool_arithmetic": lambda x: ((x > 0) & (x < 1)).to(x.dtype) + 1,
    "fake_quantize": lambda x: torch.fake_quantize_per_tensor_affine(x.float(), 0.1, 0, 0, 255),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "matmul": lambda x: x @ x.transpose(2, 3),
    "sort": lambda x: x.sort(dim=2)[0],
    "cumsum": lambda x: x.cumsum(dim=2),
    "round": torch.round,
    "copy": lambda x: torch.zeros_like(x).copy_(x),
    "in_place_add": lambda x: torch.zeros_like(x).add_(x),
    "conv": lambda x: F.conv2d(x, torch.ones(3, 4, 3, 3, dtype=x.dtype), padding=1),
    "conv_of_clean": lambda x: F.conv2d(x, SEES_CLEAN.to(x), padding=1),
    "transposed_conv": lambda x: F.conv_transpose2d(x, SEES_CLEAN.transpose(0, 1).to(x)),
    "depthwise": lambda x: F.conv2d(x, torch.ones(4, 1, 3, 3, dtype=x.dtype), groups=4),
    "linear": lambda x: F.linear(x.flatten(2).mean(2), torch.eye(4, dtype=x.dtype)),
    "batch_norm_zero_scale": lambda x: F.batch_norm(
        x, torch.zeros(4).to(x), torch.ones(4).to(x), torch.zeros(4).to(x), torch.ones(4).to(x)
    ),
    "subtract": lambda x: x - x.flip(2),
    "clamp_max": lambda x: x.clamp_max(0.2),
    "clone": torch.clone,
    "log": lambda x: torch.log(x.abs() + 1),
    "log1p": lambda x: torch.log1p(x.abs()),
    "expm1": torch.expm1,
    "rsqrt": lambda x: torch.rsqrt(x.abs() + 1),
    "reciprocal": lambda x: torch.reciprocal(x.abs() + 1),
    "sin": torch.sin,
    "cos": torch.cos,
    "erf": torch.erf,
    "lerp": lambda x: torch.lerp(x, x.flip(3), 0.3),
    "addcmul": lambda x: torch.addcmul(x, x, x),
    "addcdiv": lambda x: torch.addcdiv(x, x, x.abs() + 1),
    "amin": lambda x: x.amin(1, keepdim=True),
    "max_of_all": lambda x: x.max().expand(1, 1, 1, 1),
    "min_of_all": lambda x: x.min().expand(1, 1, 1, 1),
    "min_values": lambda x: x.min(dim=1, keepdim=True)[0],
    "unbind": lambda x: torch.stack(x.unbind(1)[::-1], dim=1),
    "split_sizes": lambda x: torch.cat(torch.split(x, [1, 3], dim=1)[::-1], dim=1),
    "permute": lambda x: x.permute(0, 1, 3, 2),
    "as_strided": lambda x: x.as_strided((1, 4, 3, 3), (144, 36, 6, 1)),
    "adaptive_max_pool": lambda x: F.adaptive_max_pool2d(x, 2),
    "adaptive_avg_pool": lambda x: F.adaptive_avg_pool2d(x, 4),
    "bicubic": lambda x: F.interpolate(x, size=(9, 7), mode="bicubic"),
    "nearest_exact": lambda x: F.interpolate(x, size=(9, 7), mode="nearest-exact"),
    "replicate": lambda x: F.pad(x, (1, 1, 1, 1), mode="replicate"),
    "unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "mm": lambda x: x.flatten(2).mean(2) @ torch.ones(4, 3).to(x),
    "addmm": lambda x: F.linear(x.mean((2, 3)), torch.ones(3, 4).to(x), torch.ones(3).to(x)),
    "where_chosen": lambda x: torch.where(torch.eye(6, dtype=torch.bool), x, torch.zeros_like(x)),
    "masked": lambda x: x.masked_fill(torch.eye(6, dtype=torch.bool), 0.0),
    "alias": lambda x: x.detach().view_as(x),
    "select": lambda x: x.select(2, 1),
    "squeeze": lambda x: x[:, 2:3].squeeze(1).unsqueeze(1),
}
SEES_CLEAN = torch.zeros(3, 4, 3, 3)
SEES_CLEAN[:, :2] = 1.0


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_changes_with_the_image_is_nan(name: str, dtype: torch.dtype) -> None:
    """The truth is measured: positions that differ between two images must be marked."""
    network = Probe(OPERATORS[name]).to(dtype)
    generator = torch.Generator().manual_seed(1)
    images = [(torch.randn(1, 2, 6, 6, generator=generator) * 3).to(dtype) for _ in range(6)]
    results = [network(image) for image in images]
    changes = torch.stack([~torch.isclose(results[0], other) for other in results[1:]]).any(0)
    tracer = _Tracer(network)
    with torch.no_grad(), tracer:
        marked = network(torch.full_like(images[0], float("nan")))
    hidden = changes & ~torch.isnan(marked)
    assert not hidden.any(), f"{int(hidden.sum())} positions depend on the image and look constant"


@pytest.mark.parametrize(
    ("name", "clean"),
    [("relu", 2), ("mul_by_zero", 4), ("conv_of_clean", 3), ("transposed_conv", 3), ("linear", 2),
     ("batch_norm_zero_scale", 4), ("max_pool", 2), ("split", 2), ("depthwise", 2)],
)  # fmt: skip
def test_constants_stay_visible(name: str, clean: int) -> None:
    tracer = _Tracer(network := Probe(OPERATORS[name]).double())
    with torch.no_grad(), tracer:
        marked = network(torch.full((1, 2, 6, 6), float("nan"), dtype=torch.float64))
    per_channel = torch.isnan(marked.transpose(0, 1).flatten(1)).any(dim=1)
    assert int((~per_channel).sum()) == clean


def test_every_carrier_is_tried() -> None:
    """The table of operators above reaches the operators that the tracer trusts most."""
    seen: set[str] = set()

    class Names(_Tracer):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.add(func.overloadpacket.__name__)
            return super().__torch_dispatch__(func, types, args, kwargs)

    for operator in OPERATORS.values():
        network = Probe(operator).double()
        with torch.no_grad(), Names(network):
            network(torch.full((1, 2, 6, 6), float("nan"), dtype=torch.float64))
    trusted = {name for name, known in BUILT_IN.items() if known.nan != "unknown"}
    untried = {name for name in trusted if name not in seen and name[-1] != "_"}
    aliases = {"reshape", "t", "alias", "square", "_native_batch_norm_legit_no_training"}
    aliases |= {"native_channel_shuffle"}
    assert untried <= aliases | {"_unsafe_view", "unsafe_split"}


@pytest.mark.parametrize(
    "branch",
    [
        lambda x: x if x.mean() > 0 else -x,
        lambda x: x * x.max().item(),
        lambda x: x[x > 0].sum(),
        lambda x: x.flatten()[torch.nonzero(x.flatten() > 0).flatten()].sum(),
    ],
)
def test_code_that_decides_by_the_image_is_refused(branch: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(AnalysisError, match=r"operator aten\."):
        trace_taint(Probe(branch).double(), torch.zeros(1, 2, 6, 6, dtype=torch.float64))
