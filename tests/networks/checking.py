"""Whether two networks agree, and how large they are."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

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


def shares(reference: list[Tensor], other: list[Tensor]) -> list[float]:
    """Largest difference of each output as a share of its range; infinite where NaN is new.

    The range is that over the batch; of a constant output it is its magnitude, or one.
    """
    out = []
    for a, b in zip(reference, other, strict=True):
        a, difference = a.double(), (a.double() - b.double()).abs()
        if difference.numel():
            scale = float(a.max() - a.min()) or float(a.abs().max()) or 1.0
            share = float(difference.max()) / scale
            out.append(math.inf if math.isnan(share) else share)
        else:
            out.append(0.0)
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

    The largest difference may be 1e-5 of the range of the original's output. Both run in float32,
    unless the original's own float32 rounding is already more than 1e-6 of that range (softmax,
    normalisation and large cancelling numbers amplify it): then both run in float64.

    Float64 does not help where an operator jumps (sign, a cast to int, argmax), or where the
    range is tiny beside the values: the shrunk network's constants were rounded to float32 once
    and for all. So a difference counts only if it is three times what the original does itself
    when all its weights are changed by a millionth (eight random ways, in float64). A constant
    that was lost is thousands of times larger than a millionth, so this hides no mistake that the
    limit alone would find, except next to a jump.
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
    return sum(tensor.numel() for tensor in [*network.parameters(), *network.buffers()])
