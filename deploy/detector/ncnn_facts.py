"""A network as ncnn has it: ``model.ncnn.param``, ``model.ncnn.bin`` and ``metadata.json``.

The metadata say what the runtime takes and gives, and how that becomes what the network takes and
gives. The runtime knows no axis of pictures. A network may be given *patches* of its picture
(``ncnn_patches``), and leave *maps* to be read (``ncnn_maps``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import DetectError, one_line, reason_of

PARAM, BIN, METADATA = "model.ncnn.param", "model.ncnn.bin", "metadata.json"
FORMAT, WITH_COLUMNS = 1, 2
"""Of metadata; files whose outputs are columns of maps have the second."""
LANES = 4
"""Numbers that the runtime keeps side by side."""
MAGIC = b"7767517"
"""How every param file begins."""


@dataclass(frozen=True)
class Patches:
    """How a picture is cut: squares of ``kernel`` pixels at every ``stride``-th, zeros around."""

    kernel: int
    stride: int
    padding: int


@dataclass(frozen=True)
class Level:
    """What the channels of one map are; further channels are nothing."""

    boxes: tuple[int, ...]
    """Channels of the four offsets."""
    background: tuple[int, ...]
    """Of the scores of which the largest is that of the background."""
    face: int


@dataclass(frozen=True)
class Column:
    """An output (1, cells, numbers): channels of a map, its cells row by row."""

    map: int
    """Which of the runtime's outputs."""
    channels: tuple[int, ...]
    scored: bool
    """True: the output is the sigmoid of them."""


@dataclass(frozen=True)
class NcnnFacts:
    """What ``metadata.json`` says of the two other files."""

    runtime: str
    """Name and version of what the file was proved with."""
    param_sha256: str
    bin_sha256: str
    input_name: str
    shape: tuple[int, ...]
    """Of the network's input (1, C, H, W)."""
    patches: Patches | None
    blobs: tuple[str, ...]
    """The runtime's outputs, in order."""
    names: tuple[str, ...]
    """The network's outputs."""
    shapes: tuple[tuple[int, ...], ...]
    """Of the network's outputs."""
    levels: tuple[Level, ...] | None
    """Of a face detector's maps; else None."""
    columns: tuple[Column, ...] | None
    """What of the maps each output is; with neither, each blob is an output, as it is."""
    half: bool
    """True: half precision where the board computes in it; its accuracy was measured."""
    texts: dict[str, str]
    """What other files carry as their metadata."""


def folder_of(path: Path) -> Path:
    """Return the folder of the three files, given it or the param file."""
    return path if path.is_dir() else path.parent


def is_ncnn(path: Path) -> bool:
    """Tell whether a path is one of the three files, or a folder that holds one."""
    files = (PARAM, BIN, METADATA)
    return path.name in files or path.suffix == ".param" or any((path / n).exists() for n in files)


def read_facts(path: Path) -> NcnnFacts:
    """Read the metadata and compare the other files with it; raise :class:`DetectError`."""
    folder = folder_of(path)
    try:
        content = json.loads((folder / METADATA).read_bytes())
        found = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (PARAM, BIN)]
    except OSError as error:
        name = Path(str(error.filename)).name
        raise DetectError(
            f"has no {name} that can be read ({reason_of(error)}); copy the whole folder, with "
            f"{PARAM}, {BIN} and {METADATA}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DetectError(f"{METADATA} is not JSON ({one_line(error)}); copy it again") from error
    facts = _facts(content)
    for name, now, stated in zip(
        (PARAM, BIN), found, (facts.param_sha256, facts.bin_sha256), strict=True
    ):
        if now != stated:
            raise DetectError(
                f"{name} is not the one that {METADATA} tells of: it was cut short or changed, or "
                f"is of another network; copy the whole folder again"
            )
    return facts


def _facts(content: Any) -> NcnnFacts:
    try:
        if content["format"] not in (FORMAT, WITH_COLUMNS):
            raise DetectError(
                f"{METADATA} has format {content['format']!r}, and {WITH_COLUMNS} is the newest "
                f"known here; use the detect.py that came with the file"
            )
        columns = content["columns"] if content["format"] == WITH_COLUMNS else None
        levels, patches = content["levels"], content["input"]["patches"]
        facts = NcnnFacts(
            str(content["runtime"]),
            str(content["param_sha256"]),
            str(content["bin_sha256"]),
            str(content["input"]["name"]),
            _numbers(content["input"]["shape"]),
            None
            if patches is None
            else Patches(*_numbers([patches[key] for key in ("kernel", "stride", "padding")])),
            tuple(map(str, content["blobs"])),
            tuple(str(output["name"]) for output in content["outputs"]),
            tuple(_numbers(output["shape"]) for output in content["outputs"]),
            None if levels is None else tuple(_level(level) for level in levels),
            None if columns is None else tuple(_column(column) for column in columns),
            bool(content["half"]),
            {str(key): str(text) for key, text in content["texts"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DetectError(
            f"{METADATA} is not as the toolchain writes it ({one_line(error)}); export it again"
        ) from error
    _check(facts)
    return facts


def _check(facts: NcnnFacts) -> None:
    """Raise :class:`DetectError` for what does not go together."""
    count = len(facts.blobs)
    if facts.columns is not None:
        good = len(facts.columns) == len(facts.names) > 0 and facts.levels is None
        good = good and all(each.map < count and each.channels for each in facts.columns)
        good = good and all(len(shape) == 3 for shape in facts.shapes)
    elif facts.levels is None:
        good = count == len(facts.names) > 0
    else:
        good = count == len(facts.levels) > 0 and len(facts.names) == 2
        good = good and all(len(level.boxes) == 4 and level.background for level in facts.levels)
    cut = facts.patches
    if cut is not None:
        good = good and cut.kernel > 0 and cut.stride > 0 and cut.padding < cut.kernel
    if not good or len(facts.shape) != 4 or facts.shape[0] != 1 or 0 in facts.shape:
        raise DetectError(f"{METADATA} contradicts itself; export the file again")


def _numbers(values: Sequence[Any]) -> tuple[int, ...]:
    if not all(type(value) is int and 0 <= value < 2**31 for value in values):
        raise ValueError(f"{values!r} must be whole numbers")
    return tuple(values)


def _level(entry: Any) -> Level:
    (face,) = _numbers([entry["face"]])
    return Level(_numbers(entry["boxes"]), _numbers(entry["background"]), face)


def _column(entry: Any) -> Column:
    (place,) = _numbers([entry["map"]])
    return Column(place, _numbers(entry["channels"]), bool(entry["scored"]))
