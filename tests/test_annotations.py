"""WIDER FACE's text lists, as they are and as they should not be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from widerface import make_wider

from toolchain.data import annotations as module
from toolchain.data.annotations import read_annotations, read_file_list
from toolchain.data.names import name_error
from toolchain.errors import DataError

TWO_FACES = "a/x.jpg\n2\n1 2 30 40 0 1 0 0 2 1 \n5 6 7 8 0 0 0 1 0 0 \n"
NO_FACES = "a/y.jpg\n0\n0 0 0 0 0 0 0 0 0 0 \n"
ONE_FACE = "b/z.JPG\n1\n9 9 9 9 2 0 0 0 0 0 \n"


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "list.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def as_plain(path: Path) -> list[tuple[str, str, list[list[float]], list[bool]]]:
    return [
        (entry.name, entry.file, entry.boxes.tolist(), entry.invalid.tolist())
        for entry in read_annotations(path)
    ]


EXPECTED = [
    ("a/x", "a/x.jpg", [[1, 2, 30, 40], [5, 6, 7, 8]], [False, True]),
    ("a/y", "a/y.jpg", [], []),
    ("b/z", "b/z.JPG", [[9, 9, 9, 9]], [False]),
]


@pytest.mark.parametrize(
    "text",
    [
        TWO_FACES + NO_FACES + ONE_FACE,
        TWO_FACES + "a/y.jpg\n0\n" + ONE_FACE,
        TWO_FACES + "a/y.jpg\n0\n0 0 0 0\n" + ONE_FACE,
        (TWO_FACES + NO_FACES + ONE_FACE).replace("\n", "\r\n"),
        "\ufeff" + TWO_FACES + NO_FACES + ONE_FACE,
        (TWO_FACES + NO_FACES + ONE_FACE).rstrip(),
        (TWO_FACES + NO_FACES + ONE_FACE).replace("\n", "\n \n"),
    ],
    ids=["official", "no zeros", "4 zeros", "windows", "mark", "no last newline", "blank lines"],
)
def test_lists_are_read_as_they_are_written(tmp_path: Path, text: str) -> None:
    assert as_plain(written(tmp_path, text)) == EXPECTED


def test_arrays_have_their_types_also_without_faces(tmp_path: Path) -> None:
    for entry in read_annotations(written(tmp_path, TWO_FACES + NO_FACES)):
        assert entry.boxes.dtype == np.float64
        assert entry.boxes.shape == (len(entry.invalid), 4)
        assert entry.invalid.dtype == bool


def test_an_entry_of_no_faces_may_end_the_list(tmp_path: Path) -> None:
    for end in (NO_FACES, "a/y.jpg\n0\n", "a/y.jpg\n0"):
        assert len(read_annotations(written(tmp_path, TWO_FACES + end))) == 2


@pytest.mark.parametrize("columns", range(4, 11))
def test_four_to_ten_columns(tmp_path: Path, columns: int) -> None:
    row = " ".join("1 2 3.5 4 0 0 0 1 0 0".split()[:columns])
    (entry,) = read_annotations(written(tmp_path, f"a/x.jpg\n1\n{row}\n"))
    assert entry.boxes.tolist() == [[1, 2, 3.5, 4]]
    assert entry.invalid.tolist() == [columns >= 8]


@pytest.mark.parametrize(("size", "invalid"), [("0 5", True), ("5 0", True), ("-2 5", True),
                                               ("0.5 5", True), ("1 1", False)])  # fmt: skip
def test_a_face_of_less_than_a_pixel_is_invalid(tmp_path: Path, size: str, invalid: bool) -> None:
    (entry,) = read_annotations(written(tmp_path, f"a/x.jpg\n1\n1 1 {size} 0 0 0 0 0 0\n"))
    assert entry.invalid.tolist() == [invalid]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("1 2 3 4\n", r"line 1: '1 2 3 4': expected a photo's file"),
        ("a/x.jpg\n", "ends where the number of faces is expected"),
        ("a/x.jpg\nb/z.jpg\n", "line 2: expected the number of faces, got 'b/z.jpg'"),
        ("a/x.jpg\n-1\n", "line 2: expected the number of faces"),
        ("a/x.jpg\n1.0\n", "line 2: expected the number of faces"),
        ("a/x.jpg\n100001\n", "line 2: expected at most 100000 faces"),
        ("a/x.jpg\n3\n1 2 3 4\n", r"ends where .* 3 faces \(the count on line 2\)"),
        ("a/x.jpg\n2\n1 2 3 4\nb/z.jpg\n1\n1 2 3 4", r"line 4: .*count on line 2\), got 'b/z.jpg'"),
        ("a/x.jpg\n1\n1 2 3 4\n5 6 7 8\n", "line 4: '5 6 7 8': expected a photo's file"),
        ("a/x.jpg\n1\n1 2 3\n", "line 3: expected 4 to 10 finite numbers"),
        ("a/x.jpg\n1\n1 2 3 4 0 0 0 0 0 0 0\n", "line 3: expected 4 to 10 finite numbers"),
        ("a/x.jpg\n1\n1 2 nan 4\n", "line 3: expected 4 to 10 finite numbers"),
        ("a/x.jpg\n1\n1 2 3 inf\n", "line 3: expected 4 to 10 finite numbers"),
        ("a/x.jpg\n1\n1 2 3 1_0\n", "line 3: expected left"),
        ("a/x.jpg\n1\n1 2 3 4 0 0 0 7 0 0\n", "line 3: expected 0 or 1 in column 8"),
        (TWO_FACES + TWO_FACES, "line 5: 'a/x.jpg': it is listed twice"),
        (b"a/x.jpg\n1\n1 2 3 \xff\n", "line 3: this is no UTF-8 text"),
    ],
)
def test_broken_lists_are_told_by_file_and_line(
    tmp_path: Path, text: str | bytes, told: str
) -> None:
    with pytest.raises(DataError, match=told) as raised:
        read_annotations(written(tmp_path, text))
    assert "list.txt" in str(raised.value)
    assert "\n" not in str(raised.value)


HOSTILE = [
    "../x.jpg", "a/../x.jpg", "../../etc/x.jpg", "/etc/x.jpg", "a/..jpg/../x.jpg", "a//x.jpg",
    "x.jpg", "a/b/x.jpg", "a\\x.jpg", "a/..\\x.jpg", "./x.jpg", "a/ x.jpg", "a/x\x1b[2J.jpg",
    "a/x\0.jpg", "a/x\u202egpj.jpg", "a/x\x85.jpg", "a/.jpg", f"a/{'x' * 201}.jpg", "a/x.exe",
    "..../../x.jpg", "a/...jpg",
]  # fmt: skip


@pytest.mark.parametrize("file", HOSTILE)
def test_names_that_could_leave_the_folder_are_refused(tmp_path: Path, file: str) -> None:
    path = written(tmp_path, f"b/fine.jpg\n0\n{file}\n0\n")
    with pytest.raises(DataError, match="line 3") as raised:
        read_annotations(path)
    assert str(raised.value).removeprefix(str(path)).isprintable()
    with pytest.raises(DataError, match="line 2"):
        read_file_list(written(tmp_path, f"b/fine.jpg\n{file}\n"))


@given(st.text(st.sampled_from("a./\\ \n\0~-\u202e"), max_size=9) | st.text(max_size=9))
def test_a_name_that_is_taken_lies_two_levels_below_the_folder(name: str) -> None:
    if name_error(name) is None:
        root = Path("/data/images")
        path = root / f"{name}.jpg"
        assert path.parent.parent == root
        assert ".." not in path.parts
        assert name.isprintable()


def test_a_list_of_files(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeffa/x.jpg\r\n\r\nb/y.png \r\nb/z.jpg")
    assert read_file_list(path) == ("a/x.jpg", "b/y.png", "b/z.jpg")
    with pytest.raises(DataError, match="is empty"):
        read_file_list(written(tmp_path, "\n"))
    with pytest.raises(DataError, match=r"line 2: 'a/x\.jpg': it is listed twice"):
        read_file_list(written(tmp_path, "a/x.jpg\na/x.jpg\n"))


def test_a_list_beyond_the_limit_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 2**20)
    path = written(tmp_path, TWO_FACES + " " * 2**20)
    for read in (read_annotations, read_file_list):
        with pytest.raises(DataError, match="more than 1 MB"):
            read(path)


def test_the_drawn_lists_are_read(tmp_path: Path) -> None:
    root = make_wider(tmp_path, {"0--Parade/a": 3, "0--Parade/b": 0}, extra_boxes=True)
    first, second = read_annotations(root / "wider_face_split" / "wider_face_val_bbx_gt.txt")
    assert (first.name, second.name) == ("0--Parade/a", "0--Parade/b")
    assert first.invalid.tolist() == [False, False, False, False, True]
    assert second.boxes.tolist() == [[2, 2, 3, 3], [5, 5, 0, 9]]


def test_the_reference_lists(shared: Path) -> None:
    """Counted apart, by the number of fields of a line."""
    for split, photos in (("train", 1_009), ("val", 403)):
        path = shared / "wider" / "wider_face_split" / f"wider_face_{split}_bbx_gt.txt"
        entries = read_annotations(path)
        rows = [line.split() for line in path.read_text().splitlines()]
        faces = [row for row in rows if len(row) == 10]
        invalid = [row for row in faces if row[7] == "1" or min(int(row[2]), int(row[3])) < 1]
        assert len(entries) == photos
        assert sum(len(entry.boxes) for entry in entries) == len(faces)
        assert sum(int(entry.invalid.sum()) for entry in entries) == len(invalid)
