"""Mean intersection over union over pairs of a picture and a mask.

    DATA/images/any/name.jpg
    DATA/masks/any/name.png

A mask is as large as its picture, of one channel of 8 or 16 bits: each pixel's class as a number,
and 255 where there is none. Predictions are those of the board, at the picture's own size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from toolchain.deploy import detect
from toolchain.deploy.detector.tasks.mask import read_mask
from toolchain.deploy.detector.tasks.outputs import Given
from toolchain.errors import DataError, InputError
from toolchain.evaluating.model import Model
from toolchain.evaluating.reading import given
from toolchain.evaluating.samples import BuiltIn, Sample, pictures_in
from toolchain.recipe import Recipe
from toolchain.system.files import sha256_of

NO_CLASS = 255
"""Pixels that belong to no class: they are left out."""


def read(data: Path, recipe: Recipe) -> tuple[Sample, ...]:  # noqa: ARG001
    """Return every picture with its mask's path and hash; raise :class:`DataError` if one lacks."""
    images, masks = data / "images", data / "masks"
    for folder in (images, masks):
        if not folder.is_dir():
            raise DataError(
                f"{data}: has no folder {folder.name!r}; evaluate.function 'miou' wants "
                f"images/NAME.jpg and masks/NAME.png"
            )
    samples = []
    for path in pictures_in(images):
        mask = (masks / path.relative_to(images)).with_suffix(".png")
        if not mask.is_file():
            raise DataError(f"{path}: has no mask {mask}; remove it, or add the mask")
        name = mask.relative_to(data).as_posix()
        known = [name, sha256_of(mask)]
        samples.append(Sample(path.relative_to(data).as_posix(), path, known))
    if not samples:
        raise DataError(f"{images}: holds no pictures")
    return tuple(samples)


def look(model: Model, pixels: NDArray[np.uint8], sample: Sample) -> list[list[int]]:
    """Return how many pixels of each class are taken for which: (truth, predicted, count)."""
    truth = _mask(sample.folder / sample.truth[0])
    try:
        gave = given(model, pixels, "mask")
        found = read_mask(gave, None).mask
    except detect.DetectError as error:
        raise InputError(f"{model.name} on {sample.name}: {error}") from error
    if found.shape != truth.shape:
        raise InputError(
            f"{sample.truth[0]}: is {truth.shape[1]}x{truth.shape[0]} pixels, and its picture "
            f"{found.shape[1]}x{found.shape[0]}; they must be of one size"
        )
    known = truth != NO_CLASS
    classes, highest = _classes(gave), int(truth[known].max(initial=0))
    if highest >= classes:
        raise InputError(
            f"{sample.truth[0]}: has class {highest}, and {model.name} gives {classes} classes, "
            f"numbered from 0; write {NO_CLASS} where a pixel is of none of them"
        )
    pairs, counts = np.unique(
        np.stack([truth[known], found[known]]).astype(np.int64), axis=1, return_counts=True
    )
    return [[int(a), int(b), int(n)] for (a, b), n in zip(pairs.T, counts, strict=True)]


def _classes(gave: Given) -> int:
    """Return how many classes there can be."""
    if gave.specification.layout == "indices":
        return len(gave.specification.labels) or 1 << 16
    return max(2, int(gave.arrays[0].shape[1]))


def _mask(path: Path) -> NDArray[Any]:
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if mask is None:
        raise DataError(f"{path}: cannot be read as a mask")
    if mask.ndim != 2 or mask.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{path}: must have one channel of 8 or 16 bits, the numbers of the classes (got "
            f"{mask.dtype} {mask.shape}); write palettes and colours as numbers"
        )
    return np.asarray(mask)


def add_up(samples: Sequence[Sample], found: Sequence[Any]) -> dict[str, float]:
    """Return the mean over all classes that occur, and the share of pixels that are right."""
    for sample, each in zip(samples, found, strict=True):
        if each is None:
            raise DataError(f"{sample.picture}: cannot be read; remove it and its mask")
    both, truth, predicted = Counter[int](), Counter[int](), Counter[int]()
    for a, b, count in (row for each in found for row in each):
        truth[a] += count
        predicted[b] += count
        both[a] += count if a == b else 0
    if not truth:
        raise DataError("the masks hold no class: every pixel is 255")
    shares = [
        both[each] / (truth[each] + predicted[each] - both[each])
        for each in sorted(truth.keys() | predicted.keys())
    ]
    return {
        "miou": sum(shares) / len(shares),
        "pixel_accuracy": sum(both.values()) / sum(truth.values()),
    }


MIOU = BuiltIn(read, look, add_up, upright=False)
