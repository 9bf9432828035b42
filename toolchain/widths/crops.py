"""Crops of photos to look at widths on, in which faces of all sizes are shown alike."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from torch import Tensor

from toolchain.checking.pictures import Photo, board_view, photo_input
from toolchain.data.wider import Split
from toolchain.errors import DataError, InputError
from toolchain.recipe import CropSection, Recipe, override
from toolchain.train.crops import LARGEST_SCALE, CropSettings, Faces, draw_crop
from toolchain.train.photos import Photo as TrainingPhoto
from toolchain.train.photos import prepare_photos

CROPS = 16
"""One for each step of face sizes, a photo each."""
CANDIDATES = 128
"""Photos, spread over all, among which are those that are cut."""


def draw_crops(split: Split, recipe: Recipe, cache: Path) -> tuple[Tensor, ...]:
    """Return :data:`CROPS` inputs, float32 (1, 3, S, S) with S the shorter side of the input.

    Each is cut near a face, of the photo that must be scaled least to show it at the size wanted;
    these rise by equal factors over ``crops.face_sides`` of the recipe, but to S at most. No photo
    is cut twice before all are. The same for the same photos. Raises :class:`DataError` where no
    photo shows a face that can be brought to some size, and :class:`InputError` where all sizes are
    larger than the input.
    """
    side = min(recipe.input.height, recipe.input.width)
    edges = _edges(recipe.crops, side)
    square = override(recipe, {"input.height": side, "input.width": side})
    plain = dataclasses.replace(
        CropSettings.of(recipe), side=side, near_face=1.0, brightness=0, contrast=0, saturation=0
    )
    candidates = split.spread(CANDIDATES)
    photos = prepare_photos(candidates, cache, budget_bytes=0, on_photo=lambda *_: None)
    left: list[TrainingPhoto] = []
    generator = np.random.default_rng(recipe.model.seed)
    crops = []
    for low, high in itertools.pairwise(edges):
        left = left or list(photos.photos)
        photo, face = _nearest(left, math.sqrt(low * high))
        settings = dataclasses.replace(plain, face_sides=(low, high))
        cut = draw_crop(photo.pixels(photos.longest), face, generator, settings)
        shown = Photo(photo.name, cut.image)
        crops.append(photo_input(shown, square, board_view(square)).image)
        left.remove(photo)
    return tuple(crops)


def _edges(crops: CropSection, side: int) -> list[float]:
    """Return the sides of faces between which the sizes of the crops lie, in rising order."""
    smallest, largest = crops.face_sides
    if smallest >= side:
        raise InputError(
            f"crops.face_sides begin at {smallest:g} pixels, and the input's shorter side has "
            f"{side}; give smaller faces in --recipe, or a larger --size"
        )
    return [float(edge) for edge in np.geomspace(smallest, min(largest, side), CROPS + 1)]


def _nearest(photos: Iterable[TrainingPhoto], side: float) -> tuple[TrainingPhoto, Faces]:
    """Return the photo with the face whose side is nearest to ``side``, as a factor, and it."""
    found = [
        (abs(math.log(side / own)), photo, photo.faces[index : index + 1])
        for photo in photos
        for index, own in enumerate(_sides(photo.faces))
    ]
    far, photo, face = min(found, key=lambda each: each[0], default=(math.inf, None, None))
    if photo is None or face is None or not far <= math.log(LARGEST_SCALE):
        raise DataError(
            f"no face among the photos can be shown {side:.0f} pixels large without scaling it by "
            f"over {LARGEST_SCALE:g}; give photos with such faces, or other crops.face_sides in "
            f"--recipe"
        )
    return photo, face


def _sides(faces: Faces) -> Faces:
    """Return the sides of squares as large as (F, 4) faces."""
    return np.asarray(np.sqrt(np.prod(faces[:, 2:] - faces[:, :2], axis=1)))
