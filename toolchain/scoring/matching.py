"""Which face does each detection of one photo find?

WIDER FACE counts pixels from the first to the last inclusively: a box from x to x + width is
width + 1 pixels wide. That is the ``+ 1`` below, and it is not a mistake. It follows the authors'
own evaluation (WIDER FACE eval_tools, ``boxoverlap.m``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_IOU = 0.5
"""A detection finds a face if they overlap at least this much."""

PAIRS_AT_ONCE = 32_768
"""Pairs of a detection and a box that are in memory together: 256 kB an array, so that the four
arrays in use stay in the processor's cache."""

Pairs = tuple[NDArray[np.intp], NDArray[np.float64]]


def order(detections: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the rows of detections (K, 5) from the best score to the worst.

    Equal scores stay in the order given. The score is the last column.
    """
    return np.argsort(-detections[:, 4], kind="stable")


def match(
    detections: NDArray[np.float64], boxes: NDArray[np.float64], min_iou: float = MIN_IOU
) -> Pairs:
    """Return for every detection the box that it overlaps most, and by how much.

    Args:
        detections: (K, 5) or (K, 4): left, top, width, height in pixels, and whatever follows.
        boxes: (G, 4): left, top, width, height in pixels.
        min_iou: a smaller overlap is none.

    Returns:
        (K,) row in ``boxes``, the first of several that overlap equally, or -1 where the overlap
        is below ``min_iou`` or there are no boxes; and (K,) intersection over union, between 0
        and 1. Both in the order of ``detections``.

    A box of negative width or height overlaps nothing. Memory is bounded whatever K is.
    """
    found = np.full(len(detections), -1, dtype=np.intp)
    overlap = np.zeros(len(detections))
    if len(detections) == 0 or len(boxes) == 0:
        return found, overlap
    # An untrained network gives absurd boxes; their areas overflow, and then they overlap by 0.
    with np.errstate(over="ignore", invalid="ignore"):
        sides, other_sides = Corners.of(detections), Corners.of(boxes)
        step = max(1, PAIRS_AT_ONCE // len(boxes))
        for start in range(0, len(detections), step):
            rows = slice(start, start + step)
            found[rows], overlap[rows] = _best(intersection_over_union(sides[rows], other_sides))
    found[~(overlap >= min_iou)] = -1  # so that NaN, of a face of infinite area, is no match
    return found, overlap


@dataclass(frozen=True, eq=False)
class Corners:
    """Boxes by their sides, in pixels; every array is (N,)."""

    left: NDArray[np.float64]
    top: NDArray[np.float64]
    right: NDArray[np.float64]
    bottom: NDArray[np.float64]
    area: NDArray[np.float64]
    """With both border pixels; meaningless where a side is negative."""

    @classmethod
    def of(cls, boxes: NDArray[np.float64]) -> Corners:
        """Return the corners of boxes (N, 4 or more): left, top, width, height."""
        left, top, width, height = np.ascontiguousarray(boxes[:, :4].T, dtype=np.float64)
        right, bottom = left + width, top + height
        # As the authors write it: width + 1 would differ in the last bit.
        return cls(left, top, right, bottom, (right - left + 1) * (bottom - top + 1))

    def __getitem__(self, rows: slice) -> Corners:
        return Corners(
            self.left[rows], self.top[rows], self.right[rows], self.bottom[rows], self.area[rows]
        )


def intersection_over_union(some: Corners, others: Corners) -> NDArray[np.float64]:
    """Return (G, K): how much each of the G ``others`` overlaps each of the K ``some``."""
    width = np.minimum(others.right[:, None], some.right)
    width -= np.maximum(others.left[:, None], some.left)
    width += 1
    height = np.minimum(others.bottom[:, None], some.bottom)
    height -= np.maximum(others.top[:, None], some.top)
    height += 1
    np.maximum(width, 0, out=width)  # two negative sides would make a positive area
    common = np.multiply(width, height, out=width)
    union = np.add(others.area[:, None], some.area, out=height)
    union -= common
    return np.divide(common, union, out=np.zeros_like(union), where=common > 0)


def _best(overlaps: NDArray[np.float64]) -> Pairs:
    best = overlaps.argmax(axis=0)
    return best, overlaps[best, np.arange(overlaps.shape[1])]
