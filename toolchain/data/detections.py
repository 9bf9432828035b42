"""Detections in the official text format, a file for each photo.

``FOLDER/EVENT/IMAGE.txt`` holds the photo's name (the official reader skips it), the number of
boxes, and a line for each: left, top, width, height in pixels of the photo, and the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolchain.data.bounded import is_there, read_bounded
from toolchain.data.names import check_name, quoted
from toolchain.errors import DataError
from toolchain.system.files import write_bytes

MAX_BYTES = 20 * 2**20
MAX_BOXES = 100_000
"""Per photo; the usual protocols keep 750."""


def write_detections(folder: Path, name: str, detections: NDArray[np.float64]) -> Path:
    """Write the boxes (K, 5) of the photo ``EVENT/IMAGE``, best score first; return the file.

    Boxes are rounded to 2 decimals and scores to 6, as ``float(f"{x:.2f}")`` rounds; reading gives
    these floats back, bit for bit. Of equal scores the first stays first. A file appears whole or
    not at all. Raises :class:`DataError` for a name that is none, for another shape and for figures
    that are not finite, and ``OSError`` where it cannot be written.
    """
    path = _path(folder, name)
    found = np.asarray(detections, np.float64)
    if found.ndim != 2 or found.shape[1] != 5 or len(found) > MAX_BOXES:
        raise DataError(f"{name}: detections must be (K, 5), K <= {MAX_BOXES}; got {found.shape}")
    if not np.isfinite(found).all():
        raise DataError(f"{name}: a box or score is NaN or infinite; the detector is broken")
    found = found[np.argsort(-found[:, 4], kind="stable")]
    lines = "%.2f %.2f %.2f %.2f %.6f\n" * len(found) % tuple(found.ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, f"{name}.jpg\n{len(found)}\n{lines}".encode())
    return path


def read_detections(path: Path) -> NDArray[np.float64]:
    """Return the boxes (K, 5) of one file, in its order: left, top, width, height, score.

    Blank lines, tabs, carriage returns, integers and exponents are read. Raises
    :class:`DataError` with file and line where there is no such file, where the count is not that
    of the lines or more than ``MAX_BOXES``, and where a figure is none or not finite.
    """
    data = read_bounded(path, MAX_BYTES)
    lines = data.split(b"\n")
    rows = [fields for fields in map(bytes.split, lines) if fields]
    count = _count(path, lines, rows)
    body = rows[2:]
    if len(body) != count or any(len(row) != 5 for row in body):
        raise _misfit(path, lines, count)
    try:
        figures = np.array([float(field) for row in body for field in row], np.float64)
    except ValueError:
        raise _misfit(path, lines, count) from None
    underscores = data.count(b"_") - b"".join(rows[0]).count(b"_")  # Python reads 1_0 as 10
    if underscores or not np.isfinite(figures).all():
        raise _misfit(path, lines, count)
    return figures.reshape(-1, 5)


def has_detections(folder: Path, name: str) -> bool:
    """Return whether the photo ``EVENT/IMAGE`` has a file that can be read to its end."""
    path = _path(folder, name)
    try:
        read_detections(path)
    except DataError:
        return False
    return True


def read_folder(
    folder: Path, names: Sequence[str]
) -> tuple[list[NDArray[np.float64]], tuple[str, ...]]:
    """Return the boxes (K, 5) of each photo, and the names of photos that have no file.

    A photo without a file has (0, 5). Raises :class:`DataError` where a file is broken, where
    there is no such folder, and when none of the names has a file.
    """
    if not is_there(folder, Path.is_dir):
        raise DataError(f"{folder}: no such folder; it must hold detections as EVENT/IMAGE.txt")
    found: list[NDArray[np.float64]] = []
    absent: list[str] = []
    for name in names:
        path = _path(folder, name)
        if is_there(path):
            found.append(read_detections(path))
        else:
            absent.append(name)
            found.append(np.empty((0, 5)))
    if names and len(absent) == len(names):
        raise DataError(
            f"{folder} holds no detections for any of the {len(names):,} photos; expected files "
            f"such as {names[0]}.txt in it, each with name, count, and lines of left top width "
            f"height score"
        )
    return found, tuple(absent)


def _path(folder: Path, name: str) -> Path:
    return folder / f"{check_name(name)}.txt"


def _count(path: Path, lines: Sequence[bytes], rows: Sequence[Sequence[bytes]]) -> int:
    if len(rows) < 2:
        what = "ends before its count" if rows else "is empty"
        raise DataError(f"{path} {what}; expected a name, a count, and so many boxes")
    text = rows[1][0]
    if len(rows[1]) == 1 and text.isdigit() and len(text) <= 9 and int(text) <= MAX_BOXES:
        return int(text)
    raise _error(path, *_numbered(lines)[1], f"the number of boxes, at most {MAX_BOXES}")


def _misfit(path: Path, lines: Sequence[bytes], count: int) -> DataError:
    """Return the error for the first line that cannot be one of ``count`` boxes."""
    boxes = _numbered(lines)[2:]
    for number, line in boxes:
        if not _is_box(line.split()):
            return _error(path, number, line, "left top width height score, all finite")
    count_line = _numbered(lines)[1][0]
    return DataError(
        f"{path}, line {count_line}: the count is {count}, and {len(boxes)} boxes follow; "
        f"is the file cut off?"
    )


def _is_box(fields: Sequence[bytes]) -> bool:
    try:
        figures = [float(field) for field in fields]
    except ValueError:
        return False
    return len(fields) == 5 and bool(np.isfinite(figures).all()) and b"_" not in b"".join(fields)


def _numbered(lines: Sequence[bytes]) -> list[tuple[int, bytes]]:
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _error(path: Path, number: int, line: bytes, expected: str) -> DataError:
    got = quoted(line.strip().decode(errors="replace"))
    return DataError(f"{path}, line {number}: expected {expected}; got {got}")
