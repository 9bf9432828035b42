"""Suppression and merging as a board has them, again and again over the same boxes.

Which boxes overlap does not depend on scores, so it is found once; then other scores take a
millisecond or two a photo, an eighth of what the board's code takes from the boxes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from toolchain.balancing.candidates import Candidates
from toolchain.deploy import detect
from toolchain.deploy.detector.decoding import in_picture
from toolchain.deploy.detector.merging import closeness, probability
from toolchain.detection.protocols import PROTOCOLS

ROWS = 256
"""Boxes that are compared with all others in one go."""


def as_measured(specification: detect.Specification) -> detect.Specification:
    """Return what a detector's suppression is where average precision is measured."""
    single = PROTOCOLS["single"]
    return replace(specification, nms_iou=single.nms_iou, max_detections=single.max_detections)


class Overlapping:
    """The boxes of a photo, and which of them are one face to suppression."""

    def __init__(self, seen: Candidates, specification: detect.Specification) -> None:
        self._seen = seen
        self._boxes = seen.boxes.astype(np.float64)
        self._specification = specification
        self._first, self._second, self._closeness = _pairs(self._boxes, specification.nms_iou)
        counts = np.bincount(self._first, minlength=len(self._boxes))
        self._ends = np.concatenate([[0], np.cumsum(counts)])

    def best_cells(self, shifts: Sequence[float]) -> NDArray[np.float64]:
        """Return what the best cell of each face tells when levels are shifted, (K,)."""
        evidence = self._evidence(shifts)
        return evidence[self._kept(evidence)]

    def faces(self, shifts: Sequence[float]) -> NDArray[np.float64]:
        """Return the faces when levels are shifted, (K, 5): left, top, width, height, score."""
        evidence = self._evidence(shifts)
        kept = self._kept(evidence)[: self._specification.max_detections]
        boxes, strength = self._boxes[kept], evidence[kept]
        if self._specification.support is not None:
            boxes, strength = self._merged(kept, evidence, self._specification.support)
        boxes = in_picture(boxes, self._seen.placement).astype(np.float64)
        sizes = boxes[:, 2:] - boxes[:, :2]
        rows = np.concatenate([boxes[:, :2], sizes, probability(strength)[:, None]], axis=1)
        return np.asarray(rows[(sizes > 0).all(axis=1)])

    def _evidence(self, shifts: Sequence[float]) -> NDArray[np.float64]:
        return self._seen.evidence + np.asarray(shifts, np.float64)[self._seen.levels]

    def _kept(self, evidence: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return the rows to keep, best first: of two that overlap too much, the weaker goes."""
        alive, kept = bytearray(b"1") * len(evidence), []
        ends = self._ends.tolist()
        for row in np.argsort(-evidence, kind="stable").tolist():
            if alive[row]:
                kept.append(row)
                for other in self._second[ends[row] : ends[row + 1]].tolist():  # a few
                    alive[other] = 0
        return np.array(kept, np.intp)

    def _merged(
        self, kept: NDArray[np.intp], evidence: NDArray[np.float64], support: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what :func:`toolchain.deploy.detector.merging.merged` does, in another order."""
        chances = np.maximum(probability(evidence), np.finfo(np.float64).tiny)
        place = np.full(len(evidence), -1)
        place[kept] = np.arange(len(kept))
        of_kept = place[self._first] >= 0
        face, other = place[self._first[of_kept]], self._second[of_kept]
        weights = self._closeness[of_kept] * chances[other]
        total = chances[kept] + np.bincount(face, weights, len(kept))
        sums = [
            chances[kept] * side[kept] + np.bincount(face, weights * side[other], len(kept))
            for side in self._boxes.T
        ]
        strength = evidence[kept] + support * np.log(total / chances[kept])
        return np.stack(sums, axis=1) / total[:, None], strength


def _pairs(
    boxes: NDArray[np.float64], nms_iou: float
) -> tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.float32]]:
    """Return which boxes overlap by more than ``nms_iou``, in both orders, and how close each is.

    (P,) rows rising, (P,) columns, (P,) from 0 to 1. A box is no pair with itself.
    """
    first, second, close = [], [], []
    for start in range(0, len(boxes), ROWS):
        found = closeness(boxes[start : start + ROWS], boxes, nms_iou)
        rows, columns = np.nonzero(found)
        others = rows + start != columns
        first.append((rows[others] + start).astype(np.int16))
        second.append(columns[others].astype(np.int16))
        close.append(found[rows[others], columns[others]].astype(np.float32))
    if not first:
        return np.zeros(0, np.int16), np.zeros(0, np.int16), np.zeros(0, np.float32)
    return np.concatenate(first), np.concatenate(second), np.concatenate(close)
