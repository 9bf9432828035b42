"""Layouts of one tensor for all boxes, and of boxes that the network has decoded itself."""

from __future__ import annotations

import numpy as np

from ...arrays import Array, Rows
from ..outputs import Given, unfit
from .candidates import (
    Candidates,
    Located,
    best_classes,
    cells,
    expected_bins,
    from_centres,
    from_distances,
)

YOLOV5 = "one output (1, N, 5 + classes): centre x, centre y, width, height in pixels, objectness"
YOLOV8 = "one output (1, 4 + classes, N): centre x, centre y, width, height in pixels, classes"
CORNERS = "boxes (1, N, 4) of left, top, right, bottom in pixels, and scores (1, N, classes)"


def _only(given: Given, expected: str) -> Array:
    """Return the only output without the axis of pictures."""
    if len(given.arrays) != 1 or given.arrays[0].ndim != 3 or given.arrays[0].shape[0] != 1:
        raise unfit(given, expected)
    rows: Array = given.arrays[0][0]
    return rows


def yolov5(given: Given, activation: str) -> Candidates:
    """Read rows of box, objectness and classes, decoded by the network."""
    rows = _only(given, YOLOV5)
    labels = len(given.specification.labels)
    turned = labels and rows.shape[1] != 5 + labels and rows.shape[0] in (4 + labels, 5 + labels)
    if rows.shape[1] < 6 or turned or (labels and rows.shape[1] == 4 + labels):
        raise unfit(given, YOLOV5)
    best, scores = best_classes(given, rows[:, 5:], activation, rows[:, 4])
    return Candidates(best, scores, lambda which: (from_centres(rows[which, :4]), None))


def yolov8(given: Given, activation: str) -> Candidates:
    """Read columns of box and classes, decoded by the network."""
    columns = _only(given, YOLOV8)
    labels = len(given.specification.labels)
    turned = labels and columns.shape[0] != 4 + labels
    turned = turned and columns.shape[1] in (4 + labels, 5 + labels)
    if columns.shape[0] < 5 or turned:
        raise unfit(given, YOLOV8)
    best, scores = best_classes(given, columns[4:].T, activation)
    return Candidates(best, scores, lambda which: (from_centres(columns[:4, which].T), None))


def yolox(given: Given, activation: str) -> Candidates:
    """Read rows of offsets, logarithms of sides, objectness and classes, a row per cell."""
    strides = given.specification.strides or (8, 16, 32)
    expected = f"one output (1, N, 5 + classes), a row per cell of strides {list(strides)}"
    rows = _only(given, expected)
    grid = cells(given.size, strides, 0.0)
    if rows.shape[1] < 6 or len(rows) != len(grid):
        raise unfit(given, f"{expected}, N = {len(grid)}")
    best, scores = best_classes(given, rows[:, 5:], activation, rows[:, 4])

    def locate(which: Rows) -> Located:
        raw, cell = rows[which, :4].astype(np.float64), grid[which]
        centres = raw[:, :2] * cell[:, 2:] + cell[:, :2]
        sides = np.exp(np.minimum(raw[:, 2:], 30.0)) * cell[:, 2:]
        return from_centres(np.concatenate([centres, sides], axis=1)), None

    return Candidates(best, scores, locate)


def nanodet(given: Given, activation: str) -> Candidates:
    """Read rows of classes and four distributions of distances, a row per cell."""
    which = given.specification
    strides, count = which.strides or (8, 16, 32, 64), len(which.labels)
    expected = (
        f"labels, and one output (1, N, classes + 4 bins), a row per cell of strides "
        f"{list(strides)}"
    )
    rows = _only(given, expected)
    grid = cells(given.size, strides, which.cell_centre or 0.0)
    bins = (rows.shape[1] - count) // 4
    if not count or bins < 2 or count + 4 * bins != rows.shape[1] or len(rows) != len(grid):
        raise unfit(given, f"{expected}, N = {len(grid)}")
    best, scores = best_classes(given, rows[:, :count], activation)

    def locate(chosen: Rows) -> Located:
        distances = expected_bins(rows[chosen, count:].reshape(-1, 4, bins))
        cell = grid[chosen]
        return from_distances(cell[:, :2], distances * cell[:, 2:]), None

    return Candidates(best, scores, locate)


def corners(given: Given, activation: str) -> Candidates:
    """Read boxes and scores as a network gives them that decodes by itself."""
    if len(given.arrays) != 2:
        raise unfit(given, CORNERS)
    boxes, scores = given.arrays
    if boxes.ndim == 3 and scores.ndim == 2:
        scores = scores[..., None]
    if boxes.ndim != 3 or boxes.shape[::2] != (1, 4) or scores.shape[:2] != boxes.shape[:2]:
        raise unfit(given, CORNERS)
    if scores.ndim != 3 or not scores.shape[2]:
        raise unfit(given, CORNERS)
    best, chances = best_classes(given, scores[0], activation)
    return Candidates(best, chances, lambda which: (boxes[0, which].astype(np.float64), None))
