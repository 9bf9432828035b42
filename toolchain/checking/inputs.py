"""Inputs that find faults which noise alone misses: a wrong border, a branch that noise keeps dead.

All are float32 (1, C, H, W) in the range that the network is given, as its recipe says; zero is the
mean colour of a photo.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from toolchain.checking.parity import ProofInput, random_inputs
from toolchain.models.sizes import Example

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
        ProofInput("all zero", (zero,), is_flat=True),
        ProofInput("bright", (torch.full(shape, bright),), is_flat=True),
        ProofInput("dark", (torch.full(shape, dark),), is_flat=True),
        ProofInput("a bright pixel in the middle", (_with_pixels(zero, bright, corners=False),)),
        ProofInput("a bright pixel in each corner", (_with_pixels(zero, bright, corners=True),)),
        ProofInput("a ramp", (_ramp(zero, dark, bright),)),
    ]


def of_each(example: Example, make: Callable[[Tensor, int], list[ProofInput]]) -> list[ProofInput]:
    """Return inputs for all tensors of ``example``, those of ``make`` for each put together.

    ``make`` is given an image (N, C, H, W) of as many values, and a number to add to a seed. What
    is no float stays as it is.
    """
    made = [
        make(_as_image(tensor), index) if tensor.is_floating_point() else None
        for index, tensor in enumerate(example)
    ]
    names = next((each for each in made if each is not None), [ProofInput("as given", example)])
    return [
        ProofInput(
            named.name,
            tuple(
                tensor if each is None else _shaped(each[index].image, tensor)
                for tensor, each in zip(example, made, strict=True)
            ),
            named.is_flat,
        )
        for index, named in enumerate(names)
    ]


def _as_image(tensor: Tensor) -> Tensor:
    """Return a tensor of any shape as (N, C, H, W)."""
    if tensor.ndim >= 4:
        return tensor.flatten(2, -2)
    shape = [*tensor.shape]
    return tensor.reshape([*shape[:-1], *[1] * (4 - len(shape)), *shape[-1:]])


def _shaped(image: Tensor, tensor: Tensor) -> Tensor:
    """Return an image in the shape and type of ``tensor``; a batch of 1 is repeated."""
    return image.expand(_as_image(tensor).shape).reshape(tensor.shape).to(tensor.dtype)


def noise(examples: Sequence[Example], seed: int, given: tuple[float, float]) -> list[ProofInput]:
    """Return noise of the shapes of each example; the rest is as in :func:`noise_inputs`."""
    return [
        proof
        for example in examples
        for proof in of_each(
            example, lambda image, index: noise_inputs([tuple(image.shape)], seed + index, given)
        )
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
