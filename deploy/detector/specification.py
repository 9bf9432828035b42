"""How a network wants to be fed and read, as its file's metadata say."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import (
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

KEY = "detector"
"""Where the metadata lie in a file."""
SCHEMA = 3
"""The newest layout of a face detector's metadata; 1 is that of files which take floats and give
raw outputs, up to 2 pixels are not scaled. Other tasks have later ones: see ``tasks``."""


@dataclass(frozen=True)
class Specification:
    """How a network wants to be fed and read: the ``detector`` entry of its file's metadata."""

    schema: int
    model: str
    trained: bool
    """False for random weights: they find nothing that means anything."""
    input_name: str
    layout: str
    """``NCHW`` or ``NHWC``: the order of the input's axes."""
    height: int | None
    """Pixels; None, like the width, if the file takes any size."""
    width: int | None
    color_order: str
    """``RGB``, ``BGR``, or ``GRAY``, which is one channel."""
    mean: tuple[float, ...]
    """Subtracted from pixel * ``scale``, an entry per channel, in ``color_order``. Of ``uint8`` it
    is the colour of what a picture leaves over."""
    outputs: tuple[str, str]
    """Names of what ``postprocess`` says."""
    anchor_sizes: tuple[float, ...]
    """Anchor width in pixels, per level."""
    anchor_strides: tuple[int, ...]
    """Pixels per cell, per level."""
    aspect_ratio: float
    """Anchor height over width."""
    variances: tuple[float, ...]
    """Scale of the centre offsets and of the log sizes."""
    score_threshold: float
    nms_iou: float
    max_detections: int
    dtype: str = "float32"
    """``uint8``: the file takes pixels (1, H, W, 3), blue first, and subtracts the mean itself."""
    postprocess: str = "none"
    """What the file gives. ``none``: ``loc`` (1, P, 4) and ``logits`` (1, P, 2: background, face).
    ``decode``: ``boxes`` (1, P, 4) and ``probabilities`` (1, P, 2: background, face). ``nms``: the
    faces, best first, as ``boxes`` (1, K, 4) and ``scores`` (1, K). Boxes are left, top, right,
    bottom in pixels of the input."""
    scale: float = 1.0
    """The network is given (pixel * ``scale`` - ``mean``) / ``std``."""
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    """An entry per channel, in ``color_order``."""
    support: float | None = None
    """None: of boxes that overlap the best alone is shown. A number: their mean, and this is how
    much the others add to its score (``merged``)."""
    fit: str = "letterbox"
    """How a picture of other proportions becomes the input; of faces it is this."""

    @property
    def channels(self) -> int:
        """How many the network's input has."""
        return 1 if self.color_order == "GRAY" else 3

    @property
    def lowest_score(self) -> float:
        """The lowest threshold that can be asked for: ``nms`` files have applied their own."""
        return self.score_threshold if self.postprocess == "nms" else 0.0

    @classmethod
    def from_json(cls, text: str) -> Specification:
        """Parse and check the metadata; raise :class:`DetectError` naming the field."""
        table, schema = read_table(text, SCHEMA)
        names = [name for name in FIELDS if ADDED_BY.get(name, 1) <= schema]
        specification = cls(**{name: checked(table, *FIELDS[name]) for name in names})
        if len(specification.anchor_sizes) != len(specification.anchor_strides):
            raise wrong_field("anchors.sizes", "one per stride", specification.anchor_sizes)
        if (specification.height is None) != (specification.width is None):
            raise wrong_field("input.width", "null if the height is", specification.width)
        _check_channels(specification)
        if specification.dtype == "uint8":
            _check_pixels(specification)
        return specification


def _check_channels(specification: Specification) -> None:
    """Raise :class:`DetectError` unless mean and std have an entry per channel."""
    expected = "one number for GRAY" if specification.channels == 1 else "three numbers"
    for name, entries in (("mean", specification.mean), ("std", specification.std)):
        if len(entries) != specification.channels:
            raise wrong_field(f"input.{name}", expected, entries)


def _check_pixels(specification: Specification) -> None:
    """Raise :class:`DetectError` unless pixels go in as OpenCV has them."""
    if specification.layout != "NHWC":
        raise wrong_field("input.layout", "'NHWC' for uint8", specification.layout)
    if specification.color_order != "BGR":
        raise wrong_field("input.color_order", "'BGR' for uint8", specification.color_order)
    if not all(value in range(256) for value in specification.mean):
        raise wrong_field("input.mean", "whole, 0 to 255, for uint8", specification.mean)


FIELDS: dict[str, tuple[str, str, Check]] = {
    "schema": ("schema", f"1 to {SCHEMA}", number(1, SCHEMA, whole=True)),
    "model": ("model", "a name", is_name),
    "trained": ("trained", "true or false", one_of(True, False)),
    "input_name": ("input.name", "a name", is_name),
    "layout": ("input.layout", "'NCHW' or 'NHWC'", one_of("NCHW", "NHWC")),
    "height": ("input.height", "pixels or null", is_pixels),
    "width": ("input.width", "pixels or null", is_pixels),
    "color_order": ("input.color_order", "'RGB', 'BGR' or 'GRAY'", one_of("RGB", "BGR", "GRAY")),
    "mean": ("input.mean", "numbers", list_of(number(-1e6, 1e6))),
    "outputs": ("outputs", "two names", list_of(is_name, 2)),
    "anchor_sizes": ("anchors.sizes", "pixels above zero", list_of(number(1e-3, 1e6))),
    "anchor_strides": ("anchors.strides", "whole", list_of(number(1, 65536, whole=True))),
    "aspect_ratio": ("anchors.aspect_ratio", "a number above zero", number(1e-3, 1e3)),
    "variances": ("decode.variances", "two above zero", list_of(number(1e-9, 1e6), 2)),
    "score_threshold": ("decode.score_threshold", "from 0 to 1", number(0, 1)),
    "nms_iou": ("decode.nms_iou", "from 0 to 1", number(0, 1)),
    "max_detections": ("decode.max_detections", "a count", number(1, 1e9, whole=True)),
    "support": ("decode.support", "from 0 to 1, or null", or_none(number(0, 1))),
    "dtype": ("input.dtype", "'float32' or 'uint8'", one_of("float32", "uint8")),
    "postprocess": (
        "postprocess",
        "'none', 'decode' or 'nms'",
        one_of("none", "decode", "nms"),
    ),
    "scale": ("input.scale", "a number above zero", number(1e-9, 1e9)),
    "std": ("input.std", "numbers above zero", list_of(number(1e-9, 1e9))),
}
"""Per field of a specification: its path in the metadata, what it must be, and the check."""
ADDED_BY = {"dtype": 2, "postprocess": 2, "scale": 3, "std": 3}
"""The schema from which on a field is there, if not 1."""
