"""What a network gave, as tasks read it, and what they do with numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..arrays import Array, Doubles
from ..errors import DetectError
from ..preparing import Placement
from .specification import TaskSpecification


@dataclass(frozen=True)
class Given:
    """What the network gave for one input."""

    outputs: Mapping[str, Array]
    """All of them by name, with the axis of pictures."""
    specification: TaskSpecification
    size: tuple[int, int]
    """Height and width of the input in pixels; (0, 0) of what is no picture."""
    placement: Placement
    """Where the picture lies in the input."""

    @property
    def arrays(self) -> list[Array]:
        """The outputs that the task reads, in its layout's order."""
        return [self.outputs[name] for name in self.specification.read]

    @property
    def shapes(self) -> str:
        """Names and shapes of the outputs that the task reads, for messages."""
        return shapes_of({name: self.outputs[name] for name in self.specification.read})


def shapes_of(outputs: Mapping[str, Array]) -> str:
    """Return names and shapes, for messages: ``boxes (1, 10, 4), scores (1, 10)``."""
    return ", ".join(f"{name} {array.shape}" for name, array in outputs.items())


def demand_numbers(given: Given) -> None:
    """Raise :class:`DetectError` where an output that is read holds NaN."""
    for name, array in zip(given.specification.read, given.arrays, strict=True):
        wrong = int(np.isnan(array).sum()) if array.dtype.kind == "f" else 0
        if wrong:
            raise DetectError(
                f"output {name!r} has {wrong} of {array.size} values that are NaN, and numbers "
                f"were expected: look at the input, and at the weights that it was exported from"
                f"{' (or take --no-half)' if array.dtype == np.float16 else ''}"
            )


def unfit(given: Given, expected: str) -> DetectError:
    """Return the error about outputs that the layout does not fit."""
    which = given.specification
    layout = f" with layout {which.layout!r}" if which.layout else ""
    return DetectError(
        f"task {which.kind!r}{layout} expects {expected} (got {given.shapes}); say another "
        f"task.layout or task.outputs in the recipe, and export the file again"
    )


def demand_labels(given: Given, count: int, what: str) -> None:
    """Raise :class:`DetectError` where there are labels, and not one for each of ``count``."""
    labels = given.specification.labels
    if labels and len(labels) != count:
        raise DetectError(
            f"there are {len(labels)} labels, and the network gives {count} {what} "
            f"({given.shapes}); give {count} labels, by task.labels in the recipe or by --labels"
        )


def activated(values: Array, activation: str | None) -> Doubles:
    """Return probabilities: over the last axis for ``softmax``, each by itself for ``sigmoid``."""
    wide = values.astype(np.float64)
    if activation == "sigmoid":
        return np.exp(-np.logaddexp(0, -wide))  # cannot overflow
    if activation == "softmax":
        powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float64)
    return wide
