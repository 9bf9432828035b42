"""What a file of another task than faces says of itself: its ``detector`` entry, from schema 4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..fields import (
    Check,
    checked,
    is_name,
    is_pixels,
    list_of,
    number,
    one_of,
    or_none,
    read_table,
    wrong_field,
)

SCHEMA = 4
"""The newest layout of the metadata; those up to 3 are of faces."""
KINDS = ("boxes", "classes", "points", "mask", "raw")
ACTIVATIONS = ("none", "softmax", "sigmoid")


@dataclass(frozen=True)
class Input:
    """One input of the network."""

    name: str
    shape: tuple[int | None, ...]
    """None: any size."""
    dtype: str


@dataclass(frozen=True)
class Pictures:
    """How a picture becomes the network's only input."""

    name: str
    layout: str
    """``NCHW`` or ``NHWC``."""
    height: int | None
    """Pixels; None, like the width, if the file takes any size."""
    width: int | None
    color_order: str
    mean: tuple[float, ...]
    scale: float
    std: tuple[float, ...]
    fit: str
    """``letterbox``, ``stretch`` or ``crop``."""
    dtype: str = "float32"

    @property
    def channels(self) -> int:
        """How many the network's input has."""
        return 1 if self.color_order == "GRAY" else 3


@dataclass(frozen=True)
class TaskSpecification:
    """How a network wants to be fed, and what its outputs mean."""

    schema: int
    model: str
    trained: bool
    kind: str
    """Of :data:`KINDS`."""
    layout: str
    labels: tuple[str, ...]
    activation: str | None
    """None: the layout's own."""
    read: tuple[str, ...]
    """Outputs that the task reads, in its layout's order."""
    strides: tuple[int, ...]
    anchors: tuple[tuple[tuple[float, float], ...], ...]
    """Width and height in pixels, per level and anchor of a cell."""
    cell_centre: float | None
    top: int
    decoder: str | None
    """``file.py:function`` of the user's own that finds the boxes."""
    variances: tuple[float, float]
    score_threshold: float
    nms_iou: float
    max_detections: int
    support: float | None
    """None: of boxes that overlap the best alone is shown. A number: their mean, and this is how
    much the others add to its score (``merged``)."""
    outputs: tuple[str, ...]
    """All outputs."""
    inputs: tuple[Input, ...]
    pictures: Pictures | None
    """None: the network is given arrays alone."""

    @property
    def lowest_score(self) -> float:
        """The lowest threshold that can be asked for."""
        return 0.0

    def label(self, index: int) -> str:
        """Return a class's name; its number where there are no names."""
        return self.labels[index] if index < len(self.labels) else str(index)

    @classmethod
    def from_json(cls, text: str) -> TaskSpecification:
        """Parse and check the metadata; raise :class:`DetectError` naming the field."""
        table, schema = read_table(text, SCHEMA)
        values = {name: checked(table, *rule) for name, rule in FIELDS.items()}
        values["read"] = values["read"] or values["outputs"]
        entries = checked(table, "inputs", "a list of inputs", list_of(_is_input))
        inputs = tuple(Input(e["name"], tuple(e["shape"]), e["dtype"]) for e in entries)
        pictures = _pictures(table, inputs) if table.get("input") is not None else None
        made = cls(schema=schema, inputs=inputs, pictures=pictures, **values)
        for name in made.read:
            if name not in made.outputs:
                raise wrong_field("task.outputs", f"of {', '.join(made.outputs)}", name)
        return made


def _pictures(table: Any, inputs: tuple[Input, ...]) -> Pictures:
    found = Pictures(**{name: checked(table, *rule) for name, rule in PICTURE_FIELDS.items()})
    if (found.height is None) != (found.width is None):
        raise wrong_field("input.width", "null if the height is", found.width)
    for name, entries in (("mean", found.mean), ("std", found.std)):
        if len(entries) != found.channels:
            raise wrong_field(f"input.{name}", f"{found.channels} numbers", entries)
    if [each.name for each in inputs] != [found.name]:
        raise wrong_field("input.name", "the only input", found.name)
    return found


def _is_input(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and is_name(value.get("name"))
        and isinstance(value.get("shape"), list)
        and all(map(is_pixels, value["shape"]))
        and is_name(value.get("dtype"))
    )


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_name, value))


def _anchors(value: Any) -> bool:
    side = list_of(number(1e-3, 1e6), 2)
    return isinstance(value, list) and all(map(list_of(side), value))


STRIDES = list_of(number(1, 65536, whole=True))
FIELDS: dict[str, tuple[str, str, Check]] = {
    "model": ("model", "a name", is_name),
    "trained": ("trained", "true or false", one_of(True, False)),
    "kind": ("task.kind", f"of {', '.join(KINDS)}", one_of(*KINDS)),
    "layout": ("task.layout", "a name or ''", lambda value: isinstance(value, str)),
    "labels": ("task.labels", "names", _names),
    "activation": ("task.activation", "none, softmax, sigmoid", one_of(None, *ACTIVATIONS)),
    "read": ("task.outputs", "names", _names),
    "strides": ("task.strides", "whole", lambda value: value == [] or STRIDES(value)),
    "anchors": ("task.anchors", "sides in pixels, per level", _anchors),
    "cell_centre": ("task.cell_centre", "from 0 to 1, or null", or_none(number(0, 1))),
    "top": ("task.top", "a count", number(1, 1000, whole=True)),
    "decoder": ("task.decoder", "file.py:function, or null", or_none(is_name)),
    "variances": ("decode.variances", "two above zero", list_of(number(1e-9, 1e6), 2)),
    "score_threshold": ("decode.score_threshold", "from 0 to 1", number(0, 1)),
    "nms_iou": ("decode.nms_iou", "from 0 to 1", number(0, 1)),
    "max_detections": ("decode.max_detections", "a count", number(1, 1e9, whole=True)),
    "support": ("decode.support", "from 0 to 1, or null", or_none(number(0, 1))),
    "outputs": ("outputs", "names", list_of(is_name)),
}
"""Per field of a specification: its path in the metadata, what it must be, and the check."""
PICTURE_FIELDS: dict[str, tuple[str, str, Check]] = {
    "name": ("input.name", "a name", is_name),
    "layout": ("input.layout", "'NCHW' or 'NHWC'", one_of("NCHW", "NHWC")),
    "height": ("input.height", "pixels or null", is_pixels),
    "width": ("input.width", "pixels or null", is_pixels),
    "color_order": ("input.color_order", "'RGB', 'BGR' or 'GRAY'", one_of("RGB", "BGR", "GRAY")),
    "mean": ("input.mean", "numbers", list_of(number(-1e6, 1e6))),
    "scale": ("input.scale", "a number above zero", number(1e-9, 1e9)),
    "std": ("input.std", "numbers above zero", list_of(number(1e-9, 1e9))),
    "fit": ("input.fit", "letterbox, stretch or crop", one_of("letterbox", "stretch", "crop")),
    "dtype": ("input.dtype", "'float32'", one_of("float32")),
}
