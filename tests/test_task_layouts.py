"""Every layout of boxes, against boxes that were planted, and what does not fit it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tasks import SIZE, given

from toolchain.deploy.detector.errors import DetectError
from toolchain.deploy.detector.preparing import Placement
from toolchain.deploy.detector.tasks.boxes import Boxes, read_boxes
from toolchain.deploy.detector.tasks.layouts import LAYOUTS

LABELS = ["cat", "dog", "hen"]
BOX, CLASS, SCORE = (20.0, 10.0, 44.0, 42.0), 1, 0.9
"""Of the planted box: left, top, right, bottom in a picture of 64 x 96, a dog."""
CENTRE = (32.0, 26.0, 24.0, 32.0)


def logit(chance: float) -> float:
    return math.log(chance / (1 - chance))


def find(layout: str, arrays: list[NDArray[Any]], **changes: Any) -> Boxes:
    outputs = {f"o{index}": array for index, array in enumerate(arrays)}
    changes = {"labels": LABELS, **changes}
    return read_boxes(given("boxes", outputs, layout=layout, **changes), None)


def is_planted(found: Boxes, atol: float = 1e-3) -> None:
    np.testing.assert_allclose(found.boxes, [BOX], atol=atol)
    np.testing.assert_allclose(found.scores, [SCORE], atol=1e-5)
    assert found.names == ("dog",)


# One tensor --------------------------------------------------------------------------------------


def test_yolov5_is_centre_size_objectness_and_classes() -> None:
    rows = np.zeros((1, 7, 8), np.float32)
    rows[0, 3] = [*CENTRE, 0.95, 0.1, SCORE / 0.95, 0.2]
    rows[0, 5] = [*CENTRE, 0.3, 0.0, 0.99, 0.0]  # a class, but no object
    is_planted(find("yolov5", [rows]))


def test_yolov5_with_raw_scores_says_so_by_its_activation() -> None:
    rows = np.full((1, 7, 8), -20.0, np.float32)
    rows[0, 3] = [*CENTRE, 20.0, -3, logit(SCORE), -3]
    is_planted(find("yolov5", [rows], activation="sigmoid"))


def test_yolov8_has_columns_and_no_objectness() -> None:
    columns = np.zeros((1, 7, 30), np.float32)
    columns[0, :, 11] = [*CENTRE, 0.1, SCORE, 0.2]
    is_planted(find("yolov8", [columns]))


def cells_of(strides: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Column, row and stride of each cell, counted one by one."""
    found = []
    for stride in strides:
        for row in range(-(-SIZE[0] // stride)):
            found += [(column, row, stride) for column in range(-(-SIZE[1] // stride))]
    return found


def test_yolox_is_decoded_from_its_cell() -> None:
    every = cells_of((8, 16, 32))
    place = every.index((2, 1, 16))
    rows = np.zeros((1, len(every), 8), np.float32)
    offsets = [CENTRE[0] / 16 - 2, CENTRE[1] / 16 - 1]
    rows[0, place] = [*offsets, math.log(24 / 16), math.log(32 / 16), 1.0, 0, SCORE, 0]
    is_planted(find("yolox", [rows]))


def distribution(distance: float, bins: int) -> list[float]:
    """Logits whose mean bin is a distance."""
    low = int(distance)
    chances = np.full(bins, 1e-12)
    chances[low], chances[low + 1] = low + 1 - distance, max(distance - low, 1e-12)
    return np.log(chances).tolist()


def test_nanodet_has_classes_first_and_distances_in_bins() -> None:
    strides = (8, 16, 32, 64)
    every = cells_of(strides)
    place = every.index((2, 1, 16))  # its corner, (32, 16), is where it is measured from
    distances = [(32 - BOX[0]) / 16, (16 - BOX[1]) / 16, (BOX[2] - 32) / 16, (BOX[3] - 16) / 16]
    rows = np.zeros((1, len(every), 3 + 4 * 8), np.float32)
    rows[0, place, :3] = [0.2, SCORE, 0.1]
    rows[0, place, 3:] = [value for each in distances for value in distribution(each, 8)]
    is_planted(find("nanodet", [rows]))


def test_corners_are_taken_as_they_are() -> None:
    boxes, scores = np.zeros((1, 4, 4), np.float32), np.zeros((1, 4, 3), np.float32)
    boxes[0, 2], scores[0, 2] = BOX, [0.2, SCORE, 0.3]
    is_planted(find("corners", [boxes, scores]))


# Several outputs ---------------------------------------------------------------------------------


def test_maps_with_distributions_are_measured_from_the_middle_of_a_cell() -> None:
    maps = []
    for stride in (8, 16, 32):
        rows, columns = -(-SIZE[0] // stride), -(-SIZE[1] // stride)
        maps.append(np.full((1, 4 * 16 + 3, rows, columns), -9.0, np.float32))
    x, y = 2.5 * 16, 1.5 * 16
    distances = [(x - BOX[0]) / 16, (y - BOX[1]) / 16, (BOX[2] - x) / 16, (BOX[3] - y) / 16]
    maps[1][0, :64, 1, 2] = [value for each in distances for value in distribution(each, 16)]
    maps[1][0, 64:, 1, 2] = [-3, logit(SCORE), -3]
    is_planted(find("yolov8-levels", maps))
    is_planted(find("yolov8-levels", maps[1:2], strides=[16]))


def test_ssd_takes_the_background_first_and_moves_its_anchors() -> None:
    strides, sides = [16, 32], [[[16, 16], [20, 30]], [[40, 40]]]
    count = 2 * 4 * 6 + 2 * 3
    loc, scores = np.zeros((1, count, 4), np.float32), np.zeros((1, count, 4), np.float32)
    scores[0, :, 0] = 20
    row = 2 * (1 * 6 + 2) + 1  # the second anchor of the cell in row 1, column 2: (40, 24)
    loc[0, row] = [
        (CENTRE[0] - 40) / 20 / 0.1, (CENTRE[1] - 24) / 30 / 0.1,
        math.log(24 / 20) / 0.2, math.log(32 / 30) / 0.2,
    ]  # fmt: skip
    others = (1 - SCORE) / 3
    scores[0, row] = np.log([others, others, SCORE, others])
    is_planted(find("ssd", [loc, scores], strides=strides, anchors=sides))


def test_yunet_has_classes_objectness_boxes_and_points_by_kind() -> None:
    arrays: dict[str, list[Any]] = {"cls": [], "obj": [], "box": [], "kps": []}
    for stride in (8, 16, 32):
        count = -(-SIZE[0] // stride) * -(-SIZE[1] // stride)
        for name, columns in (("cls", 3), ("obj", 1), ("box", 4), ("kps", 4)):
            arrays[name].append(np.zeros((1, count, columns), np.float32))
    row = 1 * 6 + 2
    arrays["cls"][1][0, row, 1] = SCORE**2
    arrays["obj"][1][0, row] = 1.0
    offsets = [CENTRE[0] / 16 - 2, CENTRE[1] / 16 - 1, math.log(24 / 16), math.log(32 / 16)]
    arrays["box"][1][0, row] = offsets
    arrays["kps"][1][0, row] = [-0.5, 0.0, 0.25, 1.0]
    kinds = ("cls", "obj", "box", "kps")
    found = find("yunet", [array for name in kinds for array in arrays[name]])
    is_planted(found)
    assert found.points is not None
    np.testing.assert_allclose(found.points, [[[24, 16], [36, 32]]])
    without = find("yunet", [array for name in kinds[:3] for array in arrays[name]])
    is_planted(without)
    assert without.points is None


def test_scrfd_has_two_rows_a_cell_and_distances() -> None:
    arrays: dict[str, list[Any]] = {"score": [], "box": [], "kps": []}
    for stride in (8, 16, 32):
        count = 2 * -(-SIZE[0] // stride) * -(-SIZE[1] // stride)
        for name, columns in (("score", 3), ("box", 4), ("kps", 10)):
            arrays[name].append(np.zeros((count, columns), np.float32))  # as some exporters do
    row = 2 * (1 * 6 + 2) + 1
    arrays["score"][1][row, 1] = SCORE
    arrays["box"][1][row] = [12 / 16, 6 / 16, 12 / 16, 26 / 16]
    found = find("scrfd", [array for kind in arrays.values() for array in kind])
    is_planted(found)
    assert found.points is not None
    assert found.points.shape == (1, 5, 2)


# What becomes of them ----------------------------------------------------------------------------


def corners(boxes: list[Any], scores: list[Any], placement: Placement | None = None) -> Boxes:
    outputs = {
        "boxes": np.array([boxes], np.float32), "scores": np.array([scores], np.float32)
    }  # fmt: skip
    where = {} if placement is None else {"placement": placement}
    return read_boxes(given("boxes", outputs, layout="corners", **where), None)  # type: ignore[arg-type]


def test_boxes_of_one_class_suppress_each_other_and_of_two_do_not() -> None:
    boxes = [[10, 10, 30, 30], [11, 10, 31, 30], [12, 10, 32, 30]]
    found = corners(boxes, [[0.9, 0.0], [0.8, 0.0], [0.1, 0.7]])
    assert found.boxes.tolist() == [boxes[0], boxes[2]]
    assert found.names == ("0", "1")


def test_boxes_come_back_to_the_picture_and_stay_in_it() -> None:
    placement = Placement(0.5, 0.25, -4, 8, 100, 200)
    found = corners([[10, 10, 30, 30], [60, 0, 80, 7]], [[0.9], [0.9]], placement)
    assert found.boxes.tolist() == [[28, 8, 68, 88]]  # the other lies beside the picture


def test_boxes_that_are_no_numbers_are_left_out_but_nan_is_told() -> None:
    found = corners([[0, 0, 9, 9], [0, 0, math.inf, 9]], [[0.9], [0.9]])
    assert len(found.boxes) == 1
    with pytest.raises(DetectError, match=r"output 'scores' has 1 of 2 values that are NaN"):
        corners([[0, 0, 9, 9], [0, 0, 9, 9]], [[0.9], [math.nan]])


def test_nothing_found_is_no_error() -> None:
    found = corners([[0, 0, 9, 9]], [[0.1]])
    assert (found.boxes.shape, found.words()) == ((0, 4), "0 boxes")


WRONG: dict[str, list[tuple[int, ...]]] = {
    "corners": [(1, 9, 4), (1, 8, 3)],
    "nanodet": [(1, 9, 35)],
    "scrfd": [(1, 9, 3)] * 3 + [(1, 9, 5)] * 3,
    "ssd": [(1, 9, 4), (1, 9, 4)],
    "yolov5": [(1, 7, 30)],
    "yolov8": [(1, 30, 7)],
    "yolov8-levels": [(1, 67, 9, 9)] * 3,
    "yolox": [(1, 9, 8)],
    "yunet": [(1, 9, 3)] * 9,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_that_does_not_fit_the_shapes_is_told_in_one_line(layout: str) -> None:
    arrays = [np.zeros(shape, np.float32) for shape in WRONG[layout]]
    with pytest.raises(DetectError) as caught:
        find(layout, arrays)
    message = str(caught.value)
    assert f"task 'boxes' with layout '{layout}' expects" in message
    assert f"o0 {WRONG[layout][0]}" in message
    assert "\n" not in message


def test_labels_of_another_number_are_told() -> None:
    columns = np.zeros((1, 84, 30), np.float32)
    with pytest.raises(DetectError, match=r"3 labels, and the network gives 80 classes .*give 80"):
        find("yolov8", [columns])
    assert find("yolov8", [columns], labels=[]).names == ()


def test_an_unknown_layout_is_never_guessed() -> None:
    for layout in ("", "yolo"):
        with pytest.raises(DetectError, match=r"task.layout of boxes must be one of corners, nano"):
            find(layout, [np.zeros((1, 84, 30), np.float32)])
