"""What every opened file can do, whatever runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from .arrays import Floats, Image
from .decoding import decode
from .errors import DetectError
from .preparing import Placement, letterbox
from .specification import Specification

Faces = tuple[Floats, Floats]
"""Boxes (K, 4) in pixels of the picture and scores (K,), best first."""


class Network:
    """A file that is opened: a picture is prepared, what is prepared is run, what comes is decoded.

    A runtime that is fed or read in a way of its own does these three in its own way.
    """

    runtime: str
    """Name and version of what runs the file."""
    metadata: str | None
    """The ``detector`` entry of the file's metadata."""
    inputs: dict[str, str]
    """Types of the network's inputs, as onnxruntime calls them, by name."""

    def compute(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]
    ) -> list[NDArray[Any]]:
        """Return some outputs by their names, given all inputs by theirs."""
        raise NotImplementedError

    def run(self, specification: Specification, tensor: Floats | Image) -> tuple[Floats, Floats]:
        """Return both outputs, as :attr:`Specification.postprocess` says."""
        first, second = self.compute({specification.input_name: tensor}, specification.outputs)
        return first, second

    def prepare(
        self, image_bgr: Image, specification: Specification, size: tuple[int, int]
    ) -> tuple[Any, Placement]:
        """Return a picture uint8 (H, W, 3) as :meth:`infer` takes it, and where it lies."""
        return letterbox(image_bgr, specification, *size)

    def infer(self, specification: Specification, prepared: Any) -> Any:
        """Return what the runtime gives."""
        return self.run(specification, prepared)

    def outputs(self, given: Any) -> tuple[Floats, Floats]:
        """Return both outputs without the axis of pictures, from what :meth:`infer` gives."""
        first, second = given
        if first.shape[:1] != (1,) or second.shape[:1] != (1,):
            raise DetectError(
                f"outputs must be for one picture (got {first.shape}, {second.shape})"
            )
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
        outputs = self.outputs(given)
        return decode(*outputs, specification, *size, placement, score_threshold)
