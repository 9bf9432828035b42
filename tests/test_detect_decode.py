"""Anchors, letterbox and decoding, against loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from board import specification
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.deploy import detect
from toolchain.deploy.detect import DetectError, Placement, Specification

# Anchors ----------------------------------------------------------------------------------------


def slow_anchors(which: Specification, height: int, width: int) -> list[list[float]]:
    found = []
    for size, stride in zip(which.anchor_sizes, which.anchor_strides, strict=True):
        row = 0
        while row * stride < height:
            column = 0
            while column * stride < width:
                centre = [column * stride + stride / 2, row * stride + stride / 2]
                found.append([*centre, size, size * which.aspect_ratio])
                column += 1
            row += 1
    return found


PYRAMID = {"anchors__sizes": [16, 32, 64], "anchors__strides": [4, 8, 16]}


@pytest.mark.parametrize("size", [(64, 64), (61, 101), (1, 1), (16, 17)])
def test_anchors_are_those_of_the_loops(size: tuple[int, int]) -> None:
    which = specification(**PYRAMID)
    found = detect.anchors(which, *size)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array(slow_anchors(which, *size), np.float32))


def test_anchors_of_equal_specifications_are_made_once_and_cannot_be_changed() -> None:
    found = detect.anchors(specification(), 64, 64)
    assert detect.anchors(specification(), 64, 64) is found
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = 1


# Letterbox --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "expected"), [("RGB", [30 - 1, 20 - 2, 10 - 3]), ("BGR", [10 - 1, 20 - 2, 30 - 3])]
)
def test_channels_come_in_the_order_of_the_specification(order: str, expected: list[int]) -> None:
    which = specification(input__color_order=order, input__mean=[1.0, 2.0, 3.0])
    image = np.full((64, 64, 3), (10, 20, 30), np.uint8)
    tensor, placement = detect.letterbox(image, which, 64, 64)
    assert tensor.dtype == np.float32
    assert placement == Placement(1.0, 1.0, 0, 0, 64, 64)
    for channel in range(3):
        assert np.all(tensor[0, channel] == expected[channel])


def test_wide_picture_lies_at_the_top_and_the_rest_is_zero() -> None:
    image = np.full((100, 400, 3), 255, np.uint8)
    tensor, placement = detect.letterbox(image, specification(), 64, 64)
    assert placement == Placement(0.16, 0.16, 0, 0, 400, 100)
    assert np.all(tensor[0, 0, :16] == 255 - 123)
    assert np.all(tensor[0, :, 16:] == 0)


def test_shrinking_keeps_what_lies_between_the_samples() -> None:
    image = np.zeros((640, 640, 3), np.uint8)
    image[::10, ::10] = 200  # a hundredth of the pixels: the mean is 2
    tensor, _ = detect.letterbox(image, specification(input__mean=[0, 0, 0]), 80, 80)
    assert tensor.mean() == pytest.approx(2, abs=0.5)  # each halving rounds
    assert tensor.max() <= 4


@pytest.mark.parametrize("side", [64, 65, 127, 128, 129, 200, 511, 640])
def test_halving_moves_nothing(side: int) -> None:
    """A bright square lies where the placement says, whatever was left out at the edge."""
    image = np.zeros((side, side, 3), np.uint8)
    low, high = round(side * 0.25), round(side * 0.75)
    image[low:high, low:high] = 255
    tensor, placement = detect.letterbox(image, specification(input__mean=[0, 0, 0]), 64, 64)
    light = tensor[0, 0].sum(axis=0)
    middle = (light * (np.arange(64) + 0.5)).sum() / light.sum()
    assert middle / placement.scale_x == pytest.approx((low + high) / 2, abs=0.1 * side / 64)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 130), st.integers(1, 130))
def test_any_picture_fits_with_its_proportions(
    image_height: int, image_width: int, height: int, width: int
) -> None:
    image = np.full((image_height, image_width, 3), 7, np.uint8)
    which = specification(input__mean=[0, 0, 0])
    tensor, placement = detect.letterbox(image, which, height, width)
    assert tensor.shape == (1, 3, height, width)
    filled = tensor[0, 0] == 7
    rows, columns = int(filled.any(axis=1).sum()), int(filled.any(axis=0).sum())
    assert np.all(tensor[0, :, :rows, :columns] == 7)
    assert np.count_nonzero(tensor) == 3 * rows * columns
    assert rows == height or columns == width
    shown = np.array([rows / placement.scale_y, columns / placement.scale_x])
    times = max(image_height / height, image_width / width)
    left_out = [image_height, image_width] - shown  # less than a block
    assert np.all((left_out > -1e-9) & (left_out < max(1, times)))
    exact = min(height / shown[0], width / shown[1])
    for side, pixels in ((rows, shown[0]), (columns, shown[1])):
        assert abs(side - pixels * exact) <= 0.5 + 1e-9 or side == 1


@pytest.mark.parametrize("size", [(1, 1), (4000, 20), (3, 40_000), (1, 65)])
def test_extreme_pictures_fit(size: tuple[int, int]) -> None:
    tensor, placement = detect.letterbox(np.full((*size, 3), 9, np.uint8), specification(), 64, 64)
    assert tensor[0, 0, 0, 0] == 9 - 123
    assert (placement.image_height, placement.image_width) == size


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_an_array_that_is_no_picture_is_refused(image: Any) -> None:
    with pytest.raises(DetectError, match="a picture must"):
        detect.letterbox(image, specification(), 64, 64)


# Decoding ---------------------------------------------------------------------------------------

WHOLE = Placement(1.0, 1.0, 0, 0, 64, 64)


def area(box: list[float]) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def overlap(a: list[float], b: list[float]) -> float:
    """Intersection over union, by hand."""
    shared = area([max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])])
    return shared / (area(a) + area(b) - shared)


def slow_decode(
    loc: Any, logits: Any, which: Specification, height: int, width: int, place: Placement
) -> tuple[list[list[float]], list[float]]:
    """Decode one anchor after the other, with a softmax and quadratic suppression."""
    candidates = []
    for index, (x, y, w, h) in enumerate(slow_anchors(which, height, width)):
        background, face = math.exp(logits[index][0]), math.exp(logits[index][1])
        score = face / (background + face)
        if score >= which.score_threshold:
            dx, dy, dw, dh = (float(value) for value in loc[index])
            x, y = x + dx * which.variances[0] * w, y + dy * which.variances[0] * h
            w, h = w * math.exp(dw * which.variances[1]), h * math.exp(dh * which.variances[1])
            candidates.append((score, [x - w / 2, y - h / 2, x + w / 2, y + h / 2]))
    candidates.sort(key=lambda candidate: -candidate[0])
    kept: list[tuple[float, list[float]]] = []
    for score, box in candidates:
        if all(overlap(box, other) <= which.nms_iou for _, other in kept):
            kept.append((score, box))
    boxes, scores = [], []
    for score, (left, top, right, bottom) in kept[: which.max_detections]:
        box = [
            min(max((left - place.left) / place.scale_x, 0), place.image_width),
            min(max((top - place.top) / place.scale_y, 0), place.image_height),
            min(max((right - place.left) / place.scale_x, 0), place.image_width),
            min(max((bottom - place.top) / place.scale_y, 0), place.image_height),
        ]
        if area(box) > 0:
            boxes.append(box)
            scores.append(score)
    return boxes, scores


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 10, 750]))
def test_decoding_is_that_of_the_loops(seed: int, most: int) -> None:
    random = np.random.default_rng(seed)
    which = specification(**PYRAMID, decode__max_detections=most)
    count = len(slow_anchors(which, 48, 64))
    loc = random.normal(0, 3, (count, 4)).astype(np.float32)
    logits = random.normal(0, 2, (count, 2)).astype(np.float32)
    logits[:, 1] -= 3
    place = Placement(0.5, 0.48, 3, 5, 110, 90)
    boxes, scores = detect.decode(loc, logits, which, 48, 64, place)
    slow_boxes, slow_scores = slow_decode(loc, logits, which, 48, 64, place)
    assert boxes.dtype == scores.dtype == np.float32
    assert len(boxes) == len(slow_boxes)
    np.testing.assert_allclose(boxes, np.reshape(slow_boxes, (-1, 4)), atol=1e-3)
    np.testing.assert_allclose(scores, slow_scores, atol=1e-6)


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_a_box_in_the_photo_comes_back(data: st.DataObject) -> None:
    which = specification(**PYRAMID)
    image_height, image_width = data.draw(st.integers(1, 400)), data.draw(st.integers(1, 400))
    edges = st.floats(0, 1, width=32)
    left, right = sorted((data.draw(edges) * image_width, data.draw(edges) * image_width))
    top, bottom = sorted((data.draw(edges) * image_height, data.draw(edges) * image_height))
    right, bottom = max(right, left + 0.5), max(bottom, top + 0.5)
    image = np.zeros((image_height, image_width, 3), np.uint8)
    _, place = detect.letterbox(image, which, 64, 64)

    box = np.array([left, top, right, bottom]) * ([place.scale_x, place.scale_y] * 2)
    exact = min(64 / image_height, 64 / image_width)
    if min(image_height, image_width) * exact >= 1:  # else the short side was widened to a pixel
        off = np.abs(box - np.array([left, top, right, bottom]) * exact).max()
        assert off <= 0.5 + max(1, 1 / exact) * exact + 1e-6  # rounding, and what is left out

    anchors = slow_anchors(which, 64, 64)
    index = data.draw(st.integers(0, len(anchors) - 1))
    anchor = np.array(anchors[index])
    centre, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    loc = np.zeros((len(anchors), 4), np.float32)
    loc[index, :2] = (centre - anchor[:2]) / (0.1 * anchor[2:])
    loc[index, 2:] = np.log(size / anchor[2:]) / 0.2
    logits = np.tile(np.array([[9, -9]], np.float32), (len(anchors), 1))
    logits[index] = -9, 9
    boxes, scores = detect.decode(loc, logits, which, 64, 64, place)
    inside = [left, top, min(right, image_width), min(bottom, image_height)]
    if inside[0] < inside[2] - 1e-2 and inside[1] < inside[3] - 1e-2:
        np.testing.assert_allclose(boxes, [inside], atol=1e-2)
        np.testing.assert_allclose(scores, [1 / (1 + math.exp(-18))])


def logits_of(differences: dict[int, float]) -> Any:
    """Logits for the 16 anchors of a 64 x 64 input: no face but where a difference is given."""
    logits = np.tile(np.array([[0, -50]], np.float32), (16, 1))
    for index, difference in differences.items():
        logits[index] = 0, difference
    return logits


NO_SHIFT = np.zeros((16, 4), np.float32)


def test_a_score_at_the_threshold_counts_and_one_below_does_not() -> None:
    logits = logits_of({0: 0.0, 5: float(np.nextafter(np.float32(0), np.float32(-1)))})
    _, scores = detect.decode(NO_SHIFT, logits, specification(), 64, 64, WHOLE, 0.5)
    assert scores.tolist() == [0.5]


def test_the_caller_s_threshold_replaces_that_of_the_file() -> None:
    logits = logits_of({0: math.log(0.3 / 0.7)})  # probability 0.3, the file asks for 0.4
    count = [
        len(detect.decode(NO_SHIFT, logits, specification(), 64, 64, WHOLE, threshold)[0])
        for threshold in (None, 0.2, 1.0)
    ]
    assert count == [0, 1, 0]


def test_faces_come_best_first_and_equal_ones_in_the_order_of_their_anchors() -> None:
    logits = logits_of({2: 1.0, 8: 3.0, 0: 1.0, 10: 2.0})
    boxes, scores = detect.decode(NO_SHIFT, logits, specification(), 64, 64, WHOLE)
    assert boxes[:, 0].tolist() == [0.0, 32.0, 0.0, 32.0]  # anchors 8, 10, 0, 2
    assert boxes[:, 1].tolist() == [30.0, 30.0, 0.0, 0.0]
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)


def test_of_two_that_overlap_by_more_than_the_limit_the_better_stays() -> None:
    # Boxes 16 x 20, moved by x: the overlap is (16 - x) / (16 + x), 0.333 at 8 and 0.28 at 9.
    for shift, expected in ((8, 1), (9, 2)):
        loc = NO_SHIFT.copy()
        loc[6, 0] = -(16 - shift) / (0.1 * 16)
        logits = logits_of({5: 2.0, 6: 1.0})
        boxes, scores = detect.decode(loc, logits, specification(), 64, 64, WHOLE)
        assert len(boxes) == expected
        assert scores[0] == pytest.approx(1 / (1 + math.exp(-2)))


def test_extreme_values_neither_warn_nor_become_faces() -> None:
    loc = NO_SHIFT.copy()
    loc[0] = 3e38
    loc[5, 2] = math.nan
    loc[10, 0] = math.inf
    logits = logits_of({0: 3e38, 5: 9.0, 10: 9.0, 15: 1e4, 12: math.nan})
    logits[3] = -math.inf
    logits[1], logits[7] = (0, -1e4), (0, math.inf)
    boxes, scores = detect.decode(loc, logits, specification(), 64, 64, WHOLE, 0.0)
    assert np.isfinite(boxes).all()
    # 15 is sure; those at -50 pass a threshold of zero, -1e4 has none left; 0 lies far outside.
    assert boxes[0].tolist() == [48.0, 46.0, 64.0, 64.0]
    assert len(boxes) == 16 - 7
    assert scores[0] == 1.0
    assert scores.min() >= 0


def test_nothing_found_gives_empty_arrays() -> None:
    boxes, scores = detect.decode(NO_SHIFT, logits_of({}), specification(), 64, 64, WHOLE)
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


def test_boxes_end_at_the_photo_and_those_in_the_padding_go() -> None:
    place = Placement(0.5, 0.5, 0, 0, 128, 24)  # the photo covers 12 of 64 rows
    boxes, _ = detect.decode(NO_SHIFT, logits_of({0: 5.0, 15: 9.0}), specification(), 64, 64, place)
    assert boxes.tolist() == [[0.0, 0.0, 32.0, 24.0]]


@pytest.mark.parametrize(("rows", "columns"), [(15, 4), (16, 5)])
def test_outputs_that_do_not_fit_the_anchors_are_refused(rows: int, columns: int) -> None:
    loc = np.zeros((rows, columns), np.float32)
    with pytest.raises(DetectError, match=rf"'loc' must be \(16, 4\).*got \({rows}, {columns}\)"):
        detect.decode(loc, logits_of({}), specification(), 64, 64, WHOLE)
    with pytest.raises(DetectError, match=r"'logits' must be \(16, 2\)"):
        detect.decode(NO_SHIFT, logits_of({})[:, :1], specification(), 64, 64, WHOLE)
