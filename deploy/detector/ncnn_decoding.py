"""From a detector's maps, one a level, right to its faces."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from .arrays import Floats
from .decoding import anchors, checked_threshold, corners, logit, suppressed
from .ncnn_facts import Level
from .ncnn_maps import channels_of
from .preparing import Placement
from .specification import Specification

NEAR = 1e-6
"""Share by which single precision rounds at most, amply."""


def decode_maps(
    maps: Sequence[Floats],
    levels: Sequence[Level],
    specification: Specification,
    size: tuple[int, int],
    placement: Placement,
    score_threshold: float | None = None,
) -> tuple[Floats, Floats]:
    """Return the faces of maps: as ``decode`` of what ``joined`` gives, without joining."""
    threshold = logit(checked_threshold(specification, score_threshold))
    flats = [each.reshape(len(each), -1) for each in maps]
    starts = [0, *itertools.accumulate(flat.shape[1] for flat in flats)]
    evidence = _evidence(flats, levels, starts)
    near = threshold - NEAR * abs(threshold)  # for it is rounded; told apart below
    passing = (evidence >= near).nonzero()[0]
    strong = evidence[passing].astype(np.float64)
    passing = passing[(strong >= threshold) & np.isfinite(strong)]
    loc = np.empty((len(passing), 4), np.float32)
    bounds = np.searchsorted(passing, starts).tolist()
    for index, (flat, level) in enumerate(zip(flats, levels, strict=True)):
        first, last = bounds[index], bounds[index + 1]
        if first < last:
            cells = passing[first:last] - starts[index]
            loc[first:last] = channels_of(flat, level.boxes)[:, cells].T
    whole = np.isfinite(loc).all(axis=1)
    passing, loc = passing[whole], loc[whole]
    boxes = corners(loc, anchors(specification, *size)[passing], specification.variances)
    return suppressed(boxes, evidence[passing].astype(np.float64), specification, placement)


def _evidence(flats: Sequence[Floats], levels: Sequence[Level], starts: Sequence[int]) -> Floats:
    """Return log(p / (1 - p)) of every cell (P,), levels in order."""
    evidence = np.empty(starts[-1], np.float32)
    with np.errstate(invalid="ignore"):
        for flat, level, start in zip(flats, levels, starts, strict=False):
            background = flat[level.background[0]]
            for other in level.background[1:]:
                background = np.maximum(background, flat[other])
            place = evidence[start : start + len(background)]
            np.subtract(flat[level.face], background, out=place)
    return evidence
