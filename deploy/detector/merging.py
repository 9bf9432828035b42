"""What boxes that overlap say together: a detector sees a face from several cells.

Suppression keeps the best of them and throws the others away, with what they know: that several
cells see it, and where each has its edges.
"""

from __future__ import annotations

import numpy as np

from .arrays import Array, Doubles, Rows

AT_ONCE = 32
"""Kept boxes that are compared with those near them in one go."""


def merged(
    boxes: Doubles,
    evidence: Doubles,
    kept: Rows,
    values: Doubles,
    *,
    nms_iou: float,
    support: float,
) -> tuple[Rows, Doubles, Doubles]:
    """Return the rows ``kept`` with their values (K, C) and evidence (K,), best first.

    Every box (N, 4) that suppression drops for one that is kept counts there by its probability,
    times (overlap - ``nms_iou``) / (1 - ``nms_iou``). The values (N, C), such as the edges, become
    their mean; the evidence, log(p / (1 - p)), grows by ``support`` times the log of what all of
    them count over what the kept one counts alone. So a box that overlaps no other stays as it is.
    """
    chances = np.maximum(probability(evidence), np.finfo(np.float64).tiny)
    means, strength = values[kept], evidence[kept]
    order = np.argsort(boxes[kept, 0], kind="stable")  # so that those of one go lie near
    for start in range(0, len(kept), AT_ONCE):
        places = order[start : start + AT_ONCE]
        rows = kept[places]
        near = _near(boxes, rows)
        weights = closeness(boxes[rows], boxes[near], nms_iou) * chances[near]
        weights[np.arange(len(rows)), np.searchsorted(near, rows)] = chances[rows]
        total = weights.sum(axis=1)
        means[places] = weights @ values[near] / total[:, None]
        strength[places] += support * np.log(total / chances[rows])
    best_first = np.argsort(-strength, kind="stable")
    return kept[best_first], means[best_first], strength[best_first]


def _near(boxes: Doubles, rows: Rows) -> Rows:
    """Return the boxes in some rows, and all others that may overlap one of them."""
    low, high = boxes[rows, :2].min(axis=0), boxes[rows, 2:].max(axis=0)
    near = ((boxes[:, 2:] > low) & (boxes[:, :2] < high)).all(axis=1)
    near[rows] = True
    return np.flatnonzero(near)


def closeness(some: Doubles, boxes: Doubles, nms_iou: float) -> Doubles:
    """Return how far the overlap of each pair (K, N) is above ``nms_iou``, from 0 to 1."""
    left, top, right, bottom = some.T[:, :, None]
    across = np.minimum(right, boxes[:, 2]) - np.maximum(left, boxes[:, 0])
    down = np.minimum(bottom, boxes[:, 3]) - np.maximum(top, boxes[:, 1])
    shared = np.maximum(across, 0.0) * np.maximum(down, 0.0)
    areas = [np.maximum(each[:, 2:] - each[:, :2], 0.0).prod(axis=1) for each in (some, boxes)]
    together = np.maximum(areas[0][:, None] + areas[1] - shared, np.finfo(np.float64).tiny)
    spare = max(1.0 - nms_iou, np.finfo(np.float64).tiny)
    return np.asarray(np.clip((shared / together - nms_iou) / spare, 0.0, 1.0), np.float64)


def probability(evidence: Doubles) -> Doubles:
    """Return the sigmoid, which cannot overflow."""
    return np.asarray(np.exp(-np.logaddexp(0, -evidence)), np.float64)


def evidence_of_scores(scores: Array) -> Doubles:
    """Return log(p / (1 - p)) of scores, which are taken as within (0, 1)."""
    wide = np.asarray(scores, np.float64)
    chances = np.clip(wide, np.finfo(np.float64).tiny, 1.0 - np.finfo(np.float64).epsneg)
    return np.asarray(np.log(chances) - np.log1p(-chances), np.float64)
