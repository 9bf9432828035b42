"""A network that is ready to find faces."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .arrays import Floats, Image
from .decoding import check_outputs, decode
from .errors import DetectError
from .preparing import letterbox
from .runtimes import open_network, specification_of
from .specification import Specification

DEFAULT_SIZE = (480, 640)
"""Height and width in pixels of a file that takes any size."""


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
