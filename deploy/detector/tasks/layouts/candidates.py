"""What a layout of boxes gives: each row's best class, and boxes for the rows that are asked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...arrays import Array, Doubles, Rows
from ..outputs import Given, activated, demand_labels

Located = tuple[Doubles, Doubles | None]
"""Boxes (R, 4), left, top, right, bottom in pixels of the input, and points (R, P, 2) if any."""


@dataclass(frozen=True)
class Candidates:
    """All rows of a network's outputs, before any threshold."""

    classes: Rows
    """(N,): the likeliest class of each row."""
    scores: Doubles
    """(N,): its probability."""
    locate: Callable[[Rows], Located]
    """Decodes the boxes of some rows alone: most rows do not pass the threshold."""


def best_classes(
    given: Given, classes: Array, activation: str | None, objectness: Array | None = None
) -> tuple[Rows, Doubles]:
    """Return the likeliest class and its score, of classes (N, K) and maybe objectness (N,).

    Raises :class:`DetectError` where there are labels of another number.
    """
    demand_labels(given, classes.shape[1], "classes")
    best = classes.argmax(axis=1)
    if activation == "softmax":
        scores = activated(classes, activation)[np.arange(len(best)), best]
    else:  # it keeps the order, so the best alone is enough
        scores = activated(classes[np.arange(len(best)), best], activation)
    if objectness is not None:
        scores = scores * activated(objectness, activation)
    return best, scores


def from_centres(centre_and_side: Array) -> Doubles:
    """Return boxes (R, 4) of centre_x, centre_y, width, height."""
    wide = centre_and_side.astype(np.float64)
    half = wide[:, 2:] / 2
    return np.concatenate([wide[:, :2] - half, wide[:, :2] + half], axis=1)


def from_distances(centres: Doubles, distances: Doubles) -> Doubles:
    """Return boxes (R, 4) of centres (R, 2) and distances to left, top, right, bottom."""
    return np.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], axis=1)


def cells(size: tuple[int, int], strides: tuple[int, ...], centre: float, each: int = 1) -> Doubles:
    """Return centre_x, centre_y, stride of every cell in pixels: (N, 3).

    Levels in order, ceil(height / stride) rows of ceil(width / stride) cells, ``each`` times each.
    """
    levels = []
    for stride in strides:
        rows, columns = (math.ceil(side / stride) for side in size)
        level = np.empty((rows, columns, each, 3))
        level[..., 0] = ((np.arange(columns) + centre) * stride)[None, :, None]
        level[..., 1] = ((np.arange(rows) + centre) * stride)[:, None, None]
        level[..., 2] = stride
        levels.append(level.reshape(-1, 3))
    return np.concatenate(levels)


def expected_bins(distributions: Array) -> Doubles:
    """Return the mean bin of distributions (R, 4, B) of logits: (R, 4)."""
    shares = activated(distributions, "softmax")
    return np.asarray(shares @ np.arange(shares.shape[-1]), np.float64)
