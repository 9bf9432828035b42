"""Inputs that find faults which noise alone misses: a wrong border, a branch that noise keeps dead.

All are float32 (1, C, H, W) in the range that the network is given, as its recipe says; zero is the
mean colour of a photo.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toolchain.check.parity import ProofInput, random_inputs

SMALLER = (1 / 64, 1 / 8)
"""Scales of further noise, as shares of :func:`noise_inputs`' own. Of pixels minus their mean these
are 1 and 8: where no recipe says so, the network may be one of normalised inputs."""


def noise_inputs(
    shapes: Sequence[tuple[int, ...]], seed: int, given: tuple[float, float]
) -> list[ProofInput]:
    """Return noise of each shape; the range ``given`` is two standard deviations either way."""
    low, high = given
    return random_inputs(shapes, seed, (high - low) / 4, (low + high) / 2)


def fault_inputs(example: Tensor, seed: int, given: tuple[float, float]) -> list[ProofInput]:
    """Return noise at other scales, flat inputs, bright pixels and a ramp, of a shape (1, C, H, W).

    ``given`` is the lowest and the highest value that an input takes.
    """
    shape = tuple(int(side) for side in example.shape)
    dark, bright = given
    scales = [(bright - dark) / 4 * share for share in SMALLER]
    noise = [
        ProofInput(f"{proof.name}, scale {scale:.3g}", proof.tensors)
        for scale in scales
        for proof in random_inputs([shape], seed, scale)
    ]
    zero = torch.zeros(shape)
    return [
        *noise,
        ProofInput("all zero", (zero,)),
        ProofInput("bright", (torch.full(shape, bright),)),
        ProofInput("dark", (torch.full(shape, dark),)),
        ProofInput("a bright pixel in the middle", (_with_pixels(zero, bright, corners=False),)),
        ProofInput("a bright pixel in each corner", (_with_pixels(zero, bright, corners=True),)),
        ProofInput("a ramp", (_ramp(zero, dark, bright),)),
    ]


def _with_pixels(zero: Tensor, bright: float, *, corners: bool) -> Tensor:
    image = zero.clone()
    height, width = zero.shape[2:]
    places = [(0, 0), (0, -1), (-1, 0), (-1, -1)] if corners else [(height // 2, width // 2)]
    for row, column in places:
        image[..., row, column] = bright
    return image


def _ramp(zero: Tensor, dark: float, bright: float) -> Tensor:
    """Return what rises from dark to bright, in each channel from another corner."""
    height, width = zero.shape[2:]
    rows = torch.linspace(-1, 1, height).reshape(1, 1, -1, 1)
    columns = torch.linspace(-1, 1, width).reshape(1, 1, 1, -1)
    signs = torch.tensor([1.0 if index % 2 else -1.0 for index in range(zero.shape[1])])
    slope = (bright - dark) / 4
    return zero + (dark + bright) / 2 + slope * (rows + signs.reshape(1, -1, 1, 1) * columns)
