"""MATLAB 5 files: as SciPy reads them, and strangers' files that must not do harm."""

from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat
from widerface import LEVEL_HEIGHTS, column

from toolchain.data import matfile
from toolchain.data.matfile import Value, read_mat
from toolchain.errors import DataError


def assert_as_scipy(path: Path, names: tuple[str, ...]) -> None:
    ours, theirs = read_mat(path, names), loadmat(path)
    assert set(ours) == set(names)
    for name in names:
        assert_same(ours[name], theirs[name])


def assert_same(ours: Value, theirs: np.ndarray) -> None:
    if isinstance(ours, list):
        assert theirs.dtype == object
        assert len(ours) == theirs.size
        for mine, other in zip(ours, theirs.ravel(order="F"), strict=True):
            assert_same(mine, other)
    elif isinstance(ours, str):
        assert theirs.tolist() == ([ours] if ours else [])
    else:
        np.testing.assert_array_equal(ours, theirs, strict=True)


VARIABLES = {
    "cells": column([column(["a", "ä\u4e00", "", np.empty((0, 0)), np.eye(2)]), np.empty((0, 1))]),
    "wide": np.array([["x", 1], [2.5, "y"]], dtype=object),
    **{f"n_{dtype}": np.arange(6).reshape(2, 3).astype(dtype) for dtype in
       ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")},
    "skipped": {"struct": 1},
}  # fmt: skip
READ = tuple(name for name in VARIABLES if name != "skipped")


@pytest.mark.slow
def test_our_mat_reader_agrees_with_scipy_on_the_official_lists(shared: Path) -> None:
    folder = shared / "wider" / "ground_truth"
    assert_as_scipy(folder / "wider_face_val.mat", ("event_list", "file_list", "face_bbx_list"))
    for level in LEVEL_HEIGHTS:
        assert_as_scipy(folder / f"wider_{level}_val.mat", ("event_list", "gt_list"))


@pytest.mark.parametrize("compressed", [True, False])
def test_our_mat_reader_agrees_with_scipy(tmp_path: Path, compressed: bool) -> None:
    savemat(tmp_path / "x.mat", VARIABLES, do_compression=compressed)
    assert_as_scipy(tmp_path / "x.mat", READ)


def element(kind: int, data: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def compressed(packed: bytes) -> bytes:
    return struct.pack("<II", 15, len(packed)) + packed


def head(kind: int, shape: tuple[int, int], name: bytes = b"", order: str = "<") -> bytes:
    flags = element(6, struct.pack(f"{order}II", kind, 0), order)
    return flags + element(5, struct.pack(f"{order}ii", *shape), order) + element(1, name, order)


def mat(*elements: bytes, order: str = "<") -> bytes:
    mark = {"<": b"IM", ">": b"MI"}[order]
    start = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}H", 0x0100) + mark
    return start + b"".join(elements)


def written(folder: Path, data: bytes) -> Path:
    path = folder / "x.mat"
    path.write_bytes(data)
    return path


def test_big_endian_files_are_read(tmp_path: Path) -> None:
    """Numbers in a narrower type than the array's, in the tag itself, as MATLAB stores them."""
    body = head(6, (2, 1), b"n", ">") + struct.pack(">HHhh", 4, 3, 1, -2)
    text = head(4, (1, 2), b"t", ">") + element(4, "hé".encode("utf-16-be"), ">")
    data = mat(element(14, body, ">"), element(14, text, ">"), order=">")
    found = read_mat(written(tmp_path, data), ("n", "t"))
    assert found["t"] == "hé"
    np.testing.assert_array_equal(found["n"], [[1], [-2]])


def test_nesting_without_end_is_refused(tmp_path: Path) -> None:
    """SciPy's reader runs out of stack on this file, and takes the process with it."""
    cell = head(1, (1, 1))
    size = 8 + len(cell)
    cells = [struct.pack("<II", 14, left * size - 8) + cell for left in range(20_000, 0, -1)]
    body = head(1, (1, 1), b"n") + b"".join(cells)
    with pytest.raises(DataError, match="holds what a list does not"):
        read_mat(written(tmp_path, mat(element(14, body))), ("n",))


def test_a_file_that_unpacks_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matfile, "MAX_BYTES", 2**20)
    big = element(14, head(9, (1, 2**21), b"n") + element(9, bytes(2**24)))
    path = written(tmp_path, mat(compressed(zlib.compress(big))))
    assert path.stat().st_size < 2**15
    tracemalloc.start()
    with pytest.raises(DataError, match="unpacks to more than 1 MB"):
        read_mat(path, ("n",))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**22
    with pytest.raises(DataError, match="has more than 1 MB"):
        read_mat(written(tmp_path, mat(big)), ("n",))


def test_what_is_packed_and_cut_off_is_refused_though_its_length_was_corrected(
    tmp_path: Path,
) -> None:
    packed = zlib.compress(element(14, head(9, (1, 1), b"n") + element(9, bytes(8))))
    assert read_mat(written(tmp_path, mat(compressed(packed))), ("n",))["n"] == 0
    with pytest.raises(DataError, match="cut off"):
        read_mat(written(tmp_path, mat(compressed(packed[:-4]))), ("n",))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "does not begin as one"),
        (b"\xff\xd8\xff\xe0" * 99, "does not begin as one"),
        (b"\x89HDF\r\n\x1a\n".ljust(600), "version 7.3, which is HDF5; save it with -v7"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + b"\0" * 400, "version 7.3"),
        (mat()[:124] + b"\0\3IM", "its version is 0x0300"),
        (mat(), "does not hold n"),
        (mat(element(14, head(9, (1, 2), b"n") + element(9, bytes(8)))), "1 numbers where 2"),
        (mat(element(14, head(9, (2**31 - 1, 2**31 - 1), b"n") + element(9, b""))), "0 numbers"),
        (mat(element(14, head(9, (-1, -1), b"n") + element(9, bytes(8)))), "of shape"),
        (mat(element(14, head(9, (1, 1), b"n"))), "ends before its content"),
        (mat(element(14, head(9, (1, 1), b"n") + element(10, bytes(8)))), "stored as type 10"),
        (mat(element(14, head(4, (1, 1), b"n") + element(9, bytes(8)))), "stored as type 9"),
        (mat(element(14, head(4, (1, 1), b"n") + element(16, b"\xff"))), "decode"),
        (mat(element(14, head(1, (2**31 - 1, 1), b"n"))), "0 cells where 2147483647"),
        (mat(element(14, head(1, (1, 1), b"n") + element(9, bytes(8)))), "an element of type 9"),
        (mat(element(14, head(17, (1, 1), b"n"))), "class 17"),
        (mat(struct.pack("<II", 14, 2**32 - 1) + head(9, (1, 1), b"n")), "cut off"),
        (mat(struct.pack("<HHI", 1, 9, 0)), "longer than its place"),
        (mat(struct.pack("<II", 15, 8) + b"\0" * 8), "cannot|no MATLAB"),
        (mat(b"\1\2\3"), "no MATLAB 5 file"),
    ],
)
def test_damaged_mat_files(tmp_path: Path, data: bytes, told: str) -> None:
    with pytest.raises(DataError, match=told) as raised:
        read_mat(written(tmp_path, data), ("n",))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_mat_file_cut_off_or_changed_anywhere_is_read_or_told(
    tmp_path: Path, compressed: bool
) -> None:
    stream = io.BytesIO()
    savemat(stream, {"cells": column([column(["ab"])]), "n": np.eye(2)}, do_compression=compressed)
    whole = stream.getvalue()
    for length in range(0, len(whole), 3):
        with pytest.raises(DataError):
            read_mat(written(tmp_path, whole[:length]), ("cells", "n"))
    generator = np.random.default_rng(0)
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= int(generator.integers(1, 256))
        with contextlib.suppress(DataError):
            read_mat(written(tmp_path, bytes(changed)), ("cells", "n"))
