"""Files of strangers, read no further than a limit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from toolchain.errors import DataError


def is_there(path: Path, kind: Callable[[Path], bool] = Path.is_file) -> bool:
    """Return whether there is such a file (or ``Path.is_dir``).

    Raises :class:`DataError` where it cannot be told.
    """
    try:
        return kind(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def read_bounded(path: Path, limit_bytes: int) -> bytes:
    """Return a file's bytes.

    Raises :class:`DataError` when there is no such file, when it cannot be read, or when it has
    more than ``limit_bytes``.
    """
    if not is_there(path):  # a pipe or a device would be read for ever
        raise DataError(f"{path}: no such file")
    try:
        with path.open("rb") as stream:
            data = stream.read(limit_bytes + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) > limit_bytes:
        raise DataError(f"{path} has more than {limit_bytes // 2**20} MB; is it the right file?")
    return data


def read_lines(path: Path, limit_bytes: int) -> list[tuple[int, str]]:
    """Return the lines of a UTF-8 text that hold something, with their numbers, from 1.

    A byte order mark, carriage returns, and blanks around a line are left out. Raises
    :class:`DataError` as :func:`read_bounded` does, and where the file is no text.
    """
    data = read_bounded(path, limit_bytes)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: this is no UTF-8 text") from error
    numbered = enumerate((line.strip(" \t\r") for line in text.split("\n")), start=1)
    return [(number, line) for number, line in numbered if line]
