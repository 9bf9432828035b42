"""MATLAB 5 files: cells, text and real numbers, strictly within the bytes of the file.

After MathWorks' *MAT-File Format*. Official lists come from download mirrors, and SciPy's reader
trusts a file's own counts: a few hundred kilobytes of nested cells end the process, and a small
compressed file may unpack to any size. So this reader knows only what the lists are made of,
checks every count against the bytes that are there, and unpacks no more than a limit.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray

from toolchain.data.bounded import read_bounded
from toolchain.errors import DataError

MAX_BYTES = 50 * 2**20
"""Of a file, and of all that is unpacked from it; the official lists unpack to 3 MB."""

MAX_CELL_DEPTH = 2
"""Cells of cells are the deepest in the lists."""

Value: TypeAlias = Union[str, NDArray[np.generic], "list[Value]"]
"""A row of text, numbers (rows, columns), or the content of a cell array by columns."""

Order: TypeAlias = Literal["<", ">"]

MATRIX, COMPRESSED = 14, 15
CELL, CHARACTERS = 1, 4
NUMBERS = range(6, 16)
COMPLEX_FLAG = 0x0800
DTYPES = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
ENCODINGS = {2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}


def read_mat(path: Path, names: Collection[str]) -> dict[str, Value]:
    """Return the variables ``names`` of a MATLAB 5 file, compressed or not, of either byte order.

    Raises :class:`DataError` where it is another file, is damaged or cut off, lacks one of the
    variables, or holds in them other than cells of cells, rows of text, and real numbers.
    """
    data = read_bounded(path, MAX_BYTES)
    try:
        found = {
            name: element.value() for name, element in _variables(data, _byte_order(data), names)
        }
    except (ValueError, struct.error, zlib.error) as error:
        raise DataError(
            f"{path} is no MATLAB 5 file that can be read ({error}); get the official file again"
        ) from error
    absent = sorted(set(names) - found.keys())
    if absent:
        raise DataError(
            f"{path} does not hold {' and '.join(absent)}; it is another list, get the official one"
        )
    return found


def _byte_order(data: bytes) -> Order:
    if data.startswith((b"\x89HDF", b"MATLAB 7.3")):
        raise ValueError("it is of version 7.3, which is HDF5; save it with -v7")
    order: Order = "<" if data[126:128] == b"IM" else ">"
    if data[126:128] not in (b"IM", b"MI"):
        raise ValueError("it does not begin as one")
    (version,) = struct.unpack_from(f"{order}H", data, 124)
    if version != 0x0100:
        raise ValueError(f"its version is {version:#06x}, expected 0x0100")
    return order


def _variables(data: bytes, order: Order, names: Collection[str]) -> Iterator[tuple[str, _Matrix]]:
    left = MAX_BYTES
    elements = _Elements(data, order, 128, len(data))
    for kind, start, end in elements:
        if kind == COMPRESSED:
            unpacker = zlib.decompressobj()
            content = unpacker.decompress(data[start:end], left + 1)
            left -= len(content)
            if left < 0:
                raise ValueError(f"it unpacks to more than {MAX_BYTES // 2**20} MB")
            if not unpacker.eof:
                raise ValueError("it is cut off")
            kind, start, end = next(_Elements(content, order, 0, len(content)), (0, 0, 0))
        else:
            content = data
        if kind == MATRIX:
            matrix = _matrix(_Elements(content, order, start, end))
            if matrix.name in names:
                yield matrix.name, matrix


class _Elements:
    """The data elements in ``data[start:end]`` one by one: kind, start and end of their bytes."""

    def __init__(self, data: bytes, order: Order, start: int, end: int) -> None:
        self.data, self.order, self.position, self.end = data, order, start, end

    def __iter__(self) -> _Elements:
        return self

    def __next__(self) -> tuple[int, int, int]:
        if self.position >= self.end:
            raise StopIteration
        kind, size = struct.unpack_from(f"{self.order}II", self.data, self.position)
        start = self.position + 8
        if kind >> 16:  # up to four bytes within the tag
            kind, size, start = kind & 0xFFFF, kind >> 16, self.position + 4
            self.position += 8
            if size > 4:
                raise ValueError("an element is longer than its place")
        else:
            padding = 0 if kind == COMPRESSED else -size % 8
            self.position = start + size + padding
        if start + size > self.end:
            raise ValueError("it is cut off")
        return kind, start, start + size

    def take(self) -> tuple[int, int, int]:
        """Return the next element, which must be there."""
        element = next(self, None)
        if element is None:
            raise ValueError("an array ends before its content")
        return element

    def take_numbers(self) -> NDArray[np.generic]:
        """Return the next element's numbers, 1-D."""
        kind, start, end = self.take()
        if kind not in DTYPES:
            raise ValueError(f"numbers are stored as type {kind}")
        dtype = np.dtype(DTYPES[kind]).newbyteorder(self.order)
        values = np.frombuffer(self.data[start:end], dtype)
        return values.astype(dtype.newbyteorder("="))


@dataclass(frozen=True)
class _Matrix:
    """An array whose head was read; its content follows in ``elements``."""

    name: str
    kind: int
    is_complex: bool
    shape: tuple[int, int]
    elements: _Elements

    def value(self, depth: int = 0) -> Value:
        if self.kind == CELL and depth < MAX_CELL_DEPTH:
            return self._cells(depth)
        if self.kind == CHARACTERS:
            return self._text()
        if self.kind in NUMBERS and not self.is_complex:
            return self._numbers()
        raise ValueError(f"{self.name or 'a cell'} holds what a list does not (class {self.kind})")

    def _cells(self, depth: int) -> list[Value]:
        elements = self.elements
        cells: list[Value] = []
        for kind, start, end in elements:
            if kind != MATRIX:
                raise ValueError(f"a cell holds an element of type {kind}")
            inner = _Elements(elements.data, elements.order, start, end)
            cells.append(_matrix(inner).value(depth + 1) if end > start else np.empty((0, 0)))
        if len(cells) != math.prod(self.shape):
            raise ValueError(f"{len(cells)} cells where {math.prod(self.shape)} are announced")
        return cells

    def _text(self) -> str:
        kind, start, end = self.elements.take()
        encoding = ENCODINGS.get(kind)
        if encoding is None:
            raise ValueError(f"text is stored as type {kind}")
        if encoding in ("utf-16", "utf-32"):
            encoding += "-le" if self.elements.order == "<" else "-be"
        text = self.elements.data[start:end].decode(encoding)
        if text and self.shape[0] != 1:
            raise ValueError("a text has more than one row")
        return text

    def _numbers(self) -> NDArray[np.generic]:
        values = self.elements.take_numbers()
        if values.size != math.prod(self.shape):
            raise ValueError(f"{values.size} numbers where {math.prod(self.shape)} are announced")
        return values.reshape(self.shape, order="F")


def _matrix(elements: _Elements) -> _Matrix:
    flags = elements.take_numbers()
    rows_and_columns = [int(length) for length in elements.take_numbers()]
    _, start, end = elements.take()
    if flags.dtype != np.uint32 or len(flags) != 2:
        raise ValueError("an array does not begin with its flags")
    if len(rows_and_columns) != 2 or min(rows_and_columns) < 0:
        raise ValueError(f"an array is of shape {rows_and_columns}")
    rows, columns = rows_and_columns
    flag = int(flags[0])
    name = elements.data[start:end].decode("latin-1")
    return _Matrix(name, flag & 0xFF, bool(flag & COMPLEX_FLAG), (rows, columns), elements)
