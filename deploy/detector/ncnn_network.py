"""A network that ncnn runs; for faces there is no detour from a picture to it, or back."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .arrays import Floats, Image
from .errors import DetectError
from .loading import thread_count
from .ncnn_decoding import decode_maps
from .ncnn_file import NcnnRunner, computes_in_half
from .ncnn_patches import Frame
from .network import Faces, Network
from .preparing import Placement, affine, fitted, ordered
from .specification import KEY, Specification


class NcnnNetwork(Network):
    """The folder of an ncnn file; ``threads`` 0 means one per core.

    ``half`` None computes in half precision where the file says so and the board can; True where
    the board can, whatever the file says, and raises :class:`DetectError` where it cannot.
    """

    def __init__(self, path: Path, threads: int, half: bool | None = None) -> None:
        if half:
            _demand_half()
        runner = NcnnRunner(path, thread_count(threads), half)
        self.runner, self.runtime, facts = runner, runner.runtime, runner.facts
        self.metadata = facts.texts.get(KEY)
        self.inputs = {facts.input_name: "tensor(float)"}
        _, channels, height, width = facts.shape
        self._frame: Frame | None = None
        if facts.patches is not None:
            self._frame = Frame(height, width, channels, facts.patches)

    def compute(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]
    ) -> list[NDArray[Any]]:
        """Return some outputs by their names, given the only input, float32 (1, C, H, W)."""
        (tensor,) = inputs.values()
        if tensor.shape != self.runner.facts.shape:
            raise DetectError(f"takes {self.runner.facts.shape} (got {tensor.shape})")
        found = self.runner.run(self.runner.fed(np.asarray(tensor, np.float32)))
        return self._named(outputs, found)

    def prepare(
        self, image_bgr: Image, specification: Specification, size: tuple[int, int]
    ) -> tuple[Any, Placement]:
        """Return a picture's patches, which the next picture's overwrite, and where it lies."""
        if self._frame is None:
            tensor, placement = super().prepare(image_bgr, specification, size)
            return self.runner.fed(tensor), placement
        resized, placement = fitted(image_bgr, *size)
        rows, columns = resized.shape[:2]
        pixels = ordered(resized, specification).reshape(rows, -1)
        _fill(self._frame.place(rows, columns), pixels, specification)
        return self._frame.patches(), placement

    def infer(self, specification: Specification, prepared: Any) -> Any:
        """Return the file's maps, or both outputs of a file without."""
        found = self.runner.infer(prepared)
        if self.runner.facts.levels:
            return found
        return self._named(specification.outputs, self.runner.outputs_of(found))

    def outputs(self, given: Any) -> tuple[Floats, Floats]:
        """Return both outputs without the axis of pictures, from what :meth:`infer` gives."""
        if self.runner.facts.levels is None:
            return super().outputs(given)
        first, second = self.runner.outputs_of(given)
        return first[0], second[0]

    def faces(
        self,
        given: Any,
        specification: Specification,
        size: tuple[int, int],
        placement: Placement,
        score_threshold: float | None,
    ) -> Faces:
        """Decode what :meth:`infer` gives, as :func:`decode` does."""
        levels = self.runner.facts.levels
        if levels is None:
            return super().faces(given, specification, size, placement, score_threshold)
        return decode_maps(given, levels, specification, size, placement, score_threshold)

    def _named(self, names: Sequence[str], found: Sequence[Floats]) -> list[Floats]:
        """Return some of the network's outputs by their names, given all of them."""
        named = dict(zip(self.runner.facts.names, found, strict=True))
        absent = [name for name in names if name not in named]
        if absent:
            raise DetectError(f"gives no {absent[0]!r}; it gives {', '.join(named)}")
        return [named[name] for name in names]

    def check(self, specification: Specification) -> None:
        """Raise :class:`DetectError` unless the specification is that of this very file."""
        facts = self.runner.facts
        size = (specification.height, specification.width)
        if (1, specification.channels, *size) != facts.shape or specification.layout != "NCHW":
            raise DetectError(
                f"metadata.json contradicts itself: the network takes {facts.shape}, and the "
                f"detector {specification.channels} channels of {size}; export the file again"
            )
        if facts.levels is not None and specification.postprocess != "none":
            raise DetectError(
                "metadata.json contradicts itself: files with maps leave all decoding to "
                "detect.py; export the file again"
            )


def _demand_half() -> None:
    """Raise :class:`DetectError` unless this processor computes in half precision."""
    if not computes_in_half():
        raise DetectError(
            "cannot be computed in half precision here: this processor has no such instructions "
            "(a Cortex-A76 has, as in a Raspberry Pi 5); leave out --half"
        )


def _fill(place: Floats, pixels: Image, specification: Specification) -> None:
    """Write pixels uint8 (rows, columns * C), scaled, their mean subtracted, into their place."""
    factors, offsets = _rows(specification, place.shape[1])
    if factors is None:  # a sum in place takes half of what a difference would
        place[:] = -offsets
        cv2.accumulate(pixels, place)
    else:
        np.multiply(pixels, factors, out=place, dtype=np.float32)
        np.subtract(place, offsets, out=place)


@functools.lru_cache(maxsize=8)
def _rows(specification: Specification, length: int) -> tuple[Floats | None, Floats]:
    """Return factors and offsets of a row of so many numbers; factors None where all are 1."""
    factors, offsets = affine(specification)
    times = length // len(offsets)
    return None if np.all(factors == 1) else np.tile(factors, times), np.tile(offsets, times)
