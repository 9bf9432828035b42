"""Fitting a picture into the network's input."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from .arrays import Floats, Image
from .errors import DetectError


class Feeding(Protocol):
    """What a file says of the pictures that it is given."""

    @property
    def layout(self) -> str:
        """``NCHW`` or ``NHWC``."""

    @property
    def dtype(self) -> str:
        """``float32`` or ``uint8``."""

    @property
    def color_order(self) -> str:
        """``RGB``, ``BGR`` or ``GRAY``."""

    @property
    def channels(self) -> int:
        """Of the input: 3, or 1 of ``GRAY``."""

    @property
    def mean(self) -> tuple[float, ...]:
        """Subtracted from pixel * ``scale``, an entry per channel."""

    @property
    def scale(self) -> float:
        """The network is given (pixel * ``scale`` - ``mean``) / ``std``."""

    @property
    def std(self) -> tuple[float, ...]:
        """An entry per channel."""

    @property
    def fit(self) -> str:
        """``letterbox``, ``stretch`` or ``crop``."""

    def __hash__(self) -> int: ...


@dataclass(frozen=True)
class Placement:
    """Where a picture lies in the network's input: input = picture * scale + (left, top)."""

    scale_x: float
    scale_y: float
    left: float
    top: float
    image_width: int
    """Pixels of the original picture."""
    image_height: int


def letterbox(
    image_bgr: Image, specification: Feeding, height: int, width: int
) -> tuple[Floats | Image, Placement]:
    """Fit a picture uint8 (H, W, 3) into the network's input, keeping its proportions.

    (Where the file says another ``fit`` it is stretched, or its middle fills the input.)

    The input is float32 (1, C, height, width), or (1, height, width, C) if its layout is NHWC; of
    uint8 it may be a view of the picture. C is 3, or 1 of ``GRAY``.

    It lies at the top left; what is left over holds the mean colour, zero after the subtraction,
    as if the network's own zero padding began there. (Of uint8 it is the nearest whole colour.)
    """
    if specification.dtype == "uint8":
        reduced, shown, placement = _placed(image_bgr, height, width)
        return _as_pixels(reduced, specification, shown, (height, width)), placement
    if specification.fit == "letterbox":
        resized, placement = fitted(image_bgr, height, width)
    else:
        resized, placement = _filling(image_bgr, specification.fit, height, width)
    return _as_floats(resized, specification, height, width), placement


def _filling(image_bgr: Image, fit: str, height: int, width: int) -> tuple[Image, Placement]:
    """Resize a picture, or the largest part in its middle, so that it fills the input."""
    _check_picture(image_bgr)
    rows, columns = image_bgr.shape[:2]
    top = left = 0
    shown = image_bgr
    if fit == "crop":
        scale = max(height / rows, width / columns)
        kept = min(rows, max(1, round(height / scale))), min(columns, max(1, round(width / scale)))
        top, left = (rows - kept[0]) // 2, (columns - kept[1]) // 2
        shown = image_bgr[top : top + kept[0], left : left + kept[1]]
    scale_y, scale_x = height / shown.shape[0], width / shown.shape[1]
    how = cv2.INTER_AREA if max(scale_x, scale_y) < 1 else cv2.INTER_LINEAR
    resized = np.asarray(cv2.resize(shown, (width, height), interpolation=how), np.uint8)
    return resized, Placement(scale_x, scale_y, -left * scale_x, -top * scale_y, columns, rows)


def fitted(image_bgr: Image, height: int, width: int) -> tuple[Image, Placement]:
    """Resize a picture uint8 (H, W, 3) so that it fits, keeping its proportions."""
    reduced, (rows, columns), placement = _placed(image_bgr, height, width)
    resized = cv2.resize(reduced, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8), placement


def _placed(image_bgr: Image, height: int, width: int) -> tuple[Image, tuple[int, int], Placement]:
    """Return a picture made smaller in whole steps, the rows and columns it takes, and where."""
    _check_picture(image_bgr)
    image_height, image_width = image_bgr.shape[:2]
    reduced, shown_height, shown_width = _reduced(image_bgr, height, width)
    scale = min(width / shown_width, height / shown_height)
    columns = min(width, max(1, round(shown_width * scale)))
    rows = min(height, max(1, round(shown_height * scale)))
    placement = Placement(
        columns / shown_width, rows / shown_height, 0, 0, image_width, image_height
    )
    return reduced, (rows, columns), placement


def _check_picture(image_bgr: Image) -> None:
    """Raise :class:`DetectError` for what is no picture."""
    if image_bgr.ndim != 3 or image_bgr.shape[2] != 3 or image_bgr.dtype != np.uint8:
        raise DetectError(f"a picture must be uint8 (H, W, 3) (got {_kind(image_bgr)})")
    if not image_bgr.size:
        raise DetectError("a picture must have pixels (got none)")


def _as_pixels(
    image: Image, specification: Feeding, shown: tuple[int, int], size: tuple[int, int]
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


def _as_floats(resized: Image, specification: Feeding, height: int, width: int) -> Floats:
    """Put the picture, scaled and its mean subtracted, at the top left of an input that is zero."""
    rows, columns = resized.shape[:2]
    factors, offsets = affine(specification)
    if specification.layout == "NHWC":
        tensor = np.zeros((1, height, width, specification.channels), np.float32)
        colors = ordered(resized, specification)
        _normalise(colors, factors, offsets, tensor[0, :rows, :columns])
    else:
        tensor = np.zeros((1, specification.channels, height, width), np.float32)
        planes = cv2.split(resized)
        if specification.channels == 1:
            planes = (cv2.cvtColor(resized, cv2.COLOR_BGR2GRAY),)
        in_order = planes[::-1] if is_rgb(specification) else planes
        for plane, factor, offset, place in zip(in_order, factors, offsets, tensor[0], strict=True):
            _normalise(plane, factor, offset, place[:rows, :columns])
    return tensor


def ordered(image: Image, specification: Feeding) -> Image:
    """Return a picture uint8 (H, W, 3), blue first, with the network's channels."""
    if specification.channels == 1:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)[..., None]
    if is_rgb(specification):
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
    return image


@functools.lru_cache(maxsize=8)
def affine(specification: Feeding) -> tuple[Floats, Floats]:
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


def is_rgb(specification: Feeding) -> bool:
    """Tell whether the network wants red first; OpenCV's pictures have blue first."""
    return specification.color_order == "RGB"


def _kind(array: NDArray[Any]) -> str:
    return f"{array.dtype} {array.shape}"
