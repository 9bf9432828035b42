"""Inputs that find faults which noise alone misses: a wrong border, a branch that noise keeps dead.

All are float32 (1, C, H, W) around zero, which is the mean colour of a photo.
"""

from __future__ import annotations

import torch
from torch import Tensor

from toolchain.check.parity import ProofInput, random_inputs

BRIGHT = 128.0
"""About a bright pixel minus its mean, where the network takes pixels."""
SCALES = (1.0, 8.0)
"""Of noise, beside that of an image minus its mean: networks of normalised inputs live there."""


def fault_inputs(example: Tensor, seed: int, bright: float = BRIGHT) -> list[ProofInput]:
    """Return noise at other scales, flat inputs, bright pixels and a ramp, of a shape (1, C, H, W).

    ``bright`` is the largest value that an input takes; the darkest is minus that.
    """
    shape = tuple(int(side) for side in example.shape)
    noise = [
        ProofInput(f"{proof.name}, scale {scale:g}", proof.tensors)
        for scale in SCALES
        for proof in random_inputs([shape], seed, scale)
    ]
    zero = torch.zeros(shape)
    return [
        *noise,
        ProofInput("all zero", (zero,)),
        ProofInput("bright", (torch.full(shape, bright),)),
        ProofInput("dark", (torch.full(shape, -bright),)),
        ProofInput("a bright pixel in the middle", (_with_pixels(zero, bright, corners=False),)),
        ProofInput("a bright pixel in each corner", (_with_pixels(zero, bright, corners=True),)),
        ProofInput("a ramp", (_ramp(zero, bright),)),
    ]


def _with_pixels(zero: Tensor, bright: float, *, corners: bool) -> Tensor:
    image = zero.clone()
    height, width = zero.shape[2:]
    places = [(0, 0), (0, -1), (-1, 0), (-1, -1)] if corners else [(height // 2, width // 2)]
    for row, column in places:
        image[..., row, column] = bright
    return image


def _ramp(zero: Tensor, bright: float) -> Tensor:
    """Return what rises from corner to corner, in each channel from another."""
    height, width = zero.shape[2:]
    rows = torch.linspace(-1, 1, height).reshape(1, 1, -1, 1)
    columns = torch.linspace(-1, 1, width).reshape(1, 1, 1, -1)
    signs = torch.tensor([1.0 if index % 2 else -1.0 for index in range(zero.shape[1])])
    return zero + bright / 2 * (rows + signs.reshape(1, -1, 1, 1) * columns)
