"""Boxes in pictures, and the window that shows them."""

from __future__ import annotations

import os
import sys

import cv2
import numpy as np

from .arrays import Floats, Image
from .errors import DetectError


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
