"""A class for every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..arrays import Array, Floats, Image
from ..preparing import Placement
from .colours import colour
from .found import Found
from .outputs import Given, activated, demand_labels, demand_numbers, unfit

LAYOUTS = ("scores", "indices")
"""A map of scores for each class, or the index of each pixel's class."""
EXPECTED = {
    "scores": "one output (1, classes, rows, columns); of one channel a threshold decides",
    "indices": "one output (1, rows, columns) of whole numbers",
}
STRENGTH = 0.5
"""Of the colour over the picture."""
MOST_VALUES = 1 << 26
"""Scores are resized up to the input's size while they are so many there; more would take a board
seconds, and each pixel takes its cell's class."""
HUGE = 1e30
"""Infinite scores count as this: between them and others there are numbers."""
BACKGROUND = "background"
"""The class that is not painted: the one of this name, or the first of classes without names."""


@dataclass(frozen=True)
class Mask(Found):
    """The class of each pixel of the picture."""

    mask: NDArray[np.uint16]
    """(H, W); pixels that the network was not shown are of :attr:`unpainted`."""
    names: tuple[str, ...]
    """Of all classes."""
    unpainted: int
    """The background's class; -1 if all is painted."""

    def _areas(self) -> list[tuple[int, float]]:
        """Return each class that is there, with its share of the picture, largest first."""
        counts = np.bincount(self.mask.ravel())
        order = np.argsort(-counts, kind="stable")
        return [(int(i), counts[i] / self.mask.size) for i in order if counts[i]]

    def facts(self) -> dict[str, Any]:
        """Return ``areas``: each class's ``label``, ``class`` and ``share`` of the picture."""
        return {
            "areas": [
                {"label": self._name(index), "class": index, "share": round(share, 4)}
                for index, share in self._areas()
            ]
        }

    def _name(self, index: int) -> str:
        return self.names[index] if index < len(self.names) else str(index)

    def words(self) -> str:
        """Return ``road 41.0%, sky 30.2%``."""
        return ", ".join(f"{self._name(i)} {100 * share:.1f}%" for i, share in self._areas()[:5])

    def drawn(self, image_bgr: Image) -> Image:
        """Return the picture with every class but the background's painted over it."""
        drawn = np.ascontiguousarray(image_bgr).copy()
        for index, _ in self._areas():
            if index != self.unpainted:
                place = self.mask == index
                shade = np.array(colour(index), np.float32)
                mixed = drawn[place] * (1 - STRENGTH) + shade * STRENGTH
                drawn[place] = mixed.astype(np.uint8)
        return drawn

    def arrays(self) -> dict[str, Array]:
        """Return ``mask``."""
        return {"mask": self.mask}


def read_mask(given: Given, threshold: float | None) -> Mask:
    """Return the mask at the picture's size; raise :class:`DetectError` where there is none."""
    which, layout = given.specification, given.specification.layout or LAYOUTS[0]
    if layout not in LAYOUTS or len(given.arrays) != 1:
        raise unfit(given, EXPECTED.get(layout, f"a layout of {', '.join(LAYOUTS)}"))
    demand_numbers(given)
    least = which.score_threshold if threshold is None else threshold
    if layout == "scores":
        indices, count = _from_scores(given, least)
    else:
        indices, count = _from_indices(given), 0
    labels = which.labels
    if count == 2 and len(labels) == 1:  # of one channel, whose other side has no name
        labels = (BACKGROUND, *labels)
    elif count:
        demand_labels(given, count, "classes")
    elif labels and int(indices.max(initial=0)) >= len(labels):
        demand_labels(given, int(indices.max()) + 1, "classes")
    unpainted = (labels.index(BACKGROUND) if BACKGROUND in labels else -1) if labels else 0
    mask = _on_picture(indices, given.size, given.placement, max(unpainted, 0))
    return Mask(mask, labels, unpainted)


def _from_scores(given: Given, least: float) -> tuple[Array, int]:
    scores = given.arrays[0]
    if scores.ndim != 4 or scores.shape[0] != 1 or not scores.size:
        raise unfit(given, EXPECTED["scores"])
    size = _fine_size(scores.shape, given.size)
    if scores.shape[1] == 1:
        finer = _resized(scores[0, 0], size)
        chances = activated(finer, given.specification.activation or "sigmoid")
        return (chances >= least).astype(np.uint16), 2
    return _likeliest(scores[0], size), scores.shape[1]


def _fine_size(shape: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns at which scores are compared: the input's, where it has more."""
    height, width = max(shape[2], size[0]), max(shape[3], size[1])
    affordable = shape[1] * height * width <= MOST_VALUES
    return (height, width) if affordable else (shape[2], shape[3])


def _likeliest(scores: Array, size: tuple[int, int]) -> NDArray[np.uint16]:
    """Return the class with the highest score; one class at a time, for boards are small."""
    if scores.shape[1:] == size:
        return np.asarray(scores.argmax(axis=0), np.uint16)
    highest = _resized(scores[0], size)
    found = np.zeros(size, np.uint16)
    for index, each in enumerate(scores[1:], start=1):
        finer = _resized(each, size)
        found[finer > highest] = index
        np.maximum(highest, finer, out=highest)
    return found


def _resized(scores: Array, size: tuple[int, int]) -> Floats:
    """Return a map of scores between its cells' middles, as PyTorch's ``bilinear`` does."""
    finite = np.clip(np.asarray(scores, np.float32), -HUGE, HUGE)
    return np.asarray(cv2.resize(finite, size[::-1], interpolation=cv2.INTER_LINEAR))


def _from_indices(given: Given) -> Array:
    found = given.arrays[0]
    if found.ndim == 4 and found.shape[1] == 1:
        found = found[:, 0]
    whole = found.ndim == 3 and found.shape[0] == 1 and found.size
    if not whole or (found != np.rint(found)).any() or found.min() < 0 or found.max() > 65535:
        raise unfit(given, EXPECTED["indices"])
    return np.asarray(found[0], np.uint16)


def _on_picture(
    indices: Array, size: tuple[int, int], placement: Placement, beyond: int
) -> NDArray[np.uint16]:
    """Return the class of each pixel of the picture, by the cell of the map that it lies in."""
    rows, columns = indices.shape
    y = (np.arange(placement.image_height) + 0.5) * placement.scale_y + placement.top
    x = (np.arange(placement.image_width) + 0.5) * placement.scale_x + placement.left
    row = np.floor(y * rows / size[0]).astype(np.intp)
    column = np.floor(x * columns / size[1]).astype(np.intp)
    found = indices[np.clip(row, 0, rows - 1)][:, np.clip(column, 0, columns - 1)]
    outside = (y < 0) | (y >= size[0] + 1e-6), (x < 0) | (x >= size[1] + 1e-6)
    found[outside[0]] = beyond
    found[:, outside[1]] = beyond
    return np.asarray(found, np.uint16)
