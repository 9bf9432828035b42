"""Layouts of several outputs: anchors, maps with distributions, YuNet's and SCRFD's levels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...arrays import Array, Doubles, Rows
from ...decoding import corners as ssd_corners
from ..outputs import Given, activated, unfit
from .candidates import (
    Candidates,
    Located,
    best_classes,
    cells,
    expected_bins,
    from_centres,
    from_distances,
)

BINS = 16
"""Of a distance's distribution in YOLOv8, where no labels tell how many channels are classes."""


def ssd(given: Given, activation: str) -> Candidates:
    """Read offsets from anchors and scores of which the first is the background's."""
    which = given.specification
    expected = "offsets (1, N, 4) and scores (1, N, 1 + classes), a row per anchor"
    if len(given.arrays) != 2:
        raise unfit(given, expected)
    loc, scores = given.arrays
    every = _anchors(given)
    count = len(every)
    good = loc.shape == (1, count, 4) and scores.shape[:2] == (1, count) and scores.ndim == 3
    if not good or scores.shape[2] < 2:
        raise unfit(given, f"{expected} of task.strides and task.anchors, N = {count}")
    best, chances = _beside_background(given, scores[0], activation)

    def locate(rows: Rows) -> Located:
        return ssd_corners(loc[0, rows], every[rows].astype(np.float32), which.variances), None

    return Candidates(best, chances, locate)


def _beside_background(given: Given, scores: Array, activation: str) -> tuple[Rows, Doubles]:
    """Return the likeliest class but the background, which comes first."""
    if activation != "softmax":
        return best_classes(given, scores[:, 1:], activation)
    return best_classes(given, activated(scores, activation)[:, 1:], "none")


def _anchors(given: Given) -> Doubles:
    """Return centre_x, centre_y, width, height of every anchor in pixels: (N, 4).

    Levels in order, row by row, the anchors of a cell one after the other.
    """
    which = given.specification
    if not which.strides or not which.anchors:
        raise unfit(given, "task.strides and task.anchors in the recipe")
    centre = 0.5 if which.cell_centre is None else which.cell_centre
    levels = []
    for stride, sides in zip(which.strides, which.anchors, strict=True):
        places = cells(given.size, (stride,), centre, each=len(sides))[:, :2]
        repeated = np.tile(np.array(sides, np.float64), (len(places) // len(sides), 1))
        levels.append(np.concatenate([places, repeated], axis=1))
    return np.concatenate(levels)


def maps(given: Given, activation: str) -> Candidates:
    """Read maps (1, 4 bins + classes, rows, columns), one a level: distributions come first."""
    which = given.specification
    strides, labels = which.strides or (8, 16, 32), len(which.labels)
    sides = [tuple(math.ceil(side / stride) for side in given.size) for stride in strides]
    expected = f"an output (1, 4 bins + classes, rows, columns) for each of strides {list(strides)}"
    if [array.shape[2:] for array in given.arrays] != sides or not all(
        array.ndim == 4 and array.shape[:2] == (1, given.arrays[0].shape[1])
        for array in given.arrays
    ):
        raise unfit(given, f"{expected}: {', '.join(f'{a}x{b}' for a, b in sides)}")
    channels = given.arrays[0].shape[1]
    bins = (channels - labels) // 4 if labels else BINS
    if bins < 2 or channels - 4 * bins < 1 or (labels and 4 * bins + labels != channels):
        raise unfit(given, expected)
    rows = np.concatenate([array[0].reshape(channels, -1).T for array in given.arrays])
    grid = cells(given.size, strides, 0.5 if which.cell_centre is None else which.cell_centre)
    best, scores = best_classes(given, rows[:, 4 * bins :], activation)

    def locate(chosen: Rows) -> Located:
        distances = expected_bins(rows[chosen, : 4 * bins].reshape(-1, 4, bins))
        return from_distances(grid[chosen, :2], distances * grid[chosen, 2:]), None

    return Candidates(best, scores, locate)


def yunet(given: Given, activation: str) -> Candidates:
    """Read classes, objectness, boxes and maybe points, each for all levels in turn."""
    which = given.specification
    strides = which.strides or (8, 16, 32)
    expected = (
        f"classes, then objectness (1, N, 1), boxes (1, N, 4), and points (1, N, 2 P) or none, "
        f"each for strides {list(strides)}"
    )
    groups = _groups(given, len(strides), (3, 4), expected)
    grid = cells(given.size, strides, which.cell_centre or 0.0)
    _demand(given, groups, (None, 1, 4), len(grid), expected)
    classes, objectness, offsets = groups[:3]
    best, scores = best_classes(given, classes, activation)
    present = activated(objectness[:, 0], activation)
    scores = np.sqrt(np.clip(scores, 0, 1) * np.clip(present, 0, 1))

    def locate(rows: Rows) -> Located:
        raw, cell = offsets[rows].astype(np.float64), grid[rows]
        centres = raw[:, :2] * cell[:, 2:] + cell[:, :2]
        sides = np.exp(np.minimum(raw[:, 2:], 30.0)) * cell[:, 2:]
        points = _points(groups[3], rows, cell) if len(groups) > 3 else None
        return from_centres(np.concatenate([centres, sides], axis=1)), points

    return Candidates(best, scores, locate)


def scrfd(given: Given, activation: str) -> Candidates:
    """Read scores, distances and maybe points, each for all levels in turn; two rows a cell."""
    which = given.specification
    strides = which.strides or (8, 16, 32)
    each = len(which.anchors[0]) if which.anchors else 2
    expected = (
        f"scores (1, N, classes), then distances (1, N, 4), and points (1, N, 2 P) or none, each "
        f"for strides {list(strides)}, {each} rows a cell"
    )
    groups = _groups(given, len(strides), (2, 3), expected)
    grid = cells(given.size, strides, which.cell_centre or 0.0, each)
    _demand(given, groups, (None, 4), len(grid), expected)
    best, scores = best_classes(given, groups[0], activation)

    def locate(rows: Rows) -> Located:
        cell = grid[rows]
        distances = groups[1][rows].astype(np.float64) * cell[:, 2:]
        points = _points(groups[2], rows, cell) if len(groups) > 2 else None
        return from_distances(cell[:, :2], distances), points

    return Candidates(best, scores, locate)


def _groups(given: Given, levels: int, kinds: tuple[int, ...], expected: str) -> list[Array]:
    """Return the outputs of each kind as rows of all levels (N, C)."""
    arrays = [array[0] if array.ndim == 3 else array for array in given.arrays]
    if len(arrays) not in [levels * count for count in kinds] or any(a.ndim != 2 for a in arrays):
        raise unfit(given, expected)
    groups = [arrays[start : start + levels] for start in range(0, len(arrays), levels)]
    if any(len({part.shape[1] for part in parts}) != 1 for parts in groups):
        raise unfit(given, expected)
    return [np.concatenate(parts) for parts in groups]


def _demand(
    given: Given, groups: Sequence[Array], columns: tuple[int | None, ...], rows: int, expected: str
) -> None:
    """Raise :class:`DetectError` unless the kinds have so many columns, and all so many rows."""
    wrong = any(len(group) != rows for group in groups)
    for group, count in zip(groups, columns, strict=False):
        wrong = wrong or (count is not None and group.shape[1] != count)
    if wrong or (len(groups) > len(columns) and groups[-1].shape[1] % 2):
        raise unfit(given, f"{expected}, N = {rows} over all")


def _points(raw: Array, rows: Rows, cell: Doubles) -> Doubles:
    """Return points (R, P, 2) in pixels of the input, of offsets in cells."""
    offsets = raw[rows].astype(np.float64).reshape(len(rows), raw.shape[1] // 2, 2)
    return np.asarray(offsets * cell[:, None, 2:] + cell[:, None, :2], np.float64)
