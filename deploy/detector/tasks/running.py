"""A network that is ready for its task."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Array, Image
from ..errors import DetectError
from ..network import Network
from ..preparing import Placement, letterbox
from .boxes import read_boxes
from .classes import read_classes
from .found import Found
from .mask import read_mask
from .outputs import Given
from .own import Decoder
from .points import read_points
from .raw import read_raw
from .specification import Input, TaskSpecification

Read = Callable[[Given, float | None], Found]
READERS: dict[str, Read] = {
    "boxes": read_boxes,
    "classes": read_classes,
    "mask": read_mask,
    "points": read_points,
    "raw": read_raw,
}
"""What reads the outputs, by the task."""
NO_PICTURE = Placement(1.0, 1.0, 0, 0, 1, 1)


@dataclass(frozen=True)
class Measured:
    """What was found on one input, and what it took, in milliseconds."""

    found: Found
    preprocessing_ms: float
    inference_ms: float
    postprocessing_ms: float


class TaskRunner:
    """A network ready to run; ``height`` and ``width`` are those of its input in pixels.

    One run on nothing proves that the outputs are what the task reads, and warms it up. ``decoder``
    finds the boxes in place of the file's layout.
    """

    def __init__(
        self,
        network: Network,
        specification: TaskSpecification,
        size: tuple[int, int],
        decoder: Decoder | None = None,
    ) -> None:
        self._network, self.specification = network, specification
        self._decoder = decoder
        self.height, self.width = size
        names = [each.name for each in specification.inputs]
        if sorted(network.inputs) != sorted(names):
            raise DetectError(
                f"must have the inputs {', '.join(names)} (got {', '.join(network.inputs)}); "
                "export the file again with the toolchain"
            )
        if decoder and specification.kind != "boxes":
            raise DetectError(f"--decoder is for boxes, and its task is {specification.kind}")
        self._prove()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input."""
        return self.height, self.width

    @property
    def noun(self) -> str:
        """What it gives, in warnings."""
        return {"mask": "areas", "raw": "outputs"}.get(
            self.specification.kind, self.specification.kind
        )

    @property
    def sees_pictures(self) -> bool:
        """Whether it is given pictures."""
        return self.specification.pictures is not None

    @property
    def takes(self) -> str:
        """Its inputs, for people: ``mask 1x1x64x64 float32``."""
        return ", ".join(
            f"{each.name} {'x'.join(str(side or '?') for side in each.shape)} {each.dtype}"
            for each in self.specification.inputs
        )

    def compute(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return all outputs by name."""
        names = self.specification.outputs
        return dict(zip(names, self._network.compute(inputs, names), strict=True))

    def prepare(self, image_bgr: Image) -> tuple[dict[str, Array], Placement]:
        """Return a picture uint8 (H, W, 3) as :meth:`compute` takes it, and where it lies."""
        pictures = self.specification.pictures
        if pictures is None:
            raise DetectError(f"takes no picture but arrays ({self.takes}): give a .npz of them")
        tensor, placement = letterbox(image_bgr, pictures, *self.size)
        return {pictures.name: tensor}, placement

    def read(
        self, outputs: Mapping[str, Array], placement: Placement, threshold: float | None = None
    ) -> Found:
        """Return what the outputs mean."""
        given = Given(outputs, self.specification, self.size, placement)
        if self._decoder:
            return read_boxes(given, threshold, self._decoder)
        return READERS[self.specification.kind](given, threshold)

    def measure(self, image_bgr: Image, threshold: float | None = None) -> Measured:
        """Look at a picture uint8 (H, W, 3), with the time of each stage."""
        start = time.perf_counter()
        inputs, placement = self.prepare(image_bgr)
        return self._timed(start, inputs, placement, threshold)

    def measure_arrays(
        self, arrays: Mapping[str, Array], threshold: float | None = None
    ) -> Measured:
        """Run arrays, by the names of the inputs, with the time of each stage."""
        start = time.perf_counter()
        return self._timed(start, self.checked(arrays), self.whole_input(), threshold)

    def checked(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Return arrays in the inputs' types; raise :class:`DetectError` for other shapes."""
        wanted = self.specification.inputs
        if len(wanted) == len(arrays) == 1:  # whatever it is called
            arrays = {wanted[0].name: next(iter(arrays.values()))}
        if arrays.keys() != {each.name for each in wanted}:
            raise DetectError(f"takes {self.takes} (got arrays {', '.join(arrays) or 'none'})")
        return {each.name: _fitting(arrays[each.name], each) for each in wanted}

    def blank(self) -> dict[str, Array]:
        """Return inputs of zeros."""
        if self.specification.pictures is not None:
            return self.prepare(np.zeros((1, 1, 3), np.uint8))[0]
        return {
            each.name: np.zeros([side or 1 for side in each.shape], each.dtype)
            for each in self.specification.inputs
        }

    def whole_input(self) -> Placement:
        """Return where arrays lie that are the input themselves."""
        if not self.sees_pictures:
            return NO_PICTURE
        return Placement(1.0, 1.0, 0, 0, self.width, self.height)

    def _timed(
        self,
        start: float,
        inputs: Mapping[str, Array],
        placement: Placement,
        threshold: float | None,
    ) -> Measured:
        fed = time.perf_counter()
        outputs = self.compute(inputs)
        ran = time.perf_counter()
        found = self.read(outputs, placement, threshold)
        done = time.perf_counter()
        return Measured(found, 1e3 * (fed - start), 1e3 * (ran - fed), 1e3 * (done - ran))

    def _prove(self) -> None:
        """Raise :class:`DetectError` unless the task can read what the network gives.

        Nothing is run where arrays may have any size: it may be too small a one.
        """
        if not self.sees_pictures and any(None in e.shape for e in self.specification.inputs):
            return
        outputs = self.compute(self.blank())
        shapes = {name: np.nan_to_num(array) for name, array in outputs.items()}
        self.read(shapes, self.whole_input())


def with_labels(specification: TaskSpecification, labels: tuple[str, ...]) -> TaskSpecification:
    """Return a specification with other labels."""
    return dataclasses.replace(specification, labels=labels)


def _fitting(array: Any, wanted: Input) -> Array:
    if array.ndim == len(wanted.shape) - 1:
        array = array[None]
    sides = zip(array.shape, wanted.shape, strict=False)
    if array.ndim != len(wanted.shape) or any(side not in (None, own) for own, side in sides):
        shape = "x".join(str(side or "?") for side in wanted.shape)
        raise DetectError(
            f"input {wanted.name!r} must be {shape} (got {'x'.join(map(str, array.shape))})"
        )
    found: Array = np.ascontiguousarray(array, wanted.dtype)
    return found
