"""A network that is ready to find faces."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .arrays import Floats, Image
from .decoding import check_outputs
from .errors import DetectError
from .network import Network
from .preparing import Placement
from .runtimes import open_network, specification_of
from .tasks.faces import Faces

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

    @property
    def found(self) -> Faces:
        """The faces, as every task gives what it finds."""
        return Faces(self.boxes, self.scores)


class Detector:
    """A network ready to run; ``height`` and ``width`` are those of its input in pixels.

    ``threads`` 0 means one per core. ``size`` (height, width) is for files that take any size. One
    run on a blank picture proves the file and warms it up. ``half`` is for ncnn's files: True or
    False overrules what they say of half precision. ``network`` is the file, if it is open.
    """

    noun = "boxes"
    """What it gives, in warnings."""

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int = 0,
        size: tuple[int, int] | None = None,
        half: bool | None = None,
        network: Network | None = None,
    ) -> None:
        try:
            self._network = network or open_network(Path(path), threads, half)
            self.specification = specification_of(self._network)
            fixed = self.specification.height, self.specification.width
            self.height, self.width = input_size(fixed, size)
            blank, _ = self.prepare(np.zeros((1, 1, 3), np.uint8))
            outputs = self._network.outputs(self.infer(blank))
            check_outputs(*outputs, self.specification, *self.size)
        except DetectError as error:
            raise DetectError(f"{path}: {error}") from error

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input."""
        return self.height, self.width

    def run(self, tensor: Floats | Image) -> tuple[Floats, Floats]:
        """Run an input of one picture -> both outputs, without the axis of pictures."""
        return Network.outputs(self._network, self._network.run(self.specification, tensor))

    def prepare(self, image_bgr: Image) -> tuple[Any, Placement]:
        """Return a picture uint8 (H, W, 3) as :meth:`infer` takes it, and where it lies.

        It is good until the next picture is prepared.
        """
        return self._network.prepare(image_bgr, self.specification, self.size)

    def infer(self, prepared: Any) -> Any:
        """Run the network; return what :meth:`faces` reads."""
        return self._network.infer(self.specification, prepared)

    def faces(
        self, given: Any, placement: Placement, score_threshold: float | None = None
    ) -> tuple[Floats, Floats]:
        """Return boxes (K, 4) and scores (K,), as :func:`decode`."""
        network = self._network
        return network.faces(given, self.specification, self.size, placement, score_threshold)

    def measure(self, image_bgr: Image, score_threshold: float | None = None) -> Detection:
        """Find the faces in a picture uint8 (H, W, 3), with the time of each stage."""
        start = time.perf_counter()
        prepared, placement = self.prepare(image_bgr)
        fed = time.perf_counter()
        given = self.infer(prepared)
        ran = time.perf_counter()
        found = self.faces(given, placement, score_threshold)
        done = time.perf_counter()
        return Detection(*found, 1e3 * (fed - start), 1e3 * (ran - fed), 1e3 * (done - ran))

    def detect(
        self, image_bgr: Image, score_threshold: float | None = None
    ) -> tuple[Floats, Floats]:
        """Return boxes (K, 4) and scores (K,) of a picture uint8 (H, W, 3), as :func:`decode`."""
        detection = self.measure(image_bgr, score_threshold)
        return detection.boxes, detection.scores


def input_size(
    fixed: tuple[int | None, int | None], asked: tuple[int, int] | None
) -> tuple[int, int]:
    """Return height and width in pixels: those of the file, else those asked for."""
    height, width = fixed
    if height is None or width is None:
        return asked or DEFAULT_SIZE
    if asked not in (None, fixed):
        raise DetectError(f"is fixed to {height}x{width}; leave out --size")
    return height, width
