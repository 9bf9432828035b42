"""How far a shrunk network is from the soft one: per output and channel, each on its own scale.

In float64 a shrunk network is exact, or it is wrong; in its own type it must be as near to the
float64 truth as the soft network is.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

Inputs = tuple[Tensor, ...]

EXACT = 1e-11
"""Largest difference in float64, as a share of the channel's magnitude. Of 1,413 random networks
two in three differ by nothing, 99 % by less than 1e-14, and one by more than 1e-12 (1.7e-12, where
rounding is amplified)."""
NUDGE, NUDGES = 1e-14, 4
"""By how much weights are changed, and how many times, where rounding is amplified."""
FACTOR = 32.0
"""How much further from the truth than the soft network's rounding. Of 1,413 networks 95 % are 1.05
times as far or nearer, 99 % 2.4 times, one 32 times."""


def outputs_of(network: nn.Module, *inputs: Tensor) -> list[Tensor]:
    """The network's output tensors as a list."""
    with torch.no_grad():
        return [leaf for leaf in tree_leaves(network(*inputs)) if isinstance(leaf, Tensor)]


def images_of(sizes: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, Tensor]]:
    """Named float32 images: random at three scales, flat, single bright pixels, a ramp, other
    sizes, and pairs."""
    random = torch.Generator().manual_seed(1)
    height, width = sizes[0]
    for scale in (0.02, 1.0, 64.0):
        yield f"random * {scale:g}", torch.randn(1, 3, height, width, generator=random) * scale
    yield "zeros", torch.zeros(1, 3, height, width)
    yield "bright", torch.full((1, 3, height, width), 1000.0)
    pixels = torch.zeros(5, 3, height, width)
    pixels[range(5), :, [height // 2, 0, 0, -1, -1], [width // 2, 0, -1, 0, -1]] = 255.0
    yield "a bright pixel in the middle and in each corner", pixels
    ramp = torch.linspace(-128, 127, height * width).view(1, 1, height, width)
    yield "ramp", ramp * torch.tensor([1.0, -1.0, 0.5]).view(1, 3, 1, 1)
    for number, size in enumerate(sizes[1:] or sizes):
        count = 1 + number % 2
        yield f"random, {count} of {size}", torch.randn(count, 3, *size, generator=random) * 64
    yield "random, 2", torch.randn(2, 3, height, width, generator=random)


def by_channel(output: Tensor) -> Tensor:
    """The output in float64 as (channels, values): the second axis of a map or of classes, the
    last one of cells."""
    output = output.double()
    if output.ndim < 2:
        return output.reshape(1, -1)
    return output.movedim(-1 if output.ndim == 3 else 1, 0).flatten(1)


def largest_of(output: Tensor) -> Tensor:
    """The largest magnitude of each channel."""
    return by_channel(output).abs().amax(dim=1)


def moved(reference: Tensor, other: Tensor) -> Tensor:
    """The largest difference in each channel; infinite where NaN is new."""
    difference = by_channel(reference.double() - other.double()).abs().amax(dim=1)
    return difference.nan_to_num(nan=torch.inf)


def finite(outputs: Sequence[Tensor]) -> bool:
    return all(bool(torch.isfinite(output).all()) for output in outputs)


def shares(reference: Sequence[Tensor], other: Sequence[Tensor]) -> list[float]:
    """Largest difference of each output as a share of its channel's magnitude.

    Of a channel that is all zero the output's magnitude is the scale, or one.
    """
    out = []
    for a, b in zip(reference, other, strict=True):
        if not a.numel():
            out.append(0.0)
            continue
        scale = largest_of(a)
        scale = torch.where(scale == 0, scale.amax(), scale)
        out.append(float((moved(a, b) / torch.where(scale == 0, 1.0, scale)).amax()))
    return out


def nudged(network: nn.Module, seed: int, share: float) -> nn.Module:
    """A copy whose every weight and statistic is changed by about ``share`` of itself."""
    random = torch.Generator().manual_seed(seed)
    out = copy.deepcopy(network)
    with torch.no_grad():
        for tensor in [*out.parameters(), *out.buffers()]:
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=random, dtype=torch.float64)
                tensor.copy_(tensor.double() * (1 + share * noise))
    return out


@dataclass(frozen=True)
class Judgement:
    """Largest differences from the soft network in float64, as shares of a channel's magnitude."""

    exact: float | None
    """Of the network that was shrunk in float64; None where it does not run in it."""
    soft: float
    """Of the soft network in its own type: what rounding does."""
    shrunk: float
    """Of the shrunk network in its own type."""


@dataclass(frozen=True)
class Truth:
    """A network's float64 outputs on every input on which they are finite."""

    network: nn.Module
    cases: tuple[tuple[str, Inputs, tuple[Tensor, ...]], ...]

    @staticmethod
    def of(network: nn.Module, inputs: Sequence[tuple[str, Inputs]]) -> Truth:
        """``inputs`` are in the type that the soft network is used in."""
        kept = type_of(network)
        cases = []
        for name, tensors in inputs:
            outputs = outputs_of(network, *cast(tensors, kept))
            if finite(outputs):
                cases.append((name, tensors, tuple(outputs)))
        return Truth(network, tuple(cases))

    def outputs_of(self, network: nn.Module, case: int) -> list[Tensor]:
        """What another network of the same type gives for a case's input."""
        return outputs_of(network, *cast(self.cases[case][1], type_of(self.network)))

    def allowed(self, case: int, share: float) -> list[float]:
        """How far each output moves when all weights are changed by ``share`` of themselves."""
        others = [nudged(self.network, seed, share) for seed in range(NUDGES)]
        outputs = self.cases[case][2]
        moves = [shares(outputs, self.outputs_of(other, case)) for other in others]
        return [max(move) for move in zip(*moves, strict=True)]


def cast(tensors: Inputs, dtype: torch.dtype) -> Inputs:
    return tuple(tensor.to(dtype) for tensor in tensors)


def assert_same(truth: Truth, shrunk: nn.Module) -> float:
    """Raise AssertionError unless a network shrunk in the truth's type gives the same outputs.

    In float64 the largest difference may be EXACT of the channel's magnitude. Where rounding is
    amplified (a normalisation of values that hardly differ, a sign, an argmax) it may be three
    times what the soft network does itself when all its weights are changed by NUDGE: a constant
    that was lost is a million million times larger. Other types: as many of their own steps.
    Returns the largest share.
    """
    coarser = torch.finfo(type_of(truth.network)).eps / torch.finfo(torch.float64).eps
    worst = 0.0
    for case, (name, _, outputs) in enumerate(truth.cases):
        other = truth.outputs_of(shrunk, case)
        assert_same_shapes(outputs, other, name)
        for number, share in enumerate(shares(outputs, other)):
            worst = max(worst, share)
            if share > EXACT * coarser:
                allowed = truth.allowed(case, NUDGE * coarser)[number]
                assert share <= 3 * allowed, (
                    f"output {number} on {name}: differs by {share:.1e} of the channel "
                    f"({NUDGE * coarser:.0e} of the weights moves it by {allowed:.1e})"
                )
    return worst


def assert_as_near(truth: Truth, soft: nn.Module, shrunk: nn.Module) -> tuple[float, float]:
    """Raise AssertionError unless the shrunk network is as near to the truth as the soft one.

    Both run in their own type. It may be FACTOR times as far (both are the rounding of other
    sums), or as far as the weights' own rounding moves the truth. Returns how far both are.
    """
    resolution = torch.finfo(type_of(soft)).eps
    worst = (0.0, 0.0)
    for case, (name, tensors, outputs) in enumerate(truth.cases):
        plain, other = outputs_of(soft, *tensors), outputs_of(shrunk, *tensors)
        if not finite(plain):
            continue
        assert_same_shapes(outputs, other, name)
        pairs = zip(shares(outputs, plain), shares(outputs, other), strict=True)
        for number, (before, after) in enumerate(pairs):
            if after > FACTOR * max(before, resolution):
                allowed = truth.allowed(case, resolution)[number]
                assert after <= FACTOR * max(before, allowed), (
                    f"output {number} on {name}: {after:.1e} of the channel from the truth, where "
                    f"the soft network is {before:.1e} (and rounded weights are {allowed:.1e})"
                )
            worst = max(worst, (before, after), key=max)
    return worst


def assert_same_shapes(before: Sequence[Tensor], after: Sequence[Tensor], name: str) -> None:
    left, right = [list(a.shape) for a in before], [list(a.shape) for a in after]
    assert left == right, f"the shapes differ on {name}: {left} and {right}"


def type_of(network: nn.Module) -> torch.dtype:
    """The type of the network's parameters."""
    return next((parameter.dtype for parameter in network.parameters()), torch.float32)
