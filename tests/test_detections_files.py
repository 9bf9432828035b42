"""Files of detections: what is written comes back, and what is broken is told by file and line."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from toolchain.data import detections as module
from toolchain.data.detections import (
    has_detections,
    read_detections,
    read_folder,
    write_detections,
)
from toolchain.errors import DataError
from toolchain.system import files

NAME = "0--Parade/0_Parade_1"
TWO = np.array([[1, 2, 3, 4, 0.25], [5, 6, 7, 8, 0.75]])


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "photo.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_the_official_format_best_score_first(tmp_path: Path) -> None:
    path = write_detections(tmp_path, NAME, TWO)
    assert path == tmp_path / "0--Parade" / "0_Parade_1.txt"
    assert path.read_text() == (
        "0--Parade/0_Parade_1.jpg\n2\n5.00 6.00 7.00 8.00 0.750000\n1.00 2.00 3.00 4.00 0.250000\n"
    )


@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(0, 6), st.just(5)),
        elements=st.floats(-1e7, 1e7) | st.floats(0, 1) | st.sampled_from([0.125, 2.675, -0.001]),
    )
)
def test_what_is_written_comes_back_rounded_to_the_digits_that_are_told(found: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_detections(Path(folder), NAME, found)
        back = read_detections(path)
        assert has_detections(Path(folder), NAME)
        first = path.read_bytes()
        assert write_detections(Path(folder), NAME, back).read_bytes() == first
    order = sorted(range(len(found)), key=lambda i: -found[i, 4])  # stable
    rounded = [
        [*(float(f"{x:.2f}") for x in found[i, :4]), float(f"{found[i, 4]:.6f}")] for i in order
    ]
    assert back.dtype == np.float64
    assert back.tolist() == rounded
    assert back.shape == found.shape


@pytest.mark.parametrize(
    "found", [np.zeros(5), np.zeros((2, 4)), np.zeros((0, 4)), np.zeros((1, 1, 5))]
)
def test_another_shape_is_not_written(tmp_path: Path, found: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"must be \(K, 5\)"):
        write_detections(tmp_path, NAME, found)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 4])
def test_a_figure_that_is_none_is_not_written(tmp_path: Path, value: float, column: int) -> None:
    found = TWO.copy()
    found[1, column] = value
    with pytest.raises(DataError, match="0_Parade_1: a box or score is NaN or infinite"):
        write_detections(tmp_path, NAME, found)
    assert not list(tmp_path.rglob("*.txt"))


def test_a_run_that_ends_while_writing_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.Path, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_detections(tmp_path, NAME, TWO)
    assert not has_detections(tmp_path, NAME)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "text",
    [
        "n\n2\n1 2 3 4 0.25\n5 6 7 8 0.75",
        "n\r\n2\r\n1 2 3 4 0.25\r\n5 6 7 8 0.75\r\n",
        "\n\nan_name with blanks\n\n 2 \n\n1\t2\t3\t4\t.25\n \n\n5  6 7. 8e0   +7.5E-1 \n\n\n",
        b"not \xff text\n2\n1 2 3 4 0.25\n5 6 7 8 0.75\n",
    ],
    ids=["plain", "windows", "blanks", "bytes"],
)
def test_what_others_write_is_read(tmp_path: Path, text: str | bytes) -> None:
    np.testing.assert_array_equal(read_detections(written(tmp_path, text)), TWO)


def test_no_detections_are_none(tmp_path: Path) -> None:
    assert read_detections(written(tmp_path, "n\n0\n")).shape == (0, 5)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "photo.txt is empty"),
        (" \n\n", "photo.txt is empty"),
        ("n\n", "photo.txt ends before its count"),
        ("n\nmany\n", "line 2: expected the number of boxes, at most 100000; got 'many'"),
        ("n\n-1\n", "line 2: expected the number of boxes"),
        ("n\n1 2 3 4 0.5\n", "line 2: expected the number of boxes"),
        ("n\n100001\n", "line 2: expected the number of boxes, at most 100000"),
        ("n\n99999999999999999999\n", "line 2: expected the number of boxes"),
        ("\nn\n\n2\n1 2 3 4 1\n", "line 4: the count is 2, and 1 boxes follow"),
        ("n\n1\n1 2 3 4 1\n5 6 7 8 1\n", "line 2: the count is 1, and 2 boxes follow"),
        ("n\n2\n1 2 3 4 1\n\n5 6 7 8\n", "line 5: expected left top width height score"),
        ("n\n2\n1 2 3 4\n5 6 7 8 1 1\n", "line 3: expected left"),
        ("n\n2\n1 2 3 4 1\n5 6 nan 8 1\n", "line 4: expected left .* got '5 6 nan 8 1'"),
        ("n\n1\n1 2 3 4 inf\n", "line 3: expected left"),
        ("n\n1\n1 2 3 4 1e999\n", "line 3: expected left"),
        ("n\n1\n1 2 3 4 1_0\n", "line 3: expected left"),
        ("n\n1\n1 2 3 4 \0\x1b[2J\n", r"line 3: expected left .* got '1 2 3 4 \\x00\\x1b\[2J'"),
    ],
)
def test_broken_files_are_told_by_file_and_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(DataError, match=told) as raised:
        read_detections(written(tmp_path, text))
    assert "photo.txt" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_long_line_is_not_repeated_in_full(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        read_detections(written(tmp_path, "n\n1\n" + "9 " * 10_000))
    assert len(str(raised.value)) < len(str(tmp_path)) + 250


def test_a_file_beyond_the_limit_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 2**20)
    with pytest.raises(DataError, match="more than 1 MB"):
        read_detections(written(tmp_path, "n\n0\n" + " " * 2**20))


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.txt", tmp_path):
        with pytest.raises(DataError, match="no such file"):
            read_detections(path)


def test_a_file_that_was_cut_off_is_not_there(tmp_path: Path) -> None:
    assert not has_detections(tmp_path, NAME)
    path = write_detections(tmp_path, NAME, TWO)
    assert has_detections(tmp_path, NAME)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2):
        path.write_bytes(whole[:length])
        assert not has_detections(tmp_path, NAME)


def test_a_folder_gives_boxes_by_name_and_names_without_a_file(tmp_path: Path) -> None:
    other = "1--Handshaking/1_Handshaking_2"
    write_detections(tmp_path, NAME, TWO)
    found, absent = read_folder(tmp_path, [other, NAME])
    assert absent == (other,)
    assert found[0].shape == (0, 5)
    np.testing.assert_array_equal(found[1], TWO[::-1])


def test_a_folder_without_any_of_the_photos_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no detections for any of the 1 photos.*1\.txt"):
        read_folder(tmp_path, [NAME])
    with pytest.raises(DataError, match="no such folder"):
        read_folder(tmp_path / "absent", [NAME])
    assert read_folder(tmp_path, []) == ([], ())


def test_a_broken_file_in_a_folder_is_told(tmp_path: Path) -> None:
    write_detections(tmp_path, NAME, TWO).write_text("n\n1\n")
    with pytest.raises(DataError, match=r"0_Parade_1\.txt, line 2"):
        read_folder(tmp_path, [NAME])


@pytest.mark.parametrize(
    "name",
    [
        "",
        "one",
        "/etc/x",
        "../x",
        "a/..",
        "./a",
        "a/b/c",
        "a//b",
        "a\\b/c",
        "a/b\n",
        "a/\0",
        " a/b",
    ],
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="cannot be the name of a photo"):
        write_detections(tmp_path, name, TWO)
    with pytest.raises(DataError):
        has_detections(tmp_path, name)
    with pytest.raises(DataError):
        read_folder(tmp_path, [name])
    assert not list(tmp_path.iterdir())
