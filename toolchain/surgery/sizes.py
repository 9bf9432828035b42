"""Input sizes near the asked one, at which the analysis looks as well.

What is constant at one size may be another constant at the next (an average over a padded
border), so two sizes are looked at, and others check: a third one near them, small ones, and long
ones, and one of another number of images: what adds up over all of them (``x.sum()``) is another
constant then. No size takes much more memory than the asked one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from toolchain.surgery.running import Inputs, Working, run_fresh

MAX_BYTES = 256 * 2**20
"""A larger size is not looked at if one tensor there could be larger than this."""

STEPS = (8, 16, 32)
"""Networks that halve their input several times often take multiples only."""

SHORT = (5, 11, 45)
"""Sides of small inputs, in pixels: layers at every stride then read maps of few pixels, in which
a kernel meets both borders at once. In images of still fewer pixels borders are all there is; what
holds there holds nowhere else, so nothing is promised of them."""

USUAL = 2 * SHORT[-1]
"""A longer side than this beside a short one shows nothing more, and costs time."""

LONG = 4
"""How many times a side of the asked size a long side is: there layers read pixels that are far
from both borders, though the asked size may have none."""


def smaller_size(working: Working, inputs: Inputs) -> Inputs | None:
    """Return inputs of about three quarters of the size, odd if the network takes that."""
    return _first_that_runs(working.network, inputs, _smaller(inputs))


def third_size(working: Working, inputs: Inputs, other: Inputs | None) -> Inputs | None:
    """Return inputs a little larger, or smaller where memory or the network forbid that."""
    known = {_shapes(inputs), _shapes(other or ())}
    candidates = (
        x for x in _thirds(inputs) if _shapes(x) not in known and _fits(working, inputs, x)
    )
    return _first_that_runs(working.network, inputs, candidates)


def checking_sizes(
    working: Working, inputs: Inputs, known: Sequence[Inputs]
) -> tuple[tuple[Inputs, ...], ...]:
    """Return small, narrow and long inputs: of each some alternatives, for not all may run.

    A pixel's constant depends on how far it is from the borders, along each side on its own. So
    every short side goes with a short and with a usual one, and a long side with a short one. None
    has the shapes of ``inputs`` or of ``known``.
    """
    image = next((x for x in inputs if x.ndim >= 3), None)
    if image is None:
        return ()
    height, width = image.shape[2:-1].numel(), image.shape[-1]
    short = [side for side in SHORT if side < max(height, width)]
    targets = [
        target
        for side in short
        for target in ((side, side), (side, min(width, USUAL)), (min(height, USUAL), side))
    ]
    for side in short[len(short) // 2 :][:1]:
        targets += [(LONG * height + 1, side), (side, LONG * width + 1)]
    seen = {_shapes(x) for x in (inputs, *known)}
    found = list[tuple[Inputs, ...]]()
    for target in dict.fromkeys(targets):
        new = {_shapes(x): x for x in _scaled(inputs, (height, width), target)}
        found.append(
            tuple(x for s, x in new.items() if s not in seen and _fits(working, inputs, x))
        )
        seen |= new.keys()
    return tuple(found)


def more_images(
    working: Working, inputs: Inputs, others: Sequence[Sequence[Inputs]]
) -> tuple[Inputs, ...]:
    """Return inputs of one image more, small first: alternatives, for not all may run.

    ``others`` are those of :func:`checking_sizes`. The first dimension of the first of the inputs
    counts images, and is that of all inputs that are as long there.
    """
    count = next((len(x) for x in inputs if x.ndim), None)
    if count is None:
        return ()
    known = [*(x for group in others[:1] for x in group), inputs]
    grown = [tuple(_one_more(x, count) for x in each) for each in known]
    return tuple(each for each in grown if _fits(working, inputs, each))


def _one_more(x: Tensor, count: int) -> Tensor:
    return torch.cat((x, x[:1])) if x.ndim and len(x) == count else x


def _scaled(inputs: Inputs, size: tuple[int, int], target: tuple[int, int]) -> Iterator[Inputs]:
    """Yield inputs of which the first image has the target's size, or multiples above it."""

    def to(side: int, now: int) -> Callable[[int], int]:
        return lambda other: math.ceil(other * side / now)

    for step in (1, *STEPS):
        sides = [math.ceil(side / step) * step for side in target]
        yield _resized(inputs, to(sides[0], size[0]), to(sides[1], size[1]))


def _smaller(inputs: Inputs) -> Iterator[Inputs]:
    yield _resized(inputs, lambda size: size * 3 // 4 | 1, lambda size: size * 3 // 4 | 1)
    for step in STEPS:

        def multiple(size: int, step: int = step) -> int:
            return size * 3 // 4 // step * step

        yield _resized(inputs, multiple, multiple)


def _thirds(inputs: Inputs) -> Iterator[Inputs]:
    yield _resized(inputs, lambda size: size * 9 // 8 + 3, lambda size: size * 5 // 4 + 2)
    for step in STEPS:

        def next_multiple(size: int, step: int = step) -> int:
            return (size // step + 1) * step

        yield _resized(inputs, next_multiple, next_multiple)
    yield _resized(inputs, lambda size: size * 7 // 8, lambda size: size * 4 // 5 | 1)
    for step in STEPS:

        def last_multiple(size: int, step: int = step) -> int:
            return (size - 1) // step * step

        yield _resized(inputs, last_multiple, last_multiple)


def _fits(working: Working, inputs: Inputs, other: Inputs) -> bool:
    """Attention grows with the square of the number of positions."""
    ratio = max(b.numel() / a.numel() for a, b in zip(inputs, other, strict=True))
    return ratio <= 1 or working.largest_bytes * ratio**2 <= MAX_BYTES


def _resized(inputs: Inputs, height: Callable[[int], int], width: Callable[[int], int]) -> Inputs:
    return tuple(_resized_one(x, height, width) for x in inputs)


def _resized_one(x: Tensor, height: Callable[[int], int], width: Callable[[int], int]) -> Tensor:
    """Return zeros; the last dimension is the width, all between it and the channels heights."""
    if x.ndim < 3:
        return x
    sizes = [height(size) for size in x.shape[2:-1]] + [width(x.shape[-1])]
    return x.new_zeros((*x.shape[:2], *sizes))


def _first_that_runs(
    network: nn.Module, inputs: Inputs, candidates: Iterator[Inputs]
) -> Inputs | None:
    for candidate in candidates:
        if _shapes(candidate) == _shapes(inputs) or any(not x.numel() for x in candidate):
            continue
        nowhere = tuple(_not_a_number(x) for x in candidate)
        try:
            run_fresh(network, candidate)
            run_fresh(network, nowhere)  # the analysis must run there as well
        except Exception:  # a user's code may raise anything at a size that it does not take
            continue
        return candidate
    return None


def _not_a_number(x: Tensor) -> Tensor:
    return torch.full_like(x, float("nan")) if x.is_floating_point() else x


def _shapes(inputs: Inputs) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(x.shape) for x in inputs)
