"""Protocols: how often, and at which scales, a photo goes through a detector.

``single``
    One pass at the photo's own size (or with its longer side shrunk to ``max_side``), threshold,
    suppression; what a board would do.

``paper``
    What the test scripts of EXTD, EResFD and the pruning paper do with every photo, after S3FD's:

    1. ``m = sqrt(1700 * 1200 / pixels)`` is the largest scale; ``s = min(m, 1)``.
    2. One pass at scale ``s``, and one on the mirrored photo at ``s``, mirrored back.
    3. One pass at half size (at ``m / 2`` where ``m < 0.75``): only boxes whose longer side has
       more than 30 pixels are kept.
    4. Enlarged: at ``min(2, m)`` where ``m > 1``; where ``m > 2`` also at 4, 8... below ``m``, and
       at ``m`` itself. Only boxes whose shorter side has fewer than 100 pixels are kept. Where
       ``m <= 1``, one pass halfway between step 3 and ``m`` instead, longer sides over 30 pixels.
    5. All boxes together are voted on: the best box takes those that overlap it by at least 0.3
       (with the one-pixel convention, width = right - left + 1); their mean, weighted by score,
       with the best score, is a face. **A box that none other supports is dropped**, as there.
    6. The 750 best; width and height are written one pixel larger, as there.

    Within each pass the published scripts take the 5,000 best boxes with a score over 0.05,
    suppress at an overlap of 0.3, and keep the 750 best. Two small things
    differ: boxes are clipped to the photo, and the scale back is that of the resized photo's whole
    pixels.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from toolchain.deploy import detect
from toolchain.detection.finders import Finder
from toolchain.records.accuracy import Protocol, ProtocolName

PASS_THRESHOLDS: dict[ProtocolName, float] = {"single": 0.02, "paper": 0.05}

PROTOCOLS: dict[ProtocolName, Protocol] = {
    name: Protocol(name, score_threshold, max_candidates=5000, nms_iou=0.3, max_detections=750)
    for name, score_threshold in PASS_THRESHOLDS.items()
}

LARGEST_PIXELS = 1700 * 1200
"""Of an enlarged photo in the ``paper`` protocol."""
VOTE_IOU = 0.3


def detections(finder: Finder, image: detect.Image, protocol: Protocol) -> NDArray[np.float64]:
    """Return (K, 5): left, top, width, height in pixels of the photo, and score; best first."""
    if protocol.name == "single":
        longest = max(image.shape[:2])
        scale = min(1.0, (protocol.max_side or longest) / longest)
        return _as_detections(_rows(finder, image, scale), extra_px=0.0)
    voted = vote(np.concatenate(_paper_passes(finder, image)))
    return _as_detections(voted[: protocol.max_detections], extra_px=1.0)


def _as_detections(rows: NDArray[np.float64], extra_px: float) -> NDArray[np.float64]:
    """Turn (K, 5) left, top, right, bottom, score into left, top, width, height, score."""
    sizes = rows[:, 2:4] - rows[:, :2] + extra_px
    return np.concatenate([rows[:, :2], sizes, rows[:, 4:]], axis=1)


def _rows(finder: Finder, image: detect.Image, scale: float) -> NDArray[np.float64]:
    """One pass: (K, 5) left, top, right, bottom, score."""
    boxes, scores = finder(image, scale)
    return np.concatenate([boxes, scores[:, None]], axis=1)


def _paper_passes(finder: Finder, image: detect.Image) -> list[NDArray[np.float64]]:
    largest = math.sqrt(LARGEST_PIXELS / (image.shape[0] * image.shape[1]))
    scale = min(largest, 1.0)
    half = 0.5 if largest >= 0.75 else 0.5 * largest
    passes = [_rows(finder, image, scale), _mirrored(finder, image, scale)]
    passes.append(_long(_rows(finder, image, half)))
    if largest <= 1:
        passes.append(_long(_rows(finder, image, (half + largest) / 2)))
    else:
        passes += [_short(_rows(finder, image, up)) for up in enlarging_scales(largest)]
    return passes


def enlarging_scales(largest: float) -> list[float]:
    """Return the scales above 1 at which the ``paper`` protocol looks, up to ``largest``."""
    scales = [min(2.0, largest)]
    if largest > 2:
        step = 4.0
        while step < largest:
            scales.append(step)
            step *= 2
        scales.append(largest)
    return scales


def _mirrored(finder: Finder, image: detect.Image, scale: float) -> NDArray[np.float64]:
    rows = _rows(finder, np.asarray(cv2.flip(image, 1), np.uint8), scale)
    width = image.shape[1]
    left, right = width - rows[:, 2], width - rows[:, 0]
    return np.column_stack([left, rows[:, 1], right, rows[:, 3:]])


def _sides(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return width and height (N, 2), by the one-pixel convention."""
    return rows[:, 2:4] - rows[:, :2] + 1


def _long(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    kept: NDArray[np.bool_] = _sides(rows).max(axis=1) > 30
    return rows[kept]


def _short(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    kept: NDArray[np.bool_] = _sides(rows).min(axis=1) < 100
    return rows[kept]


def vote(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Merge (N, 5) left, top, right, bottom, score of several passes, as step 5 says."""
    rows = rows[np.argsort(rows[:, 4], kind="stable")[::-1]]
    area = _sides(rows).prod(axis=1)
    merged = []
    while len(rows):
        low, high = np.maximum(rows[0, :2], rows[:, :2]), np.minimum(rows[0, 2:4], rows[:, 2:4])
        shared = np.maximum(0.0, high - low + 1).prod(axis=1)
        together = shared / (area[0] + area - shared) >= VOTE_IOU
        together[0] = True
        group = rows[together]
        if len(group) > 1:
            weights = group[:, 4:]
            mean = (group[:, :4] * weights).sum(axis=0) / weights.sum()
            merged.append([*mean, group[0, 4]])
        rows, area = rows[~together], area[~together]
    return np.array(merged, np.float64).reshape(-1, 5)
