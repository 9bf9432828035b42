"""Which photos are drawn, and what is drawn on them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from toolchain.data.wider import Split, Truth, WiderImage
from toolchain.detection import gallery
from toolchain.detection.gallery import compared_pictures, findings, worst_pictures

FACES = np.array([[10.0, 10, 20, 20], [60, 10, 20, 20], [110, 10, 20, 20]])


def boxes(*rows: tuple[float, ...]) -> NDArray[np.float64]:
    return np.array(rows, np.float64).reshape(-1, 5)


def truth(counted: tuple[bool, ...] = (True, True, True)) -> Truth:
    return Truth(FACES, {"easy": np.zeros(3, bool), "hard": np.array(counted)})


@pytest.fixture
def split(tmp_path: Path) -> Split:
    images = []
    for name in ("a/one", "a/two", "b/three"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.full((50, 150, 3), 200, np.uint8))
        images.append(WiderImage(name, path))
    return Split("val", tuple(images), (truth(),) * 3, ("easy", "hard"), 3)


def on_face(index: int, score: float = 0.9) -> tuple[float, ...]:
    return (*FACES[index], score)


def test_a_face_is_found_by_a_box_with_score_enough() -> None:
    found = findings(boxes(on_face(0), on_face(1, 0.39), (0, 40, 9, 9, 0.9)), truth(), "hard")
    assert found.found.tolist() == [True, False, False]
    assert found.on_face.tolist() == [True, False]
    assert found.missed == 2
    assert findings(boxes(), truth((True, False, False)), "hard").missed == 1


def test_the_worst_come_first_and_only_those_with_misses(split: Split) -> None:
    every = boxes(on_face(0), on_face(1), on_face(2))
    shown = worst_pictures(split, "net", [boxes(on_face(0)), every, boxes()], 5)
    assert [(picture.name, picture.words) for picture in shown] == [
        ("b/three", "3 of 3 faces missed (hard)"),
        ("a/one", "2 of 3 faces missed (hard)"),
    ]
    assert len(worst_pictures(split, "net", [boxes(), every, boxes()], 1)) == 1


def test_those_that_differ_most_come_first(split: Split) -> None:
    every = boxes(on_face(0), on_face(1), on_face(2))
    first = [every, every, boxes()]
    second = [boxes(on_face(0)), boxes(), boxes()]
    shown = compared_pictures(split, ["A", "B"], [first, second], 5)
    assert [(picture.name, picture.words) for picture in shown] == [
        ("a/two", "3 faces that only some find (hard)"),
        ("a/one", "2 faces that only some find (hard)"),
    ]
    assert [caption for caption, _ in shown[0].panels] == ["A: 3 found", "B: 0 found"]


def test_found_missed_and_spurious_boxes_have_their_colours(split: Split) -> None:
    (shown,) = worst_pictures(
        split, "net", [boxes(on_face(0), (0, 30, 9, 9, 0.9)), *[boxes()] * 2], 3
    )[-1:]
    data = shown.panels[0][1]
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).astype(int)
    for (x, y), colour in (
        ((20, 10), gallery.FOUND),
        ((70, 10), gallery.MISSED),
        ((4, 30), gallery.SPURIOUS),
        ((40, 45), (200, 200, 200)),
    ):
        assert np.abs(pixels[y, x] - colour).max() < 60, (x, y)


def test_a_broken_photo_is_drawn_grey_and_without_ground_truth_nothing_is(
    split: Split, tmp_path: Path
) -> None:
    split.images[0].path.write_bytes(b"no picture")
    shown = worst_pictures(split, "net", [boxes()] * 3, 3)
    assert len(shown) == 3
    bare = Split("test", split.images, (Truth(np.zeros((0, 4)), {}),) * 3, (), 3)
    assert worst_pictures(bare, "net", [boxes()] * 3, 3) == ()
    assert compared_pictures(bare, ["A", "B"], [[boxes()] * 3] * 2, 3) == ()
