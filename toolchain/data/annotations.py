"""WIDER FACE's text files: faces by photo, and lists of files.

An entry of ``wider_face_{train,val}_bbx_gt.txt`` is the photo's file, the number of faces, and a
line for each: left, top, width, height in pixels, then blur, expression, illumination, invalid,
occlusion, pose. An entry of no faces has a line of zeros all the same; it may be absent here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolchain.data.bounded import read_lines
from toolchain.data.names import name_error, quoted, without_suffix
from toolchain.errors import DataError

MAX_BYTES = 100 * 2**20
"""The largest official list has 9 MB."""

MAX_FACES = 100_000
"""Per photo; the most in an official list is 1,968."""

COLUMNS = range(4, 11)
INVALID_COLUMN = 7


@dataclass(frozen=True, eq=False)
class Annotation:
    """The faces of one photo."""

    name: str
    """``EVENT/IMAGE`` without the file's suffix."""
    file: str
    """As listed, with its suffix."""
    boxes: NDArray[np.float64]
    """(G, 4) left, top, width, height in pixels."""
    invalid: NDArray[np.bool_]
    """(G,): the list flags the face as invalid, or it is less than a pixel wide or high."""


def read_annotations(path: Path) -> tuple[Annotation, ...]:
    """Read ``wider_face_{train,val}_bbx_gt.txt``; lines of faces may have 4 to 10 columns.

    Raises :class:`DataError` with file and line where it is not such a list, where a name could
    leave the folder of photos or is listed twice, and where a figure is not finite.
    """
    entries = _Entries(path, read_lines(path, MAX_BYTES))
    names = _Names(path)
    annotations = []
    while entries.left:
        number, file = entries.next("the file of a photo")
        name = names.take(number, file)
        boxes, flagged = _faces(entries)
        invalid = flagged | (boxes[:, 2:] < 1).any(axis=1)
        annotations.append(Annotation(name, file, boxes, invalid))
    if not annotations:
        raise DataError(f"{path} is empty; expected entries of WIDER FACE's bbx_gt.txt")
    return tuple(annotations)


def read_file_list(path: Path) -> tuple[str, ...]:
    """Read ``wider_face_test_filelist.txt``: a photo's file, with its suffix, on each line.

    Raises :class:`DataError` with file and line as :func:`read_annotations` does.
    """
    names = _Names(path)
    files = []
    for number, file in read_lines(path, MAX_BYTES):
        names.take(number, file)
        files.append(file)
    if not files:
        raise DataError(f"{path} is empty; expected a photo's file on each line")
    return tuple(files)


class _Names:
    """The names of a list so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: set[str] = set()

    def take(self, number: int, file: str) -> str:
        """Return the name of a photo's file, with which line ``number`` must begin an entry."""
        name = without_suffix(file)
        error = "expected a photo's file such as EVENT/IMAGE.jpg"
        if name is not None:
            error = name_error(name) or ("it is listed twice" if name in self.seen else "")
        if name is None or error:
            raise DataError(f"{self.path}, line {number}: {quoted(file)}: {error}")
        self.seen.add(name)
        return name


class _Entries:
    """The lines of a list, taken one by one."""

    def __init__(self, path: Path, lines: Sequence[tuple[int, str]]) -> None:
        self.path = path
        self.lines = lines
        self.position = 0

    @property
    def left(self) -> int:
        return len(self.lines) - self.position

    def peek(self) -> str:
        return self.lines[self.position][1] if self.left else ""

    def next(self, expected: str) -> tuple[int, str]:
        if not self.left:
            raise DataError(f"{self.path} ends where {expected} is expected; is it cut off?")
        self.position += 1
        return self.lines[self.position - 1]

    def error(self, number: int, line: str, expected: str) -> DataError:
        return DataError(f"{self.path}, line {number}: expected {expected}, got {quoted(line)}")


def _faces(entries: _Entries) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the boxes (G, 4) of an entry whose photo was taken, and the column ``invalid``."""
    number, line = entries.next("the number of faces")
    if not (line.isascii() and line.isdigit() and len(line) <= 9):
        raise entries.error(number, line, "the number of faces")
    count = int(line)
    if count > MAX_FACES:
        raise entries.error(number, line, f"at most {MAX_FACES} faces")
    if count == 0 and _is_line_of_zeros(entries.peek()):
        entries.next("zeros")
    rows = [_row(entries, number, count) for _ in range(count)]
    boxes = np.array([row[:4] for row in rows], np.float64).reshape(-1, 4)
    flags = np.array([row[INVALID_COLUMN:][:1] == [1.0] for row in rows], bool)
    return boxes, flags


def _is_line_of_zeros(line: str) -> bool:
    fields = line.split()
    return len(fields) in COLUMNS and set(fields) == {"0"}


def _row(entries: _Entries, count_line: int, count: int) -> list[float]:
    expected = f"left top width height of one of {count} faces (the count on line {count_line})"
    number, line = entries.next(expected)
    try:
        if "_" in line:  # Python reads 1_0 as 10
            raise ValueError
        row = [float(field) for field in line.split()]
    except ValueError:
        raise entries.error(number, line, expected) from None
    if len(row) not in COLUMNS or not all(map(math.isfinite, row)):
        raise entries.error(number, line, f"4 to 10 finite numbers, {expected}")
    if row[INVALID_COLUMN:][:1] not in ([], [0.0], [1.0]):
        raise entries.error(number, line, "0 or 1 in column 8, which flags invalid faces")
    return row
