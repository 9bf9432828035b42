"""What boxes that overlap say together: a detector sees a face from several cells.

Suppression keeps the best of them and throws the others away, with what they know: that several
cells see it, and where each has its edges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Rows = NDArray[np.intp]

AT_ONCE = 1_000_000
"""Pairs of boxes that are compared in one go."""


def merged(
    boxes: Doubles,
    evidence: Doubles,
    kept: Rows,
    values: Doubles,
    *,
    nms_iou: float,
    support: float,
) -> tuple[Doubles, Doubles]:
    """Return the values (K, C) and the evidence (K,) of the boxes in the rows ``kept``.

    Every box (N, 4) that suppression drops for one that is kept counts there by its probability,
    times (overlap - ``nms_iou``) / (1 - ``nms_iou``). The values (N, C), such as the edges, become
    their mean; the evidence, log(p / (1 - p)), grows by ``support`` times the log of what all of
    them count over what the kept one counts alone. So a box that overlaps no other stays as it is.
    """
    chances = np.maximum(probability(evidence), np.finfo(np.float64).tiny)
    means, strength = values[kept], evidence[kept]
    step = max(1, AT_ONCE // max(1, len(boxes)))
    for start in range(0, len(kept), step):
        rows = kept[start : start + step]
        weights = _closeness(boxes[rows], boxes, nms_iou) * chances
        weights[np.arange(len(rows)), rows] = chances[rows]
        total = weights.sum(axis=1)
        means[start : start + step] = weights @ values / total[:, None]
        strength[start : start + step] += support * np.log(total / chances[rows])
    return means, strength


def _closeness(some: Doubles, boxes: Doubles, nms_iou: float) -> Doubles:
    """Return how far the overlap of each pair (K, N) is above ``nms_iou``, from 0 to 1."""
    low = np.maximum(some[:, None, :2], boxes[None, :, :2])
    high = np.minimum(some[:, None, 2:], boxes[None, :, 2:])
    shared = np.maximum(high - low, 0.0).prod(axis=2)
    areas = [np.maximum(each[:, 2:] - each[:, :2], 0.0).prod(axis=1) for each in (some, boxes)]
    together = np.maximum(areas[0][:, None] + areas[1] - shared, np.finfo(np.float64).tiny)
    spare = max(1.0 - nms_iou, np.finfo(np.float64).tiny)
    return np.asarray(np.clip((shared / together - nms_iou) / spare, 0.0, 1.0), np.float64)


def probability(evidence: Doubles) -> Doubles:
    """Return the sigmoid, which cannot overflow."""
    return np.asarray(np.exp(-np.logaddexp(0, -evidence)), np.float64)


def evidence_of_scores(scores: NDArray[np.floating]) -> Doubles:
    """Return log(p / (1 - p)) of scores, which are taken as within (0, 1)."""
    wide = np.asarray(scores, np.float64)
    chances = np.clip(wide, np.finfo(np.float64).tiny, 1.0 - np.finfo(np.float64).epsneg)
    return np.asarray(np.log(chances) - np.log1p(-chances), np.float64)
