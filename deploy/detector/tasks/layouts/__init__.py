"""How detectors lay out their boxes: a table of small decoders, one for each layout.

A decoder takes what the network gave and gives :class:`~candidates.Candidates`. One of your own
needs no place here: ``own`` takes a function from a file that you name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..outputs import Given
from . import levels, single
from .candidates import Candidates


@dataclass(frozen=True)
class Layout:
    """One way to lay out boxes."""

    decode: Callable[[Given, str], Candidates]
    """Takes the activation, too."""
    activation: str
    """What makes probabilities of its scores, where the file does not say."""


LAYOUTS = {
    "corners": Layout(single.corners, "none"),
    "nanodet": Layout(single.nanodet, "none"),
    "scrfd": Layout(levels.scrfd, "none"),
    "ssd": Layout(levels.ssd, "softmax"),
    "yolov5": Layout(single.yolov5, "none"),
    "yolov8": Layout(single.yolov8, "none"),
    "yolov8-levels": Layout(levels.maps, "sigmoid"),
    "yolox": Layout(single.yolox, "none"),
    "yunet": Layout(levels.yunet, "none"),
}
