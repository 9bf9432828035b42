#!/usr/bin/env python3
"""Find faces in pictures, folders, videos and cameras with a file made by the toolchain.

Needs numpy, OpenCV and one runtime, nothing else: onnxruntime for an ONNX file, ai-edge-litert or
tflite-runtime for a TFLite file. The file says how it wants to be used (size, scale, mean, anchors,
thresholds) in its metadata, so there is nothing to configure. The way of a picture::

    read_image -> letterbox -> network -> decode (threshold, boxes, suppression) -> draw, JSON

Boxes are [left, top, right, bottom] in pixels of the original picture, as floats.
``--serve`` shows a camera in a browser; that part lies in the folder ``live`` beside this file.
"""

from __future__ import annotations

import argparse
import errno
import functools
import importlib
import io
import json
import math
import os
import re
import signal
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

# OpenCV reads these when it is imported: a limit against pictures that would fill the memory, and
# silence, because each error is reported here, in one line.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(100_000_000))
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
try:
    import cv2
    import numpy as np
    from numpy.typing import NDArray
except ImportError as missing:
    if __name__ != "__main__":
        raise
    print(f"detect.py: {missing}; run: pip install -r requirements.txt", file=sys.stderr)
    sys.exit(2)

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

KEY = "detector"
"""Where the metadata lie in a file."""
SCHEMA = 3
"""The newest layout of the metadata that is understood here; 1 is that of files which take floats
and give raw outputs, up to 2 pixels are not scaled."""
LARGEST_LOG = 30.0
"""Of a box's side over its anchor's, either way, so that it stays a number."""
DEFAULT_SIZE = (480, 640)
"""Height and width in pixels of a file that takes any size."""
MAX_FILE_BYTES = 1_000_000_000
"""A larger file is no picture; it is not read, for it may not fit in the memory."""
JPEG_SUFFIXES = (".jpe", ".jpeg", ".jpg")
OTHER_SUFFIXES = (".avif", ".bmp", ".gif", ".jp2", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")


class DetectError(Exception):
    """The root of all errors; its message is one line that says what is wrong and what to do.

    DetectError             a model or an input that cannot be used; the other inputs still are
      OutputError           nothing can be written; the run ends
    """


class OutputError(DetectError):
    """The disk is full, or the folder cannot be written."""


def one_line(error: BaseException) -> str:
    """Return a library's message on one line of at most 200 characters."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def _reason(error: Exception) -> str:
    """Return the system's words for an error, "No such file or directory"."""
    return getattr(error, "strerror", None) or one_line(error)


@dataclass(frozen=True)
class Specification:
    """How a network wants to be fed and read: the ``detector`` entry of its file's metadata."""

    schema: int
    model: str
    trained: bool
    """False for random weights: they find nothing that means anything."""
    input_name: str
    layout: str
    """``NCHW`` or ``NHWC``: the order of the input's axes."""
    height: int | None
    """Pixels; None, like the width, if the file takes any size."""
    width: int | None
    color_order: str
    """``RGB``, ``BGR``, or ``GRAY``, which is one channel."""
    mean: tuple[float, ...]
    """Subtracted from pixel * ``scale``, an entry per channel, in ``color_order``. Of ``uint8`` it
    is the colour of what a picture leaves over."""
    outputs: tuple[str, str]
    """Names of what ``postprocess`` says."""
    anchor_sizes: tuple[float, ...]
    """Anchor width in pixels, per level."""
    anchor_strides: tuple[int, ...]
    """Pixels per cell, per level."""
    aspect_ratio: float
    """Anchor height over width."""
    variances: tuple[float, ...]
    """Scale of the centre offsets and of the log sizes."""
    score_threshold: float
    nms_iou: float
    max_detections: int
    dtype: str = "float32"
    """``uint8``: the file takes pixels (1, H, W, 3), blue first, and subtracts the mean itself."""
    postprocess: str = "none"
    """What the file gives. ``none``: ``loc`` (1, P, 4) and ``logits`` (1, P, 2: background, face).
    ``decode``: ``boxes`` (1, P, 4) and ``probabilities`` (1, P, 2: background, face). ``nms``: the
    faces, best first, as ``boxes`` (1, K, 4) and ``scores`` (1, K). Boxes are left, top, right,
    bottom in pixels of the input."""
    scale: float = 1.0
    """The network is given (pixel * ``scale`` - ``mean``) / ``std``."""
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    """An entry per channel, in ``color_order``."""

    @property
    def channels(self) -> int:
        """How many the network's input has."""
        return 1 if self.color_order == "GRAY" else 3

    @property
    def lowest_score(self) -> float:
        """The lowest threshold that can be asked for: ``nms`` files have applied their own."""
        return self.score_threshold if self.postprocess == "nms" else 0.0

    @classmethod
    def from_json(cls, text: str) -> Specification:
        """Parse and check the metadata; raise :class:`DetectError` naming the field."""
        try:
            table = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DetectError(f"metadata 'detector' is not JSON ({one_line(error)})") from error
        schema = _checked(table, *FIELDS["schema"])
        names = [name for name in FIELDS if ADDED_BY.get(name, 1) <= schema]
        specification = cls(**{name: _checked(table, *FIELDS[name]) for name in names})
        if len(specification.anchor_sizes) != len(specification.anchor_strides):
            raise _wrong_field("anchors.sizes", "one per stride", specification.anchor_sizes)
        if (specification.height is None) != (specification.width is None):
            raise _wrong_field("input.width", "null if the height is", specification.width)
        _check_channels(specification)
        if specification.dtype == "uint8":
            _check_pixels(specification)
        return specification


def _check_channels(specification: Specification) -> None:
    """Raise :class:`DetectError` unless mean and std have an entry per channel."""
    expected = "one number for GRAY" if specification.channels == 1 else "three numbers"
    for name, entries in (("mean", specification.mean), ("std", specification.std)):
        if len(entries) != specification.channels:
            raise _wrong_field(f"input.{name}", expected, entries)


def _check_pixels(specification: Specification) -> None:
    """Raise :class:`DetectError` unless pixels go in as OpenCV has them."""
    if specification.layout != "NHWC":
        raise _wrong_field("input.layout", "'NHWC' for uint8", specification.layout)
    if specification.color_order != "BGR":
        raise _wrong_field("input.color_order", "'BGR' for uint8", specification.color_order)
    if not all(value in range(256) for value in specification.mean):
        raise _wrong_field("input.mean", "whole, 0 to 255, for uint8", specification.mean)


Check = Callable[[Any], bool]


def _number(low: float, high: float, *, whole: bool = False) -> Check:
    """Return a check for one number in range; True and NaN are none."""
    types = (int,) if whole else (int, float)
    return lambda value: type(value) in types and low <= value <= high


def _list_of(item: Check, count: int | None = None) -> Check:
    """Return a check for a list of ``count`` such items (None: at least one)."""
    return lambda value: (
        isinstance(value, list)
        and len(value) == (count or max(1, len(value)))
        and all(map(item, value))
    )


def _one_of(*allowed: Any) -> Check:
    return lambda value: any(type(value) is type(item) and value == item for item in allowed)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_pixels(value: Any) -> bool:
    return value is None or _number(1, 65536, whole=True)(value)


FIELDS: dict[str, tuple[str, str, Check]] = {
    "schema": ("schema", f"1 to {SCHEMA}", _one_of(*range(1, SCHEMA + 1))),
    "model": ("model", "a name", _is_name),
    "trained": ("trained", "true or false", _one_of(True, False)),
    "input_name": ("input.name", "a name", _is_name),
    "layout": ("input.layout", "'NCHW' or 'NHWC'", _one_of("NCHW", "NHWC")),
    "height": ("input.height", "pixels or null", _is_pixels),
    "width": ("input.width", "pixels or null", _is_pixels),
    "color_order": ("input.color_order", "'RGB', 'BGR' or 'GRAY'", _one_of("RGB", "BGR", "GRAY")),
    "mean": ("input.mean", "numbers", _list_of(_number(-1e6, 1e6))),
    "outputs": ("outputs", "two names", _list_of(_is_name, 2)),
    "anchor_sizes": ("anchors.sizes", "pixels above zero", _list_of(_number(1e-3, 1e6))),
    "anchor_strides": ("anchors.strides", "whole", _list_of(_number(1, 65536, whole=True))),
    "aspect_ratio": ("anchors.aspect_ratio", "a number above zero", _number(1e-3, 1e3)),
    "variances": ("decode.variances", "two above zero", _list_of(_number(1e-9, 1e6), 2)),
    "score_threshold": ("decode.score_threshold", "from 0 to 1", _number(0, 1)),
    "nms_iou": ("decode.nms_iou", "from 0 to 1", _number(0, 1)),
    "max_detections": ("decode.max_detections", "a count", _number(1, 1e9, whole=True)),
    "dtype": ("input.dtype", "'float32' or 'uint8'", _one_of("float32", "uint8")),
    "postprocess": (
        "postprocess",
        "'none', 'decode' or 'nms'",
        _one_of("none", "decode", "nms"),
    ),
    "scale": ("input.scale", "a number above zero", _number(1e-9, 1e9)),
    "std": ("input.std", "numbers above zero", _list_of(_number(1e-9, 1e9))),
}
"""Per field of a specification: its path in the metadata, what it must be, and the check."""
ADDED_BY = {"dtype": 2, "postprocess": 2, "scale": 3, "std": 3}
"""The schema from which on a field is there, if not 1."""


def _checked(table: Any, path: str, expected: str, is_right: Check) -> Any:
    """Return the value at ``path`` (``input.mean``), lists as tuples, or raise what is wrong."""
    value = table
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if path == "schema" and _number(SCHEMA + 1, math.inf, whole=True)(value):
        raise DetectError(
            f"metadata has schema {value}, newer than the {SCHEMA} known here; "
            "use the detect.py that came with the file"
        )
    if not is_right(value):
        raise _wrong_field(path, expected, value)
    return tuple(value) if isinstance(value, list) else value


def _wrong_field(path: str, expected: str, value: Any) -> DetectError:
    return DetectError(
        f"metadata {path!r} must be {expected} (got {repr(value)[:60]}); "
        "export the file again with the toolchain"
    )


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


@dataclass(frozen=True)
class Placement:
    """Where a picture lies in the network's input: input = picture * scale + (left, top)."""

    scale_x: float
    scale_y: float
    left: int
    top: int
    image_width: int
    """Pixels of the original picture."""
    image_height: int


def letterbox(
    image_bgr: Image, specification: Specification, height: int, width: int
) -> tuple[Floats | Image, Placement]:
    """Fit a picture uint8 (H, W, 3) into the network's input, keeping its proportions.

    The input is float32 (1, C, height, width), or (1, height, width, C) if its layout is NHWC; of
    uint8 it may be a view of the picture. C is 3, or 1 of ``GRAY``.

    It lies at the top left; what is left over holds the mean colour, zero after the subtraction,
    as if the network's own zero padding began there. (Of uint8 it is the nearest whole colour.)
    """
    if image_bgr.ndim != 3 or image_bgr.shape[2] != 3 or image_bgr.dtype != np.uint8:
        raise DetectError(f"a picture must be uint8 (H, W, 3) (got {_kind(image_bgr)})")
    image_height, image_width = image_bgr.shape[:2]
    if not image_bgr.size:
        raise DetectError("a picture must have pixels (got none)")
    reduced, shown_height, shown_width = _reduced(image_bgr, height, width)
    scale = min(width / shown_width, height / shown_height)
    columns = min(width, max(1, round(shown_width * scale)))
    rows = min(height, max(1, round(shown_height * scale)))
    placement = Placement(
        columns / shown_width, rows / shown_height, 0, 0, image_width, image_height
    )
    if specification.dtype == "uint8":
        return _as_pixels(reduced, specification, (rows, columns), (height, width)), placement
    resized = cv2.resize(reduced, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return _as_floats(np.asarray(resized, np.uint8), specification, height, width), placement


def _as_pixels(
    image: Image, specification: Specification, shown: tuple[int, int], size: tuple[int, int]
) -> Image:
    """Resize a picture to ``shown`` right into an input of ``size``, both rows and columns."""
    if image.shape[:2] == size:
        return np.ascontiguousarray(image)[None]
    (rows, columns), (height, width) = shown, size
    tensor = np.empty((1, height, width, 3), np.uint8)
    mean = _mean_row(specification.mean, width)  # pixel by pixel it would take longer than the rest
    tensor[0, rows:], tensor[0, :rows, columns:] = mean, mean[columns:]
    place = tensor[0, :rows, :columns]
    cv2.resize(image, (columns, rows), dst=place, interpolation=cv2.INTER_LINEAR)
    return tensor


@functools.lru_cache(maxsize=8)
def _mean_row(mean: tuple[float, ...], width: int) -> Image:
    """Return a row of the mean colour: uint8 (width, 3), read-only."""
    row = np.empty((width, 3), np.uint8)
    row[:] = mean
    row.setflags(write=False)
    return row


def _as_floats(resized: Image, specification: Specification, height: int, width: int) -> Floats:
    """Put the picture, scaled and its mean subtracted, at the top left of an input that is zero."""
    rows, columns = resized.shape[:2]
    factors, offsets = affine(specification)
    if specification.layout == "NHWC":
        tensor = np.zeros((1, height, width, specification.channels), np.float32)
        colors = _ordered(resized, specification)
        _normalise(colors, factors, offsets, tensor[0, :rows, :columns])
    else:
        tensor = np.zeros((1, specification.channels, height, width), np.float32)
        planes = cv2.split(resized)
        if specification.channels == 1:
            planes = (cv2.cvtColor(resized, cv2.COLOR_BGR2GRAY),)
        ordered = planes[::-1] if is_rgb(specification) else planes
        for plane, factor, offset, place in zip(ordered, factors, offsets, tensor[0], strict=True):
            _normalise(plane, factor, offset, place[:rows, :columns])
    return tensor


def _ordered(image: Image, specification: Specification) -> Image:
    """Return a picture uint8 (H, W, 3), blue first, with the network's channels."""
    if specification.channels == 1:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)[..., None]
    if is_rgb(specification):
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
    return image


@functools.lru_cache(maxsize=8)
def affine(specification: Specification) -> tuple[Floats, Floats]:
    """Return factors and offsets (C,): the network is given pixel * factor - offset."""
    std = np.asarray(specification.std)
    mean = np.asarray(specification.mean)
    return (specification.scale / std).astype(np.float32), (mean / std).astype(np.float32)


def _normalise(pixels: Any, factor: Any, offset: Any, out: Floats) -> None:
    """Write pixel * factor - offset; where nothing is scaled, in one pass."""
    if np.all(factor == 1):
        np.subtract(pixels, offset, out=out, dtype=np.float32)
    else:
        np.multiply(pixels, factor, out=out, dtype=np.float32)
        np.subtract(out, offset, out=out)


def _reduced(image: Image, height: int, width: int) -> tuple[Image, int, int]:
    """Average blocks of 2, 4, 8 ... pixels of a picture that is that many times too large.

    Interpolation reads four pixels: shrinking to less than a half would skip some, and small faces
    with them. Averages of such blocks are a fiftieth of the work of averages over any other area.
    What is left over at the right and at the bottom, less than a block, is left out; returns also
    the rows and columns of the picture that are in it.
    """
    times = max(image.shape[0] / height, image.shape[1] / width)
    step_y, step_x = (1 << int(math.log2(max(1, min(times, side)))) for side in image.shape[:2])
    rows, columns = image.shape[0] // step_y, image.shape[1] // step_x
    shown = image[: rows * step_y, : columns * step_x]
    reduced = shown
    while step_y > 1 or step_x > 1:
        step_y, step_x = max(1, step_y // 4), max(1, step_x // 4)  # 2 and 4 are the fast ones
        size = columns * step_x, rows * step_y
        reduced = np.asarray(cv2.resize(reduced, size, interpolation=cv2.INTER_AREA))
    return reduced, *shown.shape[:2]


def is_rgb(specification: Specification) -> bool:
    """Tell whether the network wants red first; OpenCV's pictures have blue first."""
    return specification.color_order == "RGB"


def _kind(array: NDArray[Any]) -> str:
    return f"{array.dtype} {array.shape}"


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
        boxes, chances = _chosen(first, second, specification, threshold)
    else:
        if specification.postprocess == "decode":
            every, evidence = _passing(first, second, threshold)
        else:
            every_anchor = anchors(specification, height, width)
            every, evidence = _decoded(first, second, every_anchor, specification, threshold)
        kept = _suppress(every, evidence, specification)
        boxes = every[kept]
        chances = np.exp(-np.logaddexp(0, -evidence[kept]))  # a sigmoid that cannot overflow
    faces = _in_picture(boxes, placement)
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
    offset, log_size = loc.astype(np.float64)[:, :2], loc.astype(np.float64)[:, 2:]
    centre = anchor[:, :2] + offset * variances[0] * anchor[:, 2:]
    half = 0.5 * anchor[:, 2:] * np.exp(np.clip(log_size * variances[1], -LARGEST_LOG, LARGEST_LOG))
    return np.concatenate([centre - half, centre + half], axis=1)


def _suppress(
    boxes: NDArray[np.float64], evidence: NDArray[np.float64], specification: Specification
) -> NDArray[np.intp]:
    """Return the rows to keep, best first: of two that overlap too much, the weaker goes.

    Of equal ones the first is the better. Scores would not do: near 1 they are rounded to ties.
    """
    if not len(boxes):
        return np.empty(0, np.intp)
    order = np.argsort(-evidence, kind="stable")
    corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)[order]
    ranks = np.arange(len(order), 0, -1.0).tolist()
    kept = cv2.dnn.NMSBoxes(corner_and_size.tolist(), ranks, 0.0, specification.nms_iou)
    return order[np.asarray(kept, np.intp).reshape(-1)[: specification.max_detections]]


def _in_picture(boxes: NDArray[np.float64], placement: Placement) -> Floats:
    """Map (K, 4) from the network's input back to the original picture and clip it there."""
    shift = np.array([placement.left, placement.top] * 2)
    scale = np.array([placement.scale_x, placement.scale_y] * 2)
    limit = np.array([placement.image_width, placement.image_height] * 2)
    return np.asarray(np.clip((boxes - shift) / scale, 0, limit), np.float32)


@dataclass(frozen=True)
class Detection:
    """The faces of one picture, and what finding them took, in milliseconds."""

    boxes: Floats
    """(K, 4): left, top, right, bottom in pixels."""
    scores: Floats
    """(K,): face probability, largest first."""
    preprocessing_ms: float
    inference_ms: float
    postprocessing_ms: float


ONNX_TYPES = {"float32": "tensor(float)", "uint8": "tensor(uint8)"}
"""What onnxruntime calls the types that inputs may have."""


def why_not_opened(error: Exception, version: str) -> str:
    """Say why onnxruntime of that version does not open a file: it is too old, or the file bad."""
    words = " ".join(str(error).split())
    layout = re.search(r"IR version: (\d+), max supported IR version: (\d+)", words)
    operators = re.search(r"Opset (\d+) is under development.*till opset (\d+)", words)
    newer = layout or operators
    if newer:
        what = "IR version" if layout else "opset"
        return (
            f"needs a newer onnxruntime: the file has {what} {newer[1]}, and onnxruntime {version} "
            f"reads up to {newer[2]}; run: pip install --upgrade onnxruntime"
        )
    reason = words.rpartition("failed:")[2].strip()[-200:] or type(error).__name__
    return (
        f"is no ONNX file that can be run (onnxruntime {version}: {reason}); copy it again, or "
        f"export it"
    )


class OnnxNetwork:
    """An ONNX file, run by onnxruntime; ``threads`` 0 means one per core."""

    def __init__(self, path: Path, threads: int) -> None:
        runtime = _imported("onnxruntime")
        runtime.set_default_logger_severity(4)  # errors are raised too: once is enough
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session = runtime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no root but Exception
            raise DetectError(why_not_opened(error, runtime.__version__)) from error
        self.runtime = f"onnxruntime {runtime.__version__}"
        self.metadata: str | None = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        self.inputs: dict[str, str] = {i.name: i.type for i in self._session.get_inputs()}

    def run(self, specification: Specification, tensor: Floats | Image) -> tuple[Floats, Floats]:
        """Return both outputs, as :attr:`Specification.postprocess` says."""
        feed = {specification.input_name: tensor}
        try:
            first, second = self._session.run(list(specification.outputs), feed)
        except Exception as error:  # as above
            raise DetectError(f"onnxruntime cannot run it ({one_line(error)})") from error
        return first, second


class TfliteNetwork:
    """A TFLite file, run by ai-edge-litert or tflite-runtime, whichever is there."""

    def __init__(self, path: Path, threads: int) -> None:
        runtime = _imported("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
        try:
            self.metadata = tflite_metadata(path.read_bytes(), KEY)
            count = threads or len(os.sched_getaffinity(0))
            with _silence():  # it tells of each network that it opens
                self._interpreter = runtime.Interpreter(str(path), num_threads=count)
                self._interpreter.allocate_tensors()
        except Exception as error:  # ValueError, RuntimeError, OSError, struct.error
            raise DetectError(
                f"is no TFLite file that can be run ({one_line(error)}); copy it again, or export "
                "it"
            ) from error
        self.runtime = runtime.__name__.partition(".")[0].replace("_", "-")
        details = self._interpreter.get_input_details()
        self._input = {item["name"]: item["index"] for item in details}
        self._output = {i["name"]: i["index"] for i in self._interpreter.get_output_details()}
        self.inputs: dict[str, str] = {
            item["name"]: ONNX_TYPES.get(np.dtype(item["dtype"]).name, str(item["dtype"]))
            for item in details
        }

    def run(self, specification: Specification, tensor: Floats | Image) -> tuple[Floats, Floats]:
        """Return both outputs, as :attr:`Specification.postprocess` says."""
        try:
            self._interpreter.set_tensor(self._input[specification.input_name], tensor)
            self._interpreter.invoke()
            first, second = (
                self._interpreter.get_tensor(self._output[name]) for name in specification.outputs
            )
        except (KeyError, RuntimeError, ValueError) as error:
            raise DetectError(f"{self.runtime} cannot run it ({one_line(error)})") from error
        return first, second


Network = OnnxNetwork | TfliteNetwork


@contextmanager
def _silence() -> Iterator[None]:
    """Send what C++ code writes to standard error nowhere; errors are raised too."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _imported(*names: str) -> Any:
    """Import the first of some modules that is there; raise what to install if none is."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            reason = one_line(error)
    packages = " or ".join(name.partition(".")[0].replace("_", "-") for name in names)
    raise DetectError(f"needs {packages} ({reason}); run: pip install {packages.split()[0]}")


def tflite_metadata(data: bytes, key: str) -> str | None:
    """Return the text of a TFLite file's metadata buffer ``key``, or None if there is none.

    A flatbuffer's table starts with the distance to its list of fields. Of a model's, field 4
    holds the buffers and field 6 the metadata, each of which has a name and a buffer's number.
    Raises struct.error, ValueError or IndexError for what is no such file.
    """

    def number(at: int, kind: str = "<I") -> int:
        if at < 0:
            raise ValueError("a position before the file's start")
        return int(struct.unpack_from(kind, data, at)[0])

    def field(table: int, index: int) -> int:
        fields = table - number(table, "<i")
        slot = 4 + 2 * index
        offset = number(fields + slot, "<H") if slot < number(fields, "<H") else 0
        return table + offset if offset else 0

    def follow(at: int) -> int:
        return at + number(at)

    def content(at: int) -> bytes:
        start = follow(at)
        return data[start + 4 : start + 4 + number(start)]

    def tables(at: int) -> list[int]:
        start = follow(at)
        if number(start) > len(data) // 4:
            raise ValueError("a list that is longer than the file")
        return [follow(start + 4 + 4 * index) for index in range(number(start))]

    model = number(0)
    entries = field(model, 6)
    for entry in tables(entries) if entries else ():
        if content(field(entry, 0)) == key.encode():
            place = field(entry, 1)
            buffer = tables(field(model, 4))[number(place) if place else 0]
            return content(field(buffer, 0)).decode()
    return None


def open_network(path: Path, threads: int) -> Network:
    """Open a model file on the processor; ``threads`` 0 means one per core."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise DetectError(f"cannot be read as a model ({_reason(error)})") from error
    return (TfliteNetwork if start[4:] == b"TFL3" else OnnxNetwork)(path, threads)


def specification_of(network: Network) -> Specification:
    """Read the metadata and compare it with the file's own names."""
    if network.metadata is None:
        raise DetectError(
            "has no 'detector' metadata, so it is no face detector of the toolchain's; only those "
            "are read here"
        )
    specification = Specification.from_json(network.metadata)
    if network.inputs != {specification.input_name: ONNX_TYPES[specification.dtype]}:
        kind = "float" if specification.dtype == "float32" else specification.dtype
        raise DetectError(
            f"must have one {kind} input {specification.input_name!r} (got {network.inputs}); "
            "export the file again with the toolchain"
        )
    return specification


class Detector:
    """A network ready to run; ``height`` and ``width`` are those of its input in pixels.

    ``threads`` 0 means one per core. ``size`` (height, width) is for files that take any size. One
    run on a blank picture proves the file and warms it up.
    """

    def __init__(
        self, path: str | Path, *, threads: int = 0, size: tuple[int, int] | None = None
    ) -> None:
        try:
            self._network = open_network(Path(path), threads)
            self.specification = specification_of(self._network)
            self.height, self.width = _input_size(self.specification, size)
            blank, _ = letterbox(np.zeros((1, 1, 3), np.uint8), self.specification, *self.size)
            check_outputs(*self.run(blank), self.specification, *self.size)
        except DetectError as error:
            raise DetectError(f"{path}: {error}") from error

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input."""
        return self.height, self.width

    def run(self, tensor: Floats | Image) -> tuple[Floats, Floats]:
        """Run an input of one picture -> both outputs, without the axis of pictures."""
        first, second = self._network.run(self.specification, tensor)
        if first.shape[:1] != (1,) or second.shape[:1] != (1,):
            raise DetectError(
                f"outputs must be for one picture (got {first.shape}, {second.shape})"
            )
        return first[0], second[0]

    def measure(self, image_bgr: Image, score_threshold: float | None = None) -> Detection:
        """Find the faces in a picture uint8 (H, W, 3), with the time of each stage."""
        start = time.perf_counter()
        tensor, placement = letterbox(image_bgr, self.specification, *self.size)
        fed = time.perf_counter()
        outputs = self.run(tensor)
        ran = time.perf_counter()
        found = decode(*outputs, self.specification, *self.size, placement, score_threshold)
        done = time.perf_counter()
        return Detection(*found, 1e3 * (fed - start), 1e3 * (ran - fed), 1e3 * (done - ran))

    def detect(
        self, image_bgr: Image, score_threshold: float | None = None
    ) -> tuple[Floats, Floats]:
        """Return boxes (K, 4) and scores (K,) of a picture uint8 (H, W, 3), as :func:`decode`."""
        detection = self.measure(image_bgr, score_threshold)
        return detection.boxes, detection.scores


def _input_size(specification: Specification, size: tuple[int, int] | None) -> tuple[int, int]:
    """Return height and width in pixels: those of the file, else those asked for."""
    if specification.height is None or specification.width is None:
        return size or DEFAULT_SIZE
    fixed = (specification.height, specification.width)
    if size not in (None, fixed):
        raise DetectError(f"is fixed to {fixed[0]}x{fixed[1]}; leave out --size")
    return fixed


def read_image(
    path: str | Path, *, upright: bool = True, on_damage: Callable[[str], None] | None = None
) -> Image:
    """Read a picture as uint8 (H, W, 3), BGR, upright as its EXIF data says.

    16 bits become 8, grey becomes three channels, and alpha is dropped: the colour stored under
    it counts. A JPEG or PNG that was cut off is refused, though a decoder would fill it up.
    ``upright=False`` leaves the pixels as they are stored, for boxes that were drawn on them so.

    A JPEG that is damaged in the middle is decoded all the same, with what comes after the damage
    in wrong places. It is refused, or given with ``on_damage`` told what the decoder found. A JPEG
    has no checksum: damage that decodes without a contradiction is not found.
    """
    try:
        if Path(path).stat().st_size > MAX_FILE_BYTES:
            raise DetectError(f"{path}: is too large a file for a picture; is it a video?")
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise DetectError(f"{path}: cannot be read ({_reason(error)})") from error
    if not data or _is_cut_off(data):
        raise DetectError(f"{path}: is {'cut off' if data else 'empty'}; copy the file again")
    try:
        turned = 0 if upright else cv2.IMREAD_IGNORE_ORIENTATION
        image, damage = _decoded_picture(data, cv2.IMREAD_COLOR | turned)
    except cv2.error as error:
        limit = f"more than {os.environ.get('OPENCV_IO_MAX_IMAGE_PIXELS')} pixels; shrink it, "
        limit += "or set OPENCV_IO_MAX_IMAGE_PIXELS higher"
        reason = limit if "MAX_IMAGE" in str(error) else one_line(error)
        raise DetectError(f"{path}: cannot be read as a picture ({reason})") from error
    if image is None:
        raise DetectError(f"{path}: is no picture that OpenCV reads; give JPEG, PNG or .mp4")
    if damage and on_damage is None:
        raise DetectError(f"{path}: is a damaged JPEG ({damage}); copy the file again")
    if damage and on_damage is not None:
        on_damage(damage)
    return np.asarray(image, np.uint8)


LIBJPEG = re.compile(rb"^(?:Corrupt JPEG data|Premature end of JPEG).*$", re.MULTILINE)
PADDING = 16
"""Bytes that cameras put before a JPEG's end; more are left over where blocks were lost."""
_listening = threading.Lock()


def _decoded_picture(data: bytes, how: int) -> tuple[cv2.typing.MatLike | None, str]:
    """Decode a picture; return also what libjpeg says of damage, which OpenCV does not hand on.

    libjpeg tells it on standard error alone; all else that is written there meanwhile goes there.
    """
    pixels = np.frombuffer(data, np.uint8)
    if not data.startswith(b"\xff\xd8"):
        return cv2.imdecode(pixels, how), ""
    with _listening, tempfile.TemporaryFile() as heard:
        try:
            kept = os.dup(2)
        except OSError:  # standard error is closed
            return cv2.imdecode(pixels, how), ""
        os.dup2(heard.fileno(), 2)
        try:
            image = cv2.imdecode(pixels, how)
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        heard.seek(0)
        said = heard.read()
    others = LIBJPEG.sub(b"", said).strip()
    if others:
        os.write(2, others + b"\n")
    found = [line.decode("ascii", "replace") for line in LIBJPEG.findall(said)]
    return image, next(filter(_is_damage, found), "")


def _is_damage(words: str) -> bool:
    """Tell damage from bytes too many between a JPEG's parts, which some cameras write."""
    extra = re.search(r"(\d+) extraneous bytes before marker (0x\w+)", words)
    return not extra or (extra[2] == "0xd9" and int(extra[1]) > PADDING)


def _is_cut_off(data: bytes) -> bool:
    """Tell whether a JPEG or PNG lacks its end marker, looking behind a JPEG's thumbnail."""
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data
    if not data.startswith(b"\xff\xd8"):
        return False
    position = 2
    marker = data[position : position + 2]
    while marker[:1] == b"\xff" and marker != b"\xff\xda":
        length = 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        position += 1 if marker == b"\xff\xff" else length
        marker = data[position : position + 2]
    return b"\xff\xd9" not in data[position:]


def draw(image_bgr: Image, boxes: Floats, scores: Floats) -> Image:
    """Return a copy of a picture uint8 (H, W, 3) with boxes (K, 4) and scores (K,) drawn in."""
    drawn = np.ascontiguousarray(image_bgr).copy()
    line = max(1, round(max(drawn.shape) / 500))
    for (left, top, right, bottom), score in zip(boxes.tolist(), scores.tolist(), strict=True):
        corner = (round(left), round(top))
        cv2.rectangle(drawn, corner, (round(right), round(bottom)), (0, 255, 0), line)
        above = (corner[0], max(10 * line, corner[1] - 2 * line))
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(drawn, f"{score:.2f}", above, font, 0.4 * line, (0, 255, 0), line, cv2.LINE_AA)
    return drawn


@dataclass(frozen=True)
class Source:
    """One thing to look at: a picture, a video, or a camera."""

    name: str
    """The path, or the camera's number, as it is shown."""
    camera: int | None = None

    @property
    def is_stream(self) -> bool:
        """Whether it has frames."""
        return self.camera is not None or Path(self.name).suffix.lower() in VIDEO_SUFFIXES


@dataclass(frozen=True)
class Frame:
    """A picture of a source; ``number`` counts a stream's frames from 0, None for a picture."""

    image: Image
    number: int | None = None
    per_second: float = 25.0
    damage: str = ""
    """What is wrong with a JPEG's data, if it was decoded all the same."""


def find_sources(text: str) -> list[Source]:
    """Return what an argument stands for: a camera, a file, or the pictures of a folder, sorted."""
    path, camera = Path(text), re.fullmatch(r"(?:/dev/video)?(\d{1,4})", text)
    try:
        if camera and not path.is_file() and not path.is_dir():
            return [Source(text, int(camera[1]))]
        if not path.is_dir():
            if path.stat() and not path.is_file():
                raise DetectError(f"{text}: is no file, folder or camera")
            return [Source(text)]
        files = [file for file in sorted(path.iterdir()) if not file.name.startswith(".")]
    except (OSError, ValueError) as error:
        raise DetectError(f"{text}: cannot be read ({_reason(error)})") from error
    known = JPEG_SUFFIXES + OTHER_SUFFIXES
    found = [Source(str(file)) for file in files if file.suffix.lower() in known]
    if not found:
        raise DetectError(f"{text}: holds no pictures ({' '.join(known)})")
    return found


def frames(source: Source, limit: int | None = None) -> Iterator[Frame]:
    """Yield a source's picture, or its frames, at most ``limit`` of them."""
    if not source.is_stream:
        damage: list[str] = []
        picture = read_image(source.name, on_damage=damage.append)
        yield Frame(picture, damage="".join(damage))
        return
    capture = cv2.VideoCapture(source.name if source.camera is None else source.camera)
    try:
        if not capture.isOpened():
            raise DetectError(f"{source.name}: {_why_closed(source)}")
        rate = capture.get(cv2.CAP_PROP_FPS)
        number = 0
        while limit is None or number < limit:
            there, image = capture.read()
            if not there:
                break
            yield Frame(np.asarray(image, np.uint8), number, rate if 1 <= rate <= 240 else 25.0)
            number += 1
        if number == 0 or (source.camera is not None and number != limit):
            raise DetectError(f"{source.name}: gave {number} frames and then no more")
    finally:
        capture.release()


def _why_closed(source: Source) -> str:
    """Say what may be wrong with a stream that does not open."""
    if source.camera is not None:
        return "no such camera, or it is in use; see ls /dev/video*"
    try:
        Path(source.name).open("rb").close()
    except OSError as error:
        return f"cannot be read ({_reason(error)})"
    return "is no video that OpenCV reads; give an MP4 or AVI"


Writer = Callable[[Image, float], None]
"""Takes a picture with boxes drawn in, and the frames per second of its stream."""


@contextmanager
def written_beside(target: Path) -> Iterator[Path]:
    """Give a hidden name in the target's folder, renamed at the end: all of it is there, or none.

    Whatever goes wrong, the hidden file is removed and an older target stays as it was.
    """
    part = target.with_name(f".part-{os.getpid()}-{target.name}")
    try:
        yield part
        part.replace(target)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({_reason(error)})") from error
    finally:
        part.unlink(missing_ok=True)


def write_picture(target: Path, image: Image) -> None:
    """Write a picture in the format that the target's suffix says."""
    _, data = cv2.imencode(target.suffix, image)
    with written_beside(target) as part:
        part.write_bytes(data.tobytes())


class VideoFile:
    """An MP4 (MPEG-4 part 2, the one encoder that OpenCV's wheels bring for all boards)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._writer: cv2.VideoWriter | None = None

    def write(self, image: Image, per_second: float) -> None:
        """Add a frame; an odd height or width grows by a pixel, for the encoder takes only even."""
        rows, columns = image.shape[:2]
        odd = (0, rows % 2, 0, columns % 2)
        even = cv2.copyMakeBorder(image, *odd, borderType=cv2.BORDER_REPLICATE)
        if self._writer is None:
            codec, size = cv2.VideoWriter.fourcc(*"mp4v"), even.shape[1::-1]
            self._writer = cv2.VideoWriter(str(self.path), codec, per_second, size)
            if not self._writer.isOpened():
                raise OSError(errno.EIO, f"no video encoder takes {size[0]}x{size[1]} pixels")
        self._writer.write(even)
        self.count += 1

    def close(self) -> None:
        """Write what is pending and let go of the file."""
        if self._writer is not None:
            self._writer.release()

    def check(self) -> None:
        """Read the file's own count of frames: OpenCV does not tell when a disk is full."""
        capture = cv2.VideoCapture(str(self.path))
        found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        capture.release()
        if found != self.count:
            raise OSError(errno.EIO, f"{found} of {self.count} frames arrived; is the disk full?")


@contextmanager
def video_output(target: Path, *, keep_when_stopped: bool) -> Iterator[Writer]:
    """Give the writer of a video. One that is stopped half-way goes, unless it is to be kept."""
    stopped: BaseException | None = None
    with written_beside(target) as part:
        video = VideoFile(part)
        try:
            yield video.write
        except (KeyboardInterrupt, DetectError) as stop:
            if not keep_when_stopped or not video.count:
                raise
            stopped = stop
        finally:
            video.close()
        video.check()
    if stopped is not None:
        raise stopped


def open_output(source: Source, target: Path | None) -> AbstractContextManager[Writer]:
    """Return what writes the source's pictures to ``target``, or throws them away (None)."""
    if target is None:
        return nullcontext(lambda _image, _per_second: None)
    if source.is_stream:
        return video_output(target, keep_when_stopped=source.camera is not None)
    return nullcontext(lambda image, _per_second: write_picture(target, image))


class OutputFolder:
    """Where pictures with boxes go; gives every source a file name of its own."""

    def __init__(self, folder: Path, sources: list[Source]) -> None:
        self.folder = folder
        self._taken: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for source in sources:
                if source.camera is None and Path(source.name).resolve().parent == folder.resolve():
                    raise OutputError(f"{folder}: holds input {source.name}; give another --out")
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written ({_reason(error)})") from error

    def target(self, source: Source) -> Path:
        """Return ``name.jpg`` (.png, .mp4), or ``name-2.jpg`` if this run has used that."""
        stem = f"camera-{source.camera}" if source.camera is not None else Path(source.name).stem
        is_jpeg = Path(source.name).suffix.lower() in JPEG_SUFFIXES
        suffix = ".mp4" if source.is_stream else ".jpg" if is_jpeg else ".png"
        name, count = stem + suffix, 1
        while name.lower() in self._taken:
            count += 1
            name = f"{stem}-{count}{suffix}"
        self._taken.add(name.lower())
        return self.folder / name


def require_window() -> None:
    """Raise :class:`DetectError` if this OpenCV, or this machine, has no windows."""
    if not cv2.currentUIFramework():
        raise DetectError(
            "--show: this OpenCV has no windows; run: pip uninstall opencv-python-headless, "
            "then: pip install opencv-python"
        )
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
        raise DetectError("--show: there is no display here; leave it out and use --out")


def show(image: Image, *, wait: bool) -> bool:
    """Show a picture, until a key is pressed if ``wait``; False if the key was q or Escape."""
    cv2.imshow("detect.py (q ends)", image)
    return cv2.waitKey(0 if wait else 1) & 0xFF not in (ord("q"), 27)


def emit(line: str) -> None:
    """Print a line to standard output at once, so that a pipe sees every picture as it is done."""
    try:
        print(line, flush=True)
    except OSError as error:
        # What is still in the buffer would fail again, with a traceback, when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise OutputError(f"standard output: cannot be written ({_reason(error)})") from error


def record(source: Source, frame: Frame, found: Detection) -> dict[str, Any]:
    """Return what is said about a picture: the JSON line (boxes in pixels, ``ms`` of inference)."""
    number = {} if frame.number is None else {"frame": frame.number}
    faces = [
        {"box": [round(edge, 2) for edge in box], "score": round(score, 4)}
        for box, score in zip(found.boxes.tolist(), found.scores.tolist(), strict=True)
    ]
    height, width = frame.image.shape[:2]
    size = {"width": width, "height": height}
    ms = round(found.inference_ms, 3)
    damaged = {"damaged": frame.damage} if frame.damage else {}
    return {"image": source.name, **number, **size, "faces": faces, "ms": ms, **damaged}


def sentence(facts: dict[str, Any], target: Path | None) -> str:
    """Return a record as a line for people."""
    frame = f" frame {facts['frame']}" if "frame" in facts else ""
    faces = facts["faces"]
    best = f" (best {faces[0]['score']:.2f})" if faces else ""
    count = f"{len(faces)} face{'' if len(faces) == 1 else 's'}{best}"
    size = f"{facts['width']}x{facts['height']}"
    written = f" -> {target}" if target else ""
    return f"{facts['image']}{frame}: {count}, {size}, {facts['ms']:.1f} ms{written}"


def process(
    detector: Detector, source: Source, options: argparse.Namespace, target: Path | None
) -> bool:
    """Find, write, show and report the faces of a source; False if the user wants no more."""
    with open_output(source, target) as write:
        for frame in frames(source, options.limit):
            if frame.damage:
                warn(
                    f"{source.name}: is a damaged JPEG ({frame.damage}): boxes may be far off; "
                    "copy the file again"
                )
            found = detector.measure(frame.image, options.threshold)
            drawn = frame.image
            if target or options.show:
                drawn = draw(drawn, found.boxes, found.scores)
            write(drawn, frame.per_second)
            facts = record(source, frame, found)
            emit(json.dumps(facts) if options.json else sentence(facts, target))
            if options.show and not show(drawn, wait=not source.is_stream):
                return False
    return True


def benchmark(detector: Detector, image: Image, runs: int) -> dict[str, dict[str, float]]:
    """Time ``runs`` detections after five to warm up; per stage the quantiles in ms."""
    found = [detector.measure(image) for _ in range(5 + runs)][5:]
    stages = {
        "preprocessing": [each.preprocessing_ms for each in found],
        "inference": [each.inference_ms for each in found],
        "postprocessing": [each.postprocessing_ms for each in found],
    }
    stages["total"] = [sum(times) for times in zip(*stages.values(), strict=True)]
    quantiles = {"median": 50, "p10": 10, "p90": 90, "p99": 99}
    return {
        stage: {name: float(np.percentile(times, q)) for name, q in quantiles.items()}
        for stage, times in stages.items()
    }


def run_benchmark(detector: Detector, source: Source, options: argparse.Namespace) -> None:
    """Print how long the first picture of ``source`` takes, without reading it from the disk."""
    runs, threads = options.benchmark, options.threads
    stages = benchmark(detector, next(frames(source, 1)).image, runs)
    if options.json:
        size = {"height": detector.height, "width": detector.width}
        facts = {"image": source.name, "runs": runs, "threads": threads, **size, "ms": stages}
        emit(json.dumps(facts))
        return
    size_text = f"{detector.height}x{detector.width}, {threads or 'all'} threads"
    emit(f"{options.model} at {size_text}, {runs} runs on {source.name}, in ms")
    emit(f"{'':16}" + "".join(f"{name:>10}" for name in stages["total"]))
    for stage, values in stages.items():
        emit(f"{stage:16}" + "".join(f"{value:10.2f}" for value in values.values()))


def report_failure(name: str, error: DetectError, options: argparse.Namespace) -> None:
    """Say that an input failed: as a JSON line, or on standard error."""
    if options.json:
        emit(json.dumps({"image": name, "error": str(error)}))
    else:
        print(f"detect.py: {error}", file=sys.stderr)


def all_sources(options: argparse.Namespace) -> tuple[list[Source], int]:
    """Return the sources of all inputs, and how many inputs are none; those are reported."""
    sources, failed = [], 0
    for text in options.inputs:
        try:
            sources += find_sources(text)
        except DetectError as error:
            report_failure(text, error, options)
            failed += 1
    return sources, failed


def warn(words: str) -> None:
    """Print a warning on standard error."""
    print(f"detect.py: warning: {words}", file=sys.stderr)


def warn_of_random_weights(detector: Detector) -> None:
    """Say on standard error that boxes mean nothing, if so."""
    if not detector.specification.trained:
        warn("the weights are random (untrained): boxes mean nothing; export a trained checkpoint")


def run(options: argparse.Namespace) -> int:
    """Do what the command line asks; return 0, or 2 if an input failed."""
    if options.show:
        require_window()
    if options.threads:
        cv2.setNumThreads(options.threads)
    live = live_part() if options.serve else None
    detector = Detector(options.model, threads=options.threads, size=options.size)
    warn_of_random_weights(detector)
    checked_threshold(detector.specification, options.threshold)
    if live:
        return int(live.serve(detector, options))
    sources, failed = all_sources(options)
    if options.benchmark:
        if sources:
            run_benchmark(detector, sources[0], options)
        return 2 if failed else 0
    folder = OutputFolder(options.out, sources) if options.out else None
    for source in sources:
        try:
            if not process(detector, source, options, folder.target(source) if folder else None):
                break
        except OutputError:
            raise
        except DetectError as error:
            report_failure(source.name, error, options)
            failed += 1
    return 2 if failed else 0


def live_part() -> ModuleType:
    """Import the folder ``live`` beside this file; raise what is missing if it is not there.

    Its files import this one as ``deploy.detect``, whatever it runs as: there is one of it only.
    """
    folder = Path(__file__).resolve().parent
    if not (folder / "live").is_dir():  # else one that is installed would be taken
        raise DetectError(f"--serve needs the folder live beside detect.py; copy it to {folder}")
    if "deploy" not in sys.modules:
        package = ModuleType("deploy")
        package.__path__ = [str(folder)]
        sys.modules["deploy"] = package
    sys.modules.setdefault("deploy.detect", sys.modules[__name__])
    try:
        return importlib.import_module("deploy.live")
    except ImportError as error:
        raise DetectError(
            f"the folder live beside detect.py is not whole ({one_line(error)}); copy it to "
            f"{folder} again"
        ) from error


def _size(text: str) -> tuple[int, int]:
    """Parse ``480x640`` as height and width in pixels, as argparse wants it."""
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text)
    if not match or not all(16 <= int(side) <= 8192 for side in match.groups()):
        raise argparse.ArgumentTypeError(f"must be HEIGHTxWIDTH, 16 to 8192 each (got {text!r})")
    return int(match[1]), int(match[2])


def _probability(text: str) -> float:
    """Parse a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1 (got {text!r})")
    return value


def _count(text: str) -> int:
    """Parse a whole number above zero."""
    if not re.fullmatch(r"\d{1,9}", text) or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number above zero (got {text!r})")
    return int(text)


def _port(text: str) -> int:
    """Parse a port; 0 takes one that is free."""
    if not re.fullmatch(r"\d{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a port, 0 to 65535 (got {text!r})")
    return int(text)


EXAMPLES = """examples:
  detect.py eresfd.onnx photo.jpg                    a line per picture
  detect.py eresfd.onnx photos --out found           a folder; pictures with boxes in found/
  detect.py eresfd.onnx clip.mp4 --out found         a video; writes found/clip.mp4
  detect.py eresfd.onnx 0 --json | head -n 100       the first camera; a JSON line per frame
  detect.py eresfd.onnx photo.jpg --benchmark 200    how long it takes on this board
  detect.py eresfd.onnx --serve --camera 0           a page with the camera's picture

exit code: 0 all done, or a page stopped; 2 a wrong option or an input that failed;
130 stopped by Ctrl-C
"""


def parser() -> argparse.ArgumentParser:
    """Return the command line's options."""
    made = argparse.ArgumentParser(
        prog="detect.py",
        description="Find faces with an ONNX or TFLite file made by the toolchain.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("model", metavar="MODEL", help="the .onnx or .tflite file")
    add("inputs", metavar="INPUT", nargs="*", help="picture, folder, video, or number of a camera")
    add("--out", metavar="FOLDER", type=Path, help="write pictures with boxes here; videos as .mp4")
    add("--show", action="store_true", help="open a window; q ends")
    add("--json", action="store_true", help="print a JSON line per picture or frame")
    add("--threshold", metavar="P", type=_probability, help="lowest face probability shown")
    add("--threads", metavar="N", type=_count, default=0, help="processor threads (default: all)")
    add(
        "--size",
        metavar="HxW",
        type=_size,
        help="input height x width, for a file of any size (default 480x640)",
    )
    add("--limit", metavar="N", type=_count, help="at most N frames of each video or camera")
    add(
        "--benchmark",
        metavar="N",
        type=_count,
        nargs="?",
        const=50,
        help="time N runs (default 50) on the first picture; give it after the inputs",
    )
    add_live_options(made.add_argument_group("a page with a camera's picture", LIVE_TEXT))
    return made


LIVE_TEXT = (
    "needs the folder live beside detect.py; takes --out (snapshots), --json, --threshold too"
)
LIVE_DEFAULTS: dict[str, Any] = {
    "camera": "0",
    "host": "127.0.0.1",
    "port": 8080,
    "token": None,
    "loop": False,
    "rotate": 0,
    "mirror": False,
    "on_face": None,
}
"""The options that mean something only with --serve."""


def add_live_options(group: argparse._ArgumentGroup) -> None:
    """Add the options of the page; one that is not given is None until they are checked."""
    add = functools.partial(group.add_argument, default=None)
    group.add_argument("--serve", action="store_true", help="serve the page until Ctrl-C")
    add("--camera", metavar="WHAT", help="number, video, folder, rtsp://... (default: 0)")
    add("--host", metavar="ADDRESS", help="where to listen (default: this machine alone)")
    add("--port", metavar="N", type=_port, help="(default: 8080)")
    add("--token", metavar="FILE", type=Path, help="holds what viewers must know; made if missing")
    add("--loop", action="store_true", help="begin a video or folder again at its end")
    add("--rotate", type=int, choices=(0, 90, 180, 270), help="turn the picture clockwise")
    add("--mirror", action="store_true", help="turn the picture left for right")
    add("--on-face", metavar="COMMAND", help="run when a face comes; no shell; JSON on its input")


def checked_options(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line; refuse options that do not go together."""
    made = parser()
    options = made.parse_intermixed_args(arguments)  # inputs may stand after options
    given = [name for name in LIVE_DEFAULTS if getattr(options, name) is not None]
    if options.serve:
        if options.inputs:
            made.error(f"--serve looks at a camera; give --camera {options.inputs[0]}")
        if options.show or options.benchmark:
            made.error("--serve goes with neither --show nor --benchmark")
    elif given:
        made.error(f"--{given[0].replace('_', '-')} needs --serve")
    elif not options.inputs:
        made.error("the following arguments are required: INPUT (or --serve)")
    for name in LIVE_DEFAULTS.keys() - set(given):
        setattr(options, name, LIVE_DEFAULTS[name])
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code. Every error is one line, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # file names need not be valid text
            stream.reconfigure(errors="backslashreplace")
    try:
        return run(checked_options(arguments))
    except DetectError as error:
        print(f"detect.py: {error}", file=sys.stderr)
        return 2
    except (MemoryError, cv2.error) as error:
        reason = f"{one_line(error)}; use a smaller --size, or a smaller picture"
        print(f"detect.py: {reason}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("detect.py: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has seen enough: end as SIGPIPE would
        return 141


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up when a service stops
    sys.exit(main())
