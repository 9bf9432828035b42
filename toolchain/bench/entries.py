"""What a model file says that it takes: its inputs by name, with shapes and types."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.bench.runs import input_details, onnx_session
from toolchain.errors import InputError

TYPES = {
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "uint8": "uint8",
    "int8": "int8",
    "uint16": "uint16",
    "int16": "int16",
    "int32": "int32",
    "int64": "int64",
    "bool": "bool",
}
"""NumPy's name of each type that is fed, by onnxruntime's."""
CHANNELS = (1, 3, 4)
"""Of pictures."""
SHAPE = re.compile(r"(?:(?P<name>[^=]+)=)?(?P<sides>\d+(?:x\d+)*)")
MOST_VALUES = 2**28


@dataclass(frozen=True)
class Entry:
    """An input of a file."""

    name: str
    shape: tuple[int | None, ...]
    """None: any length."""
    dtype: str
    """NumPy's name."""

    @property
    def words(self) -> str:
        """The input as it is told to people: ``image ?x3x?x? float32``."""
        sides = "x".join("?" if side is None else str(side) for side in self.shape)
        return f"{self.name} {sides or 'a number'} {self.dtype}"


def entries_of(path: Path) -> list[Entry]:
    """Return the inputs of an ONNX or TFLite file, in its order.

    Raises :class:`InputError` for a file that cannot be opened, or an input that is no array.
    """
    if path.suffix == ".onnx":
        return [_entry(path, each) for each in onnx_session(path, 1).get_inputs()]
    return [
        Entry(str(each["name"]), tuple(map(int, each["shape"])), str(each["dtype"].__name__))
        for each in input_details(path)
    ]


def _entry(path: Path, given: object) -> Entry:
    name, kind = str(given.name), str(given.type)  # type: ignore[attr-defined]
    dtype = TYPES.get(kind.removeprefix("tensor(").removesuffix(")"))
    if dtype is None:
        raise InputError(
            f"{path.name}: its input {name!r} is {kind}, which is not fed here (known are arrays "
            f"of {', '.join(TYPES)}); export the network without what comes before that input"
        )
    sides = given.shape  # type: ignore[attr-defined]
    return Entry(name, tuple(side if isinstance(side, int) else None for side in sides), dtype)


def fixed_shapes(
    path: Path, entries: Sequence[Entry], size: tuple[int, int] | None, shapes: Sequence[str]
) -> list[tuple[int, ...]]:
    """Return the shape of each input; ``size`` is that of pictures, ``shapes`` say NAME=1x16.

    A free first axis is a batch of one. Raises :class:`InputError` where a length is not told, or
    does not fit.
    """
    told = _told_shapes(path, entries, shapes)
    if size is not None and not any(_picture_axes(entry) for entry in entries):
        raise InputError(f"{path.name}: takes no picture ({_all(entries)}); leave out --size")
    shapes_now = [told.get(entry.name) or _shape(path, entry, size) for entry in entries]
    found = [tuple(side for side in shape if side is not None) for shape in shapes_now]
    free = [
        f"--input-shape {entry.name}={'x'.join(str(side or 'N') for side in shape)}"
        for entry, shape in zip(entries, shapes_now, strict=True)
        if None in shape
    ]
    if free:
        raise InputError(
            f"{path.name}: takes any length ({_all(entries)}); say which by {' '.join(free)}, or "
            f"give arrays by --inputs FILE.npz"
        )
    if any(math.prod(shape) > MOST_VALUES for shape in found):
        raise InputError(f"{path.name}: its inputs are too large ({found}); choose a smaller size")
    return found


def _all(entries: Sequence[Entry]) -> str:
    return ", ".join(entry.words for entry in entries) or "nothing"


def _told_shapes(
    path: Path, entries: Sequence[Entry], shapes: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for text in shapes:
        read = SHAPE.fullmatch(text)
        name = (read and read["name"]) or (entries[0].name if len(entries) == 1 else "")
        entry = next((each for each in entries if each.name == name), None)
        if read is None or entry is None:
            raise InputError(
                f"--input-shape {text}: must be NAME=1x3x320x320 of an input of {path.name} "
                f"({_all(entries)})"
            )
        found[entry.name] = _fitting(path, entry, tuple(map(int, read["sides"].split("x"))))
    return found


def _fitting(path: Path, entry: Entry, shape: tuple[int, ...]) -> tuple[int, ...]:
    pairs = zip(shape, entry.shape, strict=False)
    if len(shape) != len(entry.shape) or any(own not in (None, side) for side, own in pairs):
        told = "x".join(map(str, shape)) or "a number"
        raise InputError(f"{path.name}: its input is {entry.words}, and {told} does not fit it")
    return shape


def _shape(path: Path, entry: Entry, size: tuple[int, int] | None) -> tuple[int | None, ...]:
    batch = (1, *entry.shape[1:]) if entry.shape[:1] == (None,) else entry.shape
    axes = _picture_axes(entry)
    return batch if axes is None else _sized(path, entry, batch, axes, size)


def _picture_axes(entry: Entry) -> tuple[int, int] | None:
    """Return the axes of height and width; None where nothing says which they are."""
    if len(entry.shape) != 4:
        return None
    return (1, 2) if is_channels_last(entry.shape) else (2, 3)


def is_channels_last(shape: Sequence[int | None]) -> bool:
    """Tell whether the last of four axes is that of a picture's channels, and the second is not."""
    second, last = shape[1], shape[3]
    return last in CHANNELS and second not in CHANNELS


def _sized(
    path: Path,
    entry: Entry,
    shape: tuple[int | None, ...],
    axes: tuple[int, int],
    size: tuple[int, int] | None,
) -> tuple[int | None, ...]:
    own = (shape[axes[0]], shape[axes[1]])
    if size is None:
        if None in own and shape[6 - sum(axes)] is not None:
            raise InputError(
                f"{path.name}: takes pictures of any size ({entry.words}); say which by --size "
                f"HEIGHTxWIDTH, as 320x320"
            )
        return shape
    if any(side not in (None, asked) for side, asked in zip(own, size, strict=True)):
        raise InputError(
            f"{path.name}: is fixed to {own[0] or 'any'}x{own[1] or 'any'} ({entry.words}); leave "
            f"out --size, or give that size"
        )
    return tuple(
        size[axes.index(axis)] if axis in axes else side for axis, side in enumerate(shape)
    )
