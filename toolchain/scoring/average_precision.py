"""Average precision as WIDER FACE defines it, for whole sets of photos.

The rules are those of the data set's authors (WIDER FACE eval_tools, ``wider_eval.m``); they
differ from PASCAL VOC's and COCO's in more than names:

- Scores are stretched to 0...1 over the whole set, then cut at 1,000 thresholds.
- A detection takes the face that it overlaps most, whether that face counts at this level or
  not. If the face does not count, the detection is neither right nor wrong. If it counts and a
  detection with a better score has taken it, the detection is wrong.
- Detections on photos without any face are left out, but for the stretching of the scores.

The authors' loops run over levels, photos and thresholds. But which face a detection takes, and
whether it is the first to do so, is the same at all levels and thresholds. So this is found once,
and a level is two histograms over the thresholds, added up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import InputError
from toolchain.records.accuracy import Curve
from toolchain.scoring.matching import match, order

THRESHOLDS: NDArray[np.float64] = 1 - np.arange(1, 1001) / 1000
"""(1000,) falling from 0.999 to 0, rounded as in the authors' loop."""

Rows = NDArray[np.float64]
Mask = NDArray[np.bool_]


def score(
    detections: Sequence[Rows], boxes: Sequence[Rows], counted: Mapping[str, Sequence[Mask]]
) -> tuple[Curve, ...]:
    """Return one curve per level, in the order of ``counted``; no argument is changed.

    Args:
        detections: per photo (K, 5): left, top, width, height in pixels, and a score; in any
            order. K may be 0.
        boxes: per photo (G, 4): all its faces, left, top, width, height in pixels. G may be 0.
        counted: per level and photo (G,): which faces count.

    Raises:
        InputError: a number is NaN or infinite, or the scores' range is.
        ValueError: the arguments do not fit each other.

    No detection at all gives an average precision of 0, no face that counts gives None. Where all
    scores are equal they are taken as 1, and average precision is precision times recall of
    keeping everything.
    """
    found = _checked("detections", detections, columns=5)
    faces = _checked("faces", boxes, columns=4)
    _demand_photos("boxes", len(faces), len(found))
    findings = _find(found, faces)
    return tuple(
        _curve(level, findings, _joined(level, masks, faces)) for level, masks in counted.items()
    )


def average_precision(precision: Rows, recall: Rows) -> float:
    """Return the area under a curve of precision and recall, both (N,) by falling threshold.

    Precision is first raised to the best at the same or a higher recall (PASCAL VOC since 2010).
    A point counts by how far recall grew there, and raises only points before it. So the points
    before the first detection, where precision is 0/0 and recall 0, cannot change the area.
    """
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    area = float(np.sum(np.diff(recall, prepend=0.0) * envelope))
    return min(area, 1.0)  # rounding adds up to 1 + 2e-16 now and then


@dataclass(frozen=True, eq=False)
class _Findings:
    """All detections on photos that have faces; every array is (N,)."""

    entry: NDArray[np.intp]
    """Index of the highest threshold that the score reaches."""
    face: NDArray[np.intp]
    """The face that the detection takes, among those of all photos; or -1."""
    is_first: Mask
    """It takes a face that no detection with a better score takes."""


def _find(detections: list[Rows], faces: list[Rows]) -> _Findings:
    ends = np.cumsum([len(photo) for photo in faces])
    joined, taken = [np.empty((0, 5))], [np.empty(0, dtype=np.intp)]
    for photo, photo_faces, end in zip(detections, faces, ends, strict=True):
        if len(photo) and len(photo_faces):
            face, _ = match(photo, photo_faces)
            joined.append(photo)
            taken.append(np.where(face < 0, -1, face + (end - len(photo_faces))))
    everything, face = np.concatenate(joined), np.concatenate(taken)
    stretched = _stretched(everything[:, 4], *_score_range(detections))
    return _Findings(_entry(stretched), face, _is_first(face, order(everything)))


def _score_range(detections: list[Rows]) -> tuple[float, float]:
    scores = [photo[:, 4] for photo in detections if len(photo)]
    if not scores:
        return 0.0, 0.0
    low = min(float(photo.min()) for photo in scores)
    high = max(float(photo.max()) for photo in scores)
    if not np.isfinite(high - low):
        raise InputError(
            f"scores go from {low:g} to {high:g}: their range must be a finite number; "
            f"give scores between 0 and 1"
        )
    return low, high


def _stretched(scores: Rows, low: float, high: float) -> Rows:
    if low == high:
        return np.ones_like(scores)
    return (scores - low) / (high - low)


def _entry(stretched: Rows) -> NDArray[np.intp]:
    reached = np.searchsorted(THRESHOLDS[::-1], stretched, side="right")
    return len(THRESHOLDS) - reached


def _is_first(face: NDArray[np.intp], best_first: NDArray[np.intp]) -> Mask:
    takers = best_first[face[best_first] >= 0]
    _, firsts = np.unique(face[takers], return_index=True)
    is_first = np.zeros(len(face), dtype=np.bool_)
    is_first[takers[firsts]] = True
    return is_first


def _curve(level: str, findings: _Findings, counts: Mask) -> Curve:
    faces = int(counts.sum())
    is_proposal = np.append(counts, True)[findings.face]  # the last is for -1, no face at all
    proposals = _per_threshold(findings.entry[is_proposal])
    recalled = _per_threshold(findings.entry[is_proposal & findings.is_first])
    precision = recalled / np.maximum(proposals, 1)
    recall = recalled / max(faces, 1)
    ap = average_precision(precision, recall) if faces else None
    return Curve(level, faces, ap, precision, recall)


def _per_threshold(entries: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return (1000,): how many detections reach each threshold."""
    return np.cumsum(np.bincount(entries, minlength=len(THRESHOLDS)))


def _checked(what: str, photos: Sequence[Rows], columns: int) -> list[Rows]:
    checked = []
    for photo, given in enumerate(photos):
        rows = np.asarray(given, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != columns:
            raise ValueError(
                f"{what} of photo {photo} must have the shape (number, {columns}) "
                f"(got {rows.shape})"
            )
        if not np.isfinite(rows).all():
            worst = int(np.argmin(np.isfinite(rows).all(axis=1)))
            raise InputError(
                f"{what} of photo {photo} (the first is 0), row {worst}: must be finite numbers "
                f"(got {rows[worst].tolist()}); correct or remove this row"
            )
        checked.append(rows)
    return checked


def _joined(level: str, masks: Sequence[Mask], faces: list[Rows]) -> Mask:
    _demand_photos(f"counted[{level!r}]", len(masks), len(faces))
    checked = [np.asarray(mask) for mask in masks]
    for photo, (mask, photo_faces) in enumerate(zip(checked, faces, strict=True)):
        if mask.dtype != np.bool_ or mask.shape != (len(photo_faces),):
            raise ValueError(
                f"counted[{level!r}] of photo {photo} must be one boolean for each of "
                f"{len(photo_faces)} faces (got {mask.dtype} {mask.shape})"
            )
    return np.concatenate([np.empty(0, dtype=np.bool_), *checked])


def _demand_photos(what: str, got: int, expected: int) -> None:
    if got != expected:
        raise ValueError(f"{what} must have as many photos as detections, {expected} (got {got})")
