"""WIDER FACE in its official layout: drawn here, the reference subset, and all that is broken."""

from __future__ import annotations

import hashlib
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import loadmat, savemat
from widerface import EVENTS, LEVEL_HEIGHTS, column, make_wider

from toolchain.data.wider import Split, Truth, WiderImage, read_split
from toolchain.errors import DataError

A, B, C = "0--Parade/a", "0--Parade/b", "12--Group/c"
NAMES = {A: 3, B: 0, C: 5}
FACES = "ground_truth/wider_face_val.mat"
EASY = "ground_truth/wider_easy_val.mat"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_wider(tmp_path / "wider", NAMES, extra_boxes=True)


def change(path: Path, alter: Callable[[dict[str, Any]], object]) -> None:
    """Let ``alter`` change the variables of a list in place."""
    lists = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    alter(lists)
    savemat(path, lists, do_compression=True)


# What is there ------------------------------------------------------------------------------------


def test_val_has_the_photos_and_the_levels_of_the_lists(root: Path) -> None:
    split = read_split(root)
    assert (split.name, split.levels, split.limit) == ("val", ("easy", "medium", "hard"), None)
    assert [image.name for image in split.images] == [A, B, C]
    assert (split.listed, split.missing) == (3, 0)
    for image, truth in zip(split.images, split.truths, strict=True):
        pixels = cv2.imread(str(image.path))
        assert pixels is not None
        assert len(truth.boxes) == NAMES[image.name] + 2
        assert (truth.boxes[:, :2] + truth.boxes[:, 2:] <= pixels.shape[1::-1]).all()
        for level, height in LEVEL_HEIGHTS.items():
            counts = [h >= height and w > 0 for w, h in truth.boxes[:, 2:]]
            assert truth.counted[level].tolist() == counts
            assert truth.counted[level].dtype == bool


def test_a_photo_without_faces_has_a_box_that_counts_nowhere(tmp_path: Path) -> None:
    (truth,) = read_split(make_wider(tmp_path, {A: 0})).truths
    assert truth.boxes.tolist() == [[0, 0, 0, 0]]
    assert not any(counted.any() for counted in truth.counted.values())


def test_train_counts_every_valid_face_and_test_has_none(root: Path) -> None:
    train, test = read_split(root, "train"), read_split(root, "test")
    assert (train.levels, len(train.images), train.missing) == (("all",), 2, 0)
    assert [t.counted["all"].tolist() for t in train.truths] == [[True] * 2 + [False],
                                                                 [True] * 3 + [False]]  # fmt: skip
    assert (test.levels, len(test.images)) == ((), 2)
    assert [(t.boxes.shape, dict(t.counted)) for t in test.truths] == [((0, 4), {})] * 2
    assert all(image.path.is_file() for image in (*train.images, *test.images))


def test_only_photos_that_are_there_unless_none_is_needed(tmp_path: Path) -> None:
    root = make_wider(tmp_path, NAMES, absent=[A], empty=[B], truncated=[C])
    split = read_split(root)
    assert [image.name for image in split.images] == [B, C]
    assert (split.listed, split.missing, len(split.truths)) == (3, 1, 2)
    assert split.images[0].path.stat().st_size == 0
    shutil.rmtree(root / "WIDER_val")
    whole = read_split(root, images_needed=False)
    assert [image.name for image in whole.images] == [A, B, C]
    assert (whole.listed, whole.missing) == (3, 0)


@pytest.mark.parametrize("folder", ["eval_tools/ground_truth", "wider_face_split"])
def test_ground_truth_lies_where_the_official_archives_put_it(tmp_path: Path, folder: str) -> None:
    assert len(read_split(make_wider(tmp_path, 3, ground_truth=folder)).images) == 3


def test_the_faces_alone_beside_the_text_lists_do_not_hide_the_levels(root: Path) -> None:
    """The official archive of text lists also holds one of the four."""
    shutil.copy(root / FACES, root / "wider_face_split")
    (root / "eval_tools").mkdir()
    (root / "ground_truth").rename(root / "eval_tools" / "ground_truth")
    assert len(read_split(root).images) == 3


def test_many_faces_have_wider_numbers(tmp_path: Path) -> None:
    def many(lists: dict[str, Any]) -> None:
        lists["face_bbx_list"][0, 0][0, 0] = np.full((300, 4), 9, np.int32)

    def last(lists: dict[str, Any]) -> None:
        lists["gt_list"][0, 0][0, 0] = np.array([[256], [300]], np.uint16)

    root = make_wider(tmp_path, {A: 1})
    change(root / FACES, many)
    for level in LEVEL_HEIGHTS:
        change(root / f"ground_truth/wider_{level}_val.mat", last)
    (truth,) = read_split(root).truths
    assert np.flatnonzero(truth.counted["hard"]).tolist() == [255, 299]


def test_the_hash_is_of_names_and_truth_and_of_nothing_else(tmp_path: Path) -> None:
    first = read_split(make_wider(tmp_path / "one", 5))
    again = read_split(make_wider(tmp_path / "two", 5, ground_truth="eval_tools/ground_truth"))
    assert first.sha256 == again.sha256
    assert first.spread(4).sha256 != first.sha256
    assert read_split(make_wider(tmp_path / "three", 5, seed=1)).sha256 != first.sha256


def test_the_hash_of_one_face_by_hand() -> None:
    known = one_face(Truth(np.array([[1.0, 2, 3, 4]]), {"all": np.array([True])}))
    by_hand = b"all\0" + A.encode() + b"\x001\0" + struct.pack("<4d", 1, 2, 3, 4) + b"\1"
    assert known.sha256 == hashlib.sha256(by_hand).hexdigest()
    other = one_face(Truth(np.array([[1.0, 2, 3, 4]]), {"all": np.array([False])}))
    assert other.sha256 != known.sha256


def one_face(truth: Truth) -> Split:
    return Split("train", (WiderImage(A, Path("x.jpg")),), (truth,), ("all",), 1, None)


def numbered(total: int) -> Split:
    images = tuple(WiderImage(f"a/{i}", Path(f"{i}.jpg")) for i in range(total))
    truths = tuple(Truth(np.full((1, 4), float(i)), {}) for i in range(total))
    return Split("test", images, truths, (), total + 5, None, absent=5)


@given(st.integers(1, 60), st.integers(1, 70))
def test_a_sample_is_spread_evenly_and_keeps_its_order(total: int, limit: int) -> None:
    sample = numbered(total).spread(limit)
    places = [int(image.name[2:]) for image in sample.images]
    assert len(places) == min(total, limit)
    assert sample.limit == (limit if limit < total else None)
    assert (sample.listed, sample.missing) == (total + 5, 5)
    assert [truth.boxes[0, 0] for truth in sample.truths] == places
    gaps = np.diff([*places, total])
    assert (gaps >= 1).all()
    assert gaps.max() - gaps.min() <= 1
    assert sample.sha256 == numbered(total).spread(limit).sha256


def test_no_limit_is_all_and_a_limit_of_nothing_is_refused() -> None:
    assert numbered(4).spread(None).limit is None
    assert len(numbered(4).spread(None).images) == 4
    for limit in (0, -3):
        with pytest.raises(DataError, match="1 photo or more"):
            numbered(4).spread(limit)


def test_the_same_arguments_draw_the_same_bytes(tmp_path: Path) -> None:
    one, two = (make_wider(tmp_path / name, 4) for name in "ab")
    for path in sorted(one.rglob("*.jpg")):
        assert path.read_bytes() == (two / path.relative_to(one)).read_bytes()
    assert {image.name.split("/")[0] for image in read_split(one).images} <= set(EVENTS)


# The reference subset -----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_reference_subset(shared: Path) -> None:
    listed = read_split(shared / "wider", images_needed=False)
    assert (listed.listed, len(listed.images), listed.missing) == (3_226, 3_226, 0)
    assert sum(len(truth.boxes) for truth in listed.truths) == 39_708
    counts = [sum(int(t.counted[level].sum()) for t in listed.truths) for level in listed.levels]
    assert counts == [7_211, 13_319, 31_958]
    split = read_split(shared / "wider")
    assert (split.listed, len(split.images), split.missing) == (3_226, 403, 2_823)
    assert len(read_split(shared / "wider", "train").images) == 1_009


def test_drawn_lists_are_nested_as_the_official_ones(shared: Path, root: Path) -> None:
    for file in ("wider_face_val.mat", "wider_hard_val.mat"):
        official = loadmat(shared / "wider" / "ground_truth" / file)
        drawn = loadmat(root / "ground_truth" / file)
        names = [name for name in drawn if not name.startswith("__")]
        for name in names:
            assert nesting(drawn[name]) <= nesting(official[name]), name


def nesting(value: np.ndarray, depth: int = 0) -> set[tuple[int, str, int, int]]:
    """Depth, kind, dimensions and columns of all arrays; lengths of texts are left out."""
    kind = "text" if value.dtype.kind == "U" else str(value.dtype)
    columns = value.shape[1] if value.ndim == 2 else 0
    here = {(depth, kind, value.ndim, columns)}
    inner = value.ravel() if value.dtype == object else []
    return here.union(*(nesting(part, depth + 1) for part in inner))


# What is broken -----------------------------------------------------------------------------------


def test_folders_that_are_not_wider_face(tmp_path: Path, root: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        read_split(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="no such folder"):
        read_split(tmp_path / "file")
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match="lacks WIDER_val/images and ground_truth; expected"):
        read_split(tmp_path / "other")
    with pytest.raises(DataError, match="lacks WIDER_train/images and wider_face_split/wider_face"):
        read_split(tmp_path / "other", "train")
    with pytest.raises(DataError, match="no split 'dev'; choose one of val, train, test"):
        read_split(root, "dev")
    shutil.rmtree(root / "WIDER_val")
    with pytest.raises(DataError, match="lacks WIDER_val/images; expected"):
        read_split(root)


def test_no_photo_at_all_is_told(tmp_path: Path) -> None:
    root = make_wider(tmp_path, NAMES, absent=list(NAMES))
    with pytest.raises(DataError, match=r"holds none of the 3 photos .*0--Parade/a\.jpg"):
        read_split(root)


@pytest.mark.parametrize("level", ["face", "easy", "medium", "hard"])
def test_a_missing_list_is_named(root: Path, level: str) -> None:
    (root / f"ground_truth/wider_{level}_val.mat").unlink()
    with pytest.raises(DataError, match=f"lacks wider_{level}_val.mat; unpack"):
        read_split(root)


def first(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda lists: lists[name][0, 0].__setitem__((0, 0), value)


def drop(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda lists: lists.pop(name)


def put(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda lists: lists.__setitem__(name, value)


def numbers(*values: float) -> np.ndarray:
    return np.array(values).reshape(-1, 1)


@pytest.mark.parametrize(
    ("file", "alter", "told"),
    [
        (FACES, drop("face_bbx_list"), "does not hold face_bbx_list"),
        (EASY, drop("gt_list"), "does not hold gt_list"),
        (FACES, put("event_list", np.zeros((2, 1))), "event_list is no list"),
        (EASY, put("gt_list", column([np.zeros(2), np.zeros(2)])), "a part of gt_list is no list"),
        (FACES, put("event_list", column(["x"])), "file_list has 2 events, expected 1"),
        (EASY, put("gt_list", column([column([numbers(1)] * 2)])), "gt_list has 1 events"),
        (EASY, put("gt_list", column([column([numbers(1)])] * 2)), "1 photos in event 1, expected"),
        (FACES, first("face_bbx_list", np.zeros((4, 3))), "0--Parade/a: its boxes must be"),
        (FACES, first("face_bbx_list", "text"), "0--Parade/a: its boxes must be"),
        (FACES, first("face_bbx_list", column(["x"])), "no MATLAB 5 file .*class 1"),
        (FACES, first("face_bbx_list", np.array([[1, 2, np.nan, 4]])), "0--Parade/a: a box is NaN"),
        (FACES, first("face_bbx_list", np.array([[1, 2, 3, np.inf]])), "0--Parade/a: a box is NaN"),
        (FACES, first("face_bbx_list", np.ones((5, 4)) * 1j), "holds what a list does not"),
        (FACES, first("face_bbx_list", {"a": 1}), "holds what a list does not"),
        (FACES, first("face_bbx_list", np.zeros((2, 2, 2))), "an array is of shape"),
        (EASY, first("gt_list", numbers(6)), "0--Parade/a: numbers of faces run from 6.* 5 boxes"),
        (EASY, first("gt_list", numbers(0)), "numbers of faces run from 0"),
        (EASY, first("gt_list", numbers(-1)), "numbers of faces run from -1"),
        (EASY, first("gt_list", numbers(np.nan, 1)), "numbers of faces run from nan"),
        (EASY, first("gt_list", numbers(1.5)), "is not whole"),
        (EASY, first("gt_list", np.ones((2, 2))), "must be a column"),
        (EASY, first("gt_list", "text"), "must be a column"),
        (FACES, first("file_list", 5), "an event or photo has no name"),
        (FACES, first("file_list", "b"), "'0--Parade/b' cannot be .* it is listed twice"),
        (FACES, first("file_list", np.array(["ab", "cd"])), "more than one row"),
    ],
)
def test_lists_that_are_not_what_they_must_be(
    root: Path, file: str, alter: Callable[[dict[str, Any]], object], told: str
) -> None:
    change(root / file, alter)
    with pytest.raises(DataError, match=told) as raised:
        read_split(root)
    assert Path(file).name in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "name", ["../../x", "..", "a/b", "/etc/x", "a\\b", "", "a\x1bb", "x" * 300, "..\\..\\x"]
)
@pytest.mark.parametrize("part", ["event", "photo"])
def test_names_in_the_lists_that_could_leave_the_folder(root: Path, name: str, part: str) -> None:
    alter = first("file_list", name)
    if part == "event":
        alter = put("event_list", column([name, "12--Group"]))
    change(root / FACES, alter)
    with pytest.raises(DataError, match="cannot be the name of a photo") as raised:
        read_split(root)
    assert str(raised.value).removeprefix(str(root)).isprintable()


def test_text_lists_of_the_other_splits_are_read_as_strictly(root: Path) -> None:
    path = root / "wider_face_split" / "wider_face_train_bbx_gt.txt"
    path.write_text("../../etc/passwd.jpg\n0\n")
    with pytest.raises(DataError, match=r"wider_face_train_bbx_gt\.txt, line 1"):
        read_split(root, "train")
