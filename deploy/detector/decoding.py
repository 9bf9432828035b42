"""From the network's outputs to faces: thresholds, boxes, suppression."""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from .arrays import Floats
from .errors import DetectError
from .merging import merged, probability
from .preparing import Placement
from .specification import Specification

LARGEST_LOG = 30.0
"""Of a box's side over its anchor's, either way, so that it stays a number."""


@functools.lru_cache(maxsize=8)
def anchors(specification: Specification, height: int, width: int) -> Floats:
    """Return the anchors for an input of ``height`` x ``width``: float32 (P, 4), read-only.

    Columns are centre_x, centre_y, width, height in pixels; one anchor per cell, levels in order,
    ceil(height / stride) rows of ceil(width / stride) cells each, row by row.
    """
    levels = []
    for size, stride in zip(specification.anchor_sizes, specification.anchor_strides, strict=True):
        rows, columns = math.ceil(height / stride), math.ceil(width / stride)
        level = np.empty((rows, columns, 4), np.float32)
        level[..., 0] = (np.arange(columns) + 0.5) * stride
        level[..., 1] = (np.arange(rows)[:, None] + 0.5) * stride
        level[..., 2:] = size, size * specification.aspect_ratio
        levels.append(level.reshape(-1, 4))
    every = np.concatenate(levels)
    every.setflags(write=False)
    return every


def decode(
    first: Floats,
    second: Floats,
    specification: Specification,
    height: int,
    width: int,
    placement: Placement,
    score_threshold: float | None = None,
) -> tuple[Floats, Floats]:
    """Turn raw outputs into faces: boxes float32 (K, 4) and scores float32 (K,), best first.

    ``first`` and ``second`` are what :attr:`Specification.postprocess` says, without the axis of
    pictures, for an input of ``height`` x ``width``. Boxes are left, top, right, bottom in pixels
    of the original picture, clipped to it; a box that lies outside, or a value that is not finite,
    is no face.
    """
    check_outputs(first, second, specification, height, width)
    threshold = checked_threshold(specification, score_threshold)
    if specification.postprocess == "nms":
        return _shown(*_chosen(first, second, specification, threshold), placement)
    if specification.postprocess == "decode":
        every, evidence = _passing(first, second, threshold)
    else:
        every_anchor = anchors(specification, height, width)
        every, evidence = _decoded(first, second, every_anchor, specification, threshold)
    return suppressed(every, evidence, specification, placement)


def suppressed(
    every: NDArray[np.float64],
    evidence: NDArray[np.float64],
    specification: Specification,
    placement: Placement,
) -> tuple[Floats, Floats]:
    """Return the faces that are left of boxes (K, 4) with their evidence (K,), as :func:`decode`.

    The boxes are in pixels of the input, those returned in pixels of the picture.
    """
    overlap, support = specification.nms_iou, specification.support
    kept = kept_rows(every, evidence, overlap)[: specification.max_detections]
    boxes, strength = every[kept], evidence[kept]
    if support is not None:
        _, boxes, strength = merged(every, evidence, kept, every, nms_iou=overlap, support=support)
    return _shown(boxes, probability(strength), placement)


def _shown(
    boxes: NDArray[np.float64], chances: NDArray[np.float64], placement: Placement
) -> tuple[Floats, Floats]:
    """Return what of the boxes lies in the picture, in its pixels."""
    faces = in_picture(boxes, placement)
    scores = np.asarray(chances, np.float32)
    inside = (faces[:, 2] > faces[:, 0]) & (faces[:, 3] > faces[:, 1]) & (scores > 0)
    return faces[inside], scores[inside]


def check_outputs(
    first: Floats, second: Floats, specification: Specification, height: int, width: int
) -> None:
    """Raise :class:`DetectError` unless the outputs have the shapes that they must have."""
    if specification.postprocess == "nms":
        if first.ndim != 2 or first.shape[1] != 4 or second.shape != first.shape[:1]:
            raise DetectError(
                f"outputs {specification.outputs} must be (K, 4) and (K,) (got {first.shape} and "
                f"{second.shape}); export the file again with the toolchain"
            )
        return
    count = len(anchors(specification, height, width))
    for name, array, columns in zip(specification.outputs, (first, second), (4, 2), strict=True):
        if array.shape != (count, columns):
            raise DetectError(
                f"output {name!r} must be ({count}, {columns}), a row per anchor (got "
                f"{array.shape}); the anchors do not belong to this network, export it again"
            )


def checked_threshold(specification: Specification, asked: float | None) -> float:
    """Return the threshold, the file's own if None; raise if the file has applied a higher one."""
    if asked is not None and asked < specification.lowest_score:
        raise DetectError(
            f"--threshold {asked:g}: the file itself leaves out what is below "
            f"{specification.lowest_score:g}; ask for no less, or export it with "
            f"--postprocess decode"
        )
    return specification.score_threshold if asked is None else asked


def evidence_of(second: Floats, specification: Specification) -> NDArray[np.float64]:
    """Return log(p / (1 - p)) of each row (K, 2) of ``logits`` or ``probabilities``."""
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = second if specification.postprocess == "none" else np.log(np.float64(second))
        return np.asarray(pairs[:, 1] - pairs[:, 0], np.float64)


def _decoded(
    loc: Floats,
    logits: Floats,
    every_anchor: Floats,
    specification: Specification,
    threshold: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return boxes (K, 4) and evidence (K,) of what passes, decoding nothing else."""
    evidence = evidence_of(logits, specification)
    passing = np.flatnonzero((evidence >= logit(threshold)) & np.isfinite(evidence))
    passing = passing[np.isfinite(loc[passing]).all(axis=1)]
    boxes = corners(loc[passing], every_anchor[passing], specification.variances)
    return boxes, evidence[passing]


def _passing(
    boxes: Floats, probabilities: Floats, threshold: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return boxes (K, 4) and evidence (K,) of what passes."""
    passing = np.flatnonzero(probabilities[:, 1] >= np.float32(threshold))
    passing = passing[np.isfinite(boxes[passing]).all(axis=1)]
    smallest = np.finfo(np.float32).tiny  # of a probability that was rounded to zero
    background, face = np.log(np.maximum(probabilities[passing], smallest, dtype=np.float64)).T
    return boxes[passing].astype(np.float64), face - background


def _chosen(
    boxes: Floats, scores: Floats, specification: Specification, threshold: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the boxes (K, 4) and scores (K,) that pass a threshold above the file's own."""
    kept = np.isfinite(boxes).all(axis=1)
    if threshold > specification.score_threshold:
        kept &= scores >= threshold
    return boxes[kept].astype(np.float64), scores[kept].astype(np.float64)


def logit(probability: float) -> float:
    """Return log(p / (1 - p)): what the logit difference is compared with, without any exp."""
    if not 0 < probability < 1:
        return math.copysign(math.inf, probability - 0.5)
    return math.log(probability) - math.log1p(-probability)


def corners(loc: Floats, anchor: Floats, variances: tuple[float, ...]) -> NDArray[np.float64]:
    """Decode SSD's encoding: (K, 4) -> left, top, right, bottom in pixels of the input."""
    wide, side = loc.astype(np.float64), anchor[:, 2:]
    centre = anchor[:, :2] + wide[:, :2] * variances[0] * side
    log_size = np.minimum(np.maximum(wide[:, 2:] * variances[1], -LARGEST_LOG), LARGEST_LOG)
    half = 0.5 * side * np.exp(log_size)
    return np.concatenate([centre - half, centre + half], axis=1)


def kept_rows(
    boxes: NDArray[np.float64], evidence: NDArray[np.float64], nms_iou: float
) -> NDArray[np.intp]:
    """Return the rows to keep, best first: of two that overlap too much, the weaker goes.

    Of equal ones the first is the better. Scores would not do: near 1 they are rounded to ties.
    """
    if not len(boxes):
        return np.empty(0, np.intp)
    order = np.argsort(-evidence, kind="stable")
    corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)[order]
    ranks = np.arange(len(order), 0, -1.0).tolist()
    kept = cv2.dnn.NMSBoxes(corner_and_size.tolist(), ranks, 0.0, nms_iou)
    return order[np.asarray(kept, np.intp).reshape(-1)]


def in_picture(boxes: NDArray[np.float64], placement: Placement) -> Floats:
    """Map (K, 4) from the network's input back to the original picture and clip it there."""
    shift = np.array([placement.left, placement.top] * 2)
    scale = np.array([placement.scale_x, placement.scale_y] * 2)
    limit = np.array([placement.image_width, placement.image_height] * 2)
    inside = np.minimum(np.maximum((boxes - shift) / scale, 0), limit)
    return np.asarray(inside, np.float32)
