"""WIDER FACE's evaluation written out loop by loop: slow, and the measure for the fast one.

It follows the steps of the authors' MATLAB script and of its common Python port: levels outside,
then photos, then detections and thresholds, everything anew for each level. As there, only what
is innermost is left to numpy. Nothing of ``toolchain.scoring`` is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = 1000


@dataclass
class LiteralCurve:
    faces: int
    ap: float | None
    precision: list[float]
    recall: list[float]


def curves(
    detections: Sequence[NDArray], boxes: Sequence[NDArray], counted: Mapping[str, Sequence]
) -> dict[str, LiteralCurve]:
    """Return every level's curve; the arguments are those of ``average_precision.score``."""
    sets = stretch([best_first(photo) for photo in detections])
    return {level: level_curve(sets, boxes, masks) for level, masks in counted.items()}


def best_first(photo: NDArray) -> NDArray:
    rows = sorted(range(len(photo)), key=lambda row: -photo[row, 4])
    return photo[rows].astype(float)


def stretch(sets: list[NDArray]) -> list[NDArray]:
    """Change the scores in place to 0...1 over the whole set; all to 1 if they are equal."""
    scores = [value for photo in sets for value in photo[:, 4]]
    if scores:
        low, high = min(scores), max(scores)
        for photo in sets:
            photo[:, 4] = (photo[:, 4] - low) / (high - low) if high > low else 1.0
    return sets


def level_curve(sets: Sequence[NDArray], boxes: Sequence[NDArray], masks: Sequence) -> LiteralCurve:
    faces = 0
    proposals, recalled = [0] * THRESHOLDS, [0] * THRESHOLDS
    for photo, photo_boxes, mask in zip(sets, boxes, masks, strict=True):
        faces += int(np.sum(mask))
        if len(photo) == 0 or len(photo_boxes) == 0:
            continue
        is_proposal, recalled_so_far = walk(photo, photo_boxes, mask)
        for index in range(THRESHOLDS):
            threshold = 1 - (index + 1) / THRESHOLDS
            passed = np.flatnonzero(photo[:, 4] >= threshold)
            if len(passed):
                last = passed[-1]
                proposals[index] += np.count_nonzero(is_proposal[: last + 1])
                recalled[index] += recalled_so_far[last]
    precision = [r / p if p else 0.0 for r, p in zip(recalled, proposals, strict=True)]
    recall = [r / faces if faces else 0.0 for r in recalled]
    ap = area(precision, recall) if faces else None
    return LiteralCurve(faces, ap, precision, recall)


def walk(photo: NDArray, boxes: NDArray, mask: Sequence) -> tuple[NDArray, list[int]]:
    """Return per detection, best first: is it a proposal; faces recalled from the first to it."""
    is_proposal = np.ones(len(photo), dtype=bool)
    state = np.zeros(len(boxes))  # 1 recalled, -1 met but not counted
    recalled_so_far = []
    overlaps = all_overlaps(photo, boxes)
    for row in range(len(photo)):
        best = overlaps[row].argmax()
        if overlaps[row].max() >= 0.5:
            if not mask[best]:
                state[best] = -1
                is_proposal[row] = False
            elif state[best] == 0:
                state[best] = 1
        recalled_so_far.append(np.count_nonzero(state == 1))
    return is_proposal, recalled_so_far


def all_overlaps(photo: NDArray, boxes: NDArray) -> NDArray:
    """Return (K, G); on a few rows it is held against :func:`overlap` in the tests."""
    x1, y1, w1, h1 = (photo[:, column, None] for column in range(4))
    x2, y2, w2, h2 = (boxes[None, :, column] for column in range(4))
    across = np.minimum(x1 + w1, x2 + w2) - np.maximum(x1, x2) + 1
    down = np.minimum(y1 + h1, y2 + h2) - np.maximum(y1, y2) + 1
    common = np.where((across > 0) & (down > 0), across * down, 0.0)
    first = (x1 + w1 - x1 + 1) * (y1 + h1 - y1 + 1)
    second = (x2 + w2 - x2 + 1) * (y2 + h2 - y2 + 1)
    together = first + second - common
    return common / np.where(common > 0, together, 1.0)


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the intersection over union of two boxes: left, top, width, height."""
    right, other_right = one[0] + one[2], other[0] + other[2]
    bottom, other_bottom = one[1] + one[3], other[1] + other[3]
    across = min(right, other_right) - max(one[0], other[0]) + 1
    down = min(bottom, other_bottom) - max(one[1], other[1]) + 1
    if across <= 0 or down <= 0:
        return 0.0
    area_one = (right - one[0] + 1) * (bottom - one[1] + 1)
    area_other = (other_right - other[0] + 1) * (other_bottom - other[1] + 1)
    return across * down / (area_one + area_other - across * down)


def area(precision: list[float], recall: list[float]) -> float:
    """Return the area under the envelope, by PASCAL VOC's way over all points."""
    heights = [0.0, *precision, 0.0]
    places = [0.0, *recall, 1.0]
    for point in range(len(heights) - 1, 0, -1):
        heights[point - 1] = max(heights[point - 1], heights[point])
    return sum(
        (places[point] - places[point - 1]) * heights[point]
        for point in range(1, len(places))
        if places[point] != places[point - 1]
    )
