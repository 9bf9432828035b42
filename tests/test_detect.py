"""The program for the board: decoding against loops, odd pictures, and the command line.

The network of these tests is one convolution without training: a cell of 16 x 16 pixels is a face
if it is red, and the box is the cell's anchor, so every box is known beforehand.
"""

from __future__ import annotations

import ast
import errno
import json
import math
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from deploy import detect
from deploy.detect import DetectError, Detector, Placement, Specification

RED, BLUE = (0, 0, 255), (255, 0, 0)


def metadata(**changes: Any) -> dict[str, Any]:
    """Metadata of the test network; ``changes`` are dotted paths with __ for the dot."""
    table: dict[str, Any] = {
        "schema": 1,
        "model": "red-cells",
        "trained": True,
        "input": {
            "name": "image",
            "layout": "NCHW",
            "height": 64,
            "width": 64,
            "color_order": "RGB",
            "mean": [123.0, 117.0, 104.0],
        },
        "outputs": ["loc", "logits"],
        "anchors": {"sizes": [16], "strides": [16], "aspect_ratio": 1.25},
        "decode": {
            "variances": [0.1, 0.2],
            "score_threshold": 0.4,
            "nms_iou": 0.3,
            "max_detections": 750,
        },
        "provenance": {"rate": None},
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = table
        for key in parents:
            place = place[key]
        place[last] = value
    return table


def specification(**changes: Any) -> Specification:
    return Specification.from_json(json.dumps(metadata(**changes)))


def write_model(
    path: Path, table: dict[str, Any] | None, *, size: int | None = 64, loc_rows: int = 4
) -> Path:
    """Write the network that finds red cells; ``size`` None takes pictures of any size."""
    weight = np.zeros((2, 3, 16, 16), np.float32)
    weight[1] = np.array([1.0, -0.5, -0.5], np.float32)[:, None, None] / 256
    bias = np.array([0.0, -50.0], np.float32)
    constants = {
        "weight": weight,
        "bias": bias,
        "zero": np.zeros((loc_rows, 3, 16, 16), np.float32),
        "loc_shape": np.array([1, -1, loc_rows], np.int64),
        "logits_shape": np.array([1, -1, 2], np.int64),
    }
    cell = {"kernel_shape": [16, 16], "strides": [16, 16]}
    nodes = [
        helper.make_node("Conv", ["image", "zero"], ["loc_map"], **cell),
        helper.make_node("Conv", ["image", "weight", "bias"], ["logits_map"], **cell),
        helper.make_node("Transpose", ["loc_map"], ["loc_rows"], perm=[0, 2, 3, 1]),
        helper.make_node("Transpose", ["logits_map"], ["logits_rows"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["loc_rows", "loc_shape"], ["loc"]),
        helper.make_node("Reshape", ["logits_rows", "logits_shape"], ["logits"]),
    ]
    sides = ["height", "width"] if size is None else [size, size]
    graph = helper.make_graph(
        nodes,
        "red-cells",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *sides])],
        [
            helper.make_tensor_value_info("loc", TensorProto.FLOAT, [1, None, loc_rows]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, None, 2]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, ir_version=8, opset_imports=[opset])
    if table is not None:
        helper.set_model_props(model, {"detector": json.dumps(table)})
    onnx.save(model, path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.onnx", metadata())


def picture(height: int = 128, width: int = 128, color: tuple[int, int, int] = RED) -> Any:
    """Grey, with a block over the cell in row 1, column 2 of a 64 x 64 input."""
    image = np.full((height, width, 3), 120, np.uint8)
    rows, columns = (height // 4, height // 2), (width // 2, 3 * width // 4)
    image[rows[0] : rows[1], columns[0] : columns[1]] = color
    return image


IN_PICTURE = [64.0, 28.0, 96.0, 68.0]
"""The box of :func:`picture`: centre (40, 24), 16 wide, 20 high, in a picture twice as large."""


def photo(path: Path, image: Any = None) -> Path:
    """Write a picture in the format of the suffix, without loss if it is PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    there, data = cv2.imencode(path.suffix, picture() if image is None else image)
    assert there
    path.write_bytes(data.tobytes())
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, list[str], list[str]]:
    """Run the program; return its exit code and the lines of its two outputs."""
    code = detect.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


# What the file says about itself ----------------------------------------------------------------


def test_specification_holds_what_the_metadata_says() -> None:
    found = specification()
    assert (found.model, found.trained, found.input_name) == ("red-cells", True, "image")
    assert (found.height, found.width, found.color_order) == (64, 64, "RGB")
    assert found.mean == (123.0, 117.0, 104.0)
    assert (found.anchor_sizes, found.anchor_strides, found.aspect_ratio) == ((16,), (16,), 1.25)
    assert (found.variances, found.score_threshold, found.nms_iou) == ((0.1, 0.2), 0.4, 0.3)
    assert found.max_detections == 750


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema", None),
        ("schema", True),
        ("schema", 0),
        ("model", 3),
        ("trained", 1),
        ("input", "image"),
        ("input__name", ""),
        ("input__layout", "NHWC"),
        ("input__height", 480.0),
        ("input__height", -1),
        ("input__width", None),
        ("input__color_order", "rgb"),
        ("input__mean", [1.0, 2.0]),
        ("input__mean", [1.0, 2.0, float("nan")]),
        ("input__mean", 3.0),
        ("outputs", ["loc"]),
        ("outputs", ["loc", 1]),
        ("anchors__sizes", []),
        ("anchors__sizes", [16, 32]),
        ("anchors__strides", [16.5]),
        ("anchors__strides", [0]),
        ("anchors__aspect_ratio", 0),
        ("decode__variances", [0.1, 0]),
        ("decode__score_threshold", 1.1),
        ("decode__nms_iou", "0.3"),
        ("decode__max_detections", 0),
    ],
)
def test_wrong_metadata_is_named(path: str, value: object) -> None:
    with pytest.raises(DetectError) as caught:
        specification(**{path: value})
    message = str(caught.value)
    assert f"'{path.replace('__', '.')}" in message
    assert "must be" in message
    assert "\n" not in message


def test_a_detector_without_anchors_is_refused() -> None:
    with pytest.raises(DetectError, match=r"'anchors.sizes' must be"):
        specification(anchors__sizes=[], anchors__strides=[])


def test_newer_schema_asks_for_the_newer_program() -> None:
    with pytest.raises(DetectError, match=r"schema 2, newer than the 1 known here; use the detect"):
        specification(schema=2)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", "null", '"text"'])
def test_text_that_is_no_metadata_is_refused(text: str) -> None:
    with pytest.raises(DetectError, match="metadata"):
        Specification.from_json(text)


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
    tensor, _ = detect.letterbox(image, specification(input__mean=[0, 0, 0]), 64, 64)
    np.testing.assert_array_equal(tensor, np.full((1, 3, 64, 64), 2, np.float32))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 130), st.integers(1, 130))
def test_any_picture_fits_with_its_proportions(
    image_height: int, image_width: int, height: int, width: int
) -> None:
    image = np.full((image_height, image_width, 3), 7, np.uint8)
    which = specification(input__mean=[0, 0, 0])
    tensor, placement = detect.letterbox(image, which, height, width)
    fitted = np.array([image_height * placement.scale_y, image_width * placement.scale_x])
    rows, columns = fitted.round().astype(int)
    np.testing.assert_allclose(fitted, [rows, columns], atol=1e-9)
    assert tensor.shape == (1, 3, height, width)
    assert np.all(tensor[0, :, :rows, :columns] == 7)
    assert np.count_nonzero(tensor) == 3 * rows * columns
    assert rows == height or columns == width
    exact = min(height / image_height, width / image_width)
    for side, original in ((rows, image_height), (columns, image_width)):
        assert abs(side - original * exact) <= 0.5 + 1e-9 or side == 1


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
        assert np.abs(box - np.array([left, top, right, bottom]) * exact).max() <= 0.5 + 1e-6

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


# Reading pictures -------------------------------------------------------------------------------

NOISE = np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8)


def png(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its data does not have."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def with_segment(jpeg: bytes, content: bytes) -> bytes:
    """A JPEG with a segment of EXIF data put in front."""
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + jpeg[2:]


def orientation(value: int) -> bytes:
    """EXIF data that says how the camera was held."""
    directory = struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, value, 0, 0)
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + directory


def test_colour_is_read_as_it_is(tmp_path: Path) -> None:
    np.testing.assert_array_equal(detect.read_image(photo(tmp_path / "a.png", NOISE)), NOISE)


def test_grey_becomes_three_channels(tmp_path: Path) -> None:
    found = detect.read_image(photo(tmp_path / "a.png", NOISE[:, :, 0]))
    np.testing.assert_array_equal(found, np.repeat(NOISE[:, :, :1], 3, axis=2))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits_become_eight_by_scaling(tmp_path: Path, suffix: str) -> None:
    found = detect.read_image(photo(tmp_path / f"a{suffix}", NOISE.astype(np.uint16) * 257))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, NOISE)
    grey = detect.read_image(photo(tmp_path / f"b{suffix}", NOISE[:, :, 0].astype(np.uint16) * 257))
    np.testing.assert_array_equal(grey, np.repeat(NOISE[:, :, :1], 3, axis=2))


def test_alpha_is_dropped(tmp_path: Path) -> None:
    transparent = np.dstack([NOISE, np.zeros((20, 40), np.uint8)])
    found = detect.read_image(photo(tmp_path / "a.png", transparent))
    np.testing.assert_array_equal(found, NOISE)


def test_a_rotated_photo_is_turned_upright(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", NOISE)
    flat = detect.read_image(path)
    path.write_bytes(with_segment(path.read_bytes(), orientation(6)))
    np.testing.assert_array_equal(detect.read_image(path), np.rot90(flat, -1))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    large = np.random.default_rng(1).integers(0, 256, (100, 150, 3), np.uint8)
    path = photo(tmp_path / f"a{suffix}", large)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DetectError, match=r"cut off|no picture"):
        detect.read_image(path)


def test_a_thumbnail_s_end_does_not_hide_that_the_photo_was_cut_off(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", NOISE)
    whole = with_segment(path.read_bytes(), b"Exif\0\0" + path.read_bytes())
    path.write_bytes(whole)
    assert detect.read_image(path).shape == (20, 40, 3)
    path.write_bytes(whole[:-2])
    with pytest.raises(DetectError, match="cut off"):
        detect.read_image(path)


def test_a_motion_photo_s_video_behind_the_picture_does_no_harm(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", NOISE)
    path.write_bytes(path.read_bytes() + b"\xff\xda video \xff\xda")
    assert detect.read_image(path).shape == (20, 40, 3)


def test_fill_bytes_between_the_segments_of_a_jpeg_are_legal(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", NOISE)
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xff\xff" + data[2:])
    assert detect.read_image(path).shape == (20, 40, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xff", "no picture"),
        (b"\xff\xd8", "cut off"),
        (b"\xff\xd8\xff", "cut off"),
        (b"hello world\n" * 50, "no picture"),
        (png(100_000, 100_000), "more than 100000000 pixels; shrink it"),
    ],
)
def test_files_that_are_no_pictures_are_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(DetectError, match=message) as caught:
        detect.read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_too_large_for_a_picture_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = photo(tmp_path / "a.png", NOISE)
    monkeypatch.setattr(detect, "MAX_FILE_BYTES", path.stat().st_size - 1)
    with pytest.raises(DetectError, match="too large"):
        detect.read_image(path)


@pytest.mark.parametrize("name", ["missing.jpg", ".", "a\0b"])
def test_a_path_that_cannot_be_read_says_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(DetectError, match="cannot be read"):
        detect.read_image(tmp_path / name)


# Drawing ----------------------------------------------------------------------------------------


def test_a_box_is_drawn_on_a_copy() -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    boxes, scores = np.array([[10, 20, 30, 40.4]], np.float32), np.array([0.5], np.float32)
    drawn = detect.draw(image, boxes, scores)
    assert not image.any()
    for x, y in ((10, 20), (30, 40), (20, 20), (10, 30)):
        assert drawn[y, x].tolist() == [0, 255, 0]
    assert drawn[30, 20].tolist() == [0, 0, 0]


def test_a_box_is_drawn_in_a_single_pixel() -> None:
    one = np.zeros((1, 1, 3), np.uint8)
    drawn = detect.draw(one, np.array([[0, 0, 1, 1]], np.float32), np.ones(1, np.float32))
    assert drawn.tolist() == [[[0, 255, 0]]]


# The detector -----------------------------------------------------------------------------------


def test_the_red_block_is_found_where_it_is(model: Path) -> None:
    boxes, scores = Detector(model).detect(picture())
    assert boxes.tolist() == [IN_PICTURE]
    # Its logit: red 255 - 123 less the mean of (0 - 117) and (0 - 104), less the bias of 50.
    assert scores.tolist() == [pytest.approx(1 / (1 + math.exp(-(132 + 110.5 - 50))))]
    assert Detector(model, threads=1).detect(picture(color=BLUE))[0].shape == (0, 4)


def test_a_network_for_bgr_gets_bgr(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", metadata(input__color_order="BGR"))
    assert Detector(path).detect(picture(color=BLUE))[0].tolist() == [IN_PICTURE]


def test_a_file_of_any_size_takes_the_size_that_is_asked_for(tmp_path: Path) -> None:
    table = metadata(input__height=None, input__width=None)
    path = write_model(tmp_path / "m.onnx", table, size=None)
    assert (Detector(path).height, Detector(path).width) == (480, 640)
    small = Detector(path, size=(64, 128))
    assert (small.height, small.width) == (64, 128)
    assert small.detect(picture())[0].tolist() == [IN_PICTURE]


def test_a_fixed_file_refuses_another_size(model: Path) -> None:
    assert Detector(model, size=(64, 64)).height == 64
    with pytest.raises(DetectError, match="fixed to 64x64; leave out --size"):
        Detector(model, size=(128, 128))


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (None, {}, "has no 'detector' metadata; use a file exported by the toolchain"),
        (metadata(schema=9), {}, "use the detect.py that came with the file"),
        (metadata(input__name="picture"), {}, "must have one float input 'picture'"),
        (metadata(outputs=["loc", "scores"]), {}, "onnxruntime cannot run it"),
        (metadata(input__height=48), {}, r"onnxruntime cannot run it .*Got: 48 Expected: 64"),
        (metadata(anchors__strides=[8]), {}, r"'loc' must be \(64, 4\)"),
        (metadata(), {"loc_rows": 5}, r"'loc' must be \(16, 4\).*got \(16, 5\)"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(
    tmp_path: Path,
    table: dict[str, Any] | None,
    options: dict[str, Any],
    message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = write_model(tmp_path / "m.onnx", table, **options)
    with pytest.raises(DetectError, match=message) as caught:
        Detector(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_real_photos_give_boxes_inside_them(model: Path, photos: list[Path]) -> None:
    for path in photos[:3]:
        image = detect.read_image(path)
        boxes, scores = Detector(model).detect(image, 0.0)
        assert len(boxes) == len(scores) > 0
        assert boxes.min() >= 0
        assert np.all(boxes[:, 2:].max(axis=0) <= image.shape[1::-1])


# The command line -------------------------------------------------------------------------------


def test_the_program_needs_only_what_the_board_has() -> None:
    tree = ast.parse(Path(detect.__file__).read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"cv2", "numpy", "onnxruntime"}


def test_a_line_for_people(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = photo(tmp_path / "a.png")
    code, out, err = run(capsys, model, path)
    assert (code, err) == (0, [])
    assert len(out) == 1
    assert out[0].startswith(f"{path}: 1 face (best 1.00), 128x128, ")
    assert out[0].endswith(" ms")


def test_a_line_of_json(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = photo(tmp_path / "a.png")
    code, out, err = run(capsys, model, path, "--json")
    assert (code, err, len(out)) == (0, [], 1)
    facts = json.loads(out[0])
    assert facts.pop("ms") > 0
    faces = [{"box": IN_PICTURE, "score": 1.0}]
    assert facts == {"image": str(path), "width": 128, "height": 128, "faces": faces}


def test_a_bad_photo_does_not_stop_the_others(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    for name in ("a.png", "c.png"):
        photo(folder / name)
    (folder / "b.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("not looked at")
    (folder / "._a.png").write_text("not looked at either")
    code, out, err = run(capsys, model, folder, tmp_path / "missing", "--json")
    assert (code, err) == (2, [])
    facts = [json.loads(line) for line in out]
    names = [Path(fact["image"]).name for fact in facts]
    assert names == ["missing", "a.png", "b.jpg", "c.png"]
    assert ["error" in fact for fact in facts] == [True, False, True, False]
    code, out, err = run(capsys, model, folder)
    assert (code, len(out), len(err)) == (2, 2, 1)
    assert "b.jpg: is no picture" in err[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.jpg", "cannot be read (No such file or directory)"),
        ("empty-folder", "holds no pictures"),
        ("text.mp4", "is no video that OpenCV reads"),
        ("pipe", "is no file, folder or camera"),
        ("name\0.jpg", "cannot be read"),
    ],
)
def test_an_input_that_is_none_is_one_line(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    (tmp_path / "empty-folder").mkdir()
    (tmp_path / "text.mp4").write_text("text")
    os.mkfifo(tmp_path / "pipe")
    code, out, err = run(capfd, model, tmp_path / name)
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith(f"detect.py: {tmp_path}")
    assert message in err[0]


def test_a_camera_that_is_not_there_is_one_line(
    model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capfd, model, "9876")
    assert (code, out, len(err)) == (2, [], 1)
    assert "9876: no such camera" in err[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read as a model (No such file or directory)"),
        (b"a text", "is no ONNX file that can be run"),
        (b"", "is no ONNX file that can be run"),
    ],
)
def test_a_model_that_is_none_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes | None, message: str
) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    code, out, err = run(capfd, path, photo(tmp_path / "a.png"))
    assert (code, out, len(err)) == (2, [], 1)
    assert message in err[0]


def test_an_untrained_file_warns_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_model(tmp_path / "m.onnx", metadata(trained=False))
    code, out, err = run(capsys, path, photo(tmp_path / "a.png"), photo(tmp_path / "b.png"))
    assert (code, len(out), len(err)) == (0, 2, 1)
    assert "warning: the weights are random (untrained)" in err[0]


def test_the_threshold_can_be_given(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = photo(tmp_path / "a.png")
    _, out, _ = run(capsys, model, path, "--json", "--threshold", "0")
    assert len(json.loads(out[0])["faces"]) == 16


@pytest.mark.parametrize(
    "option",
    [
        ["--threshold", "1.5"],
        ["--threshold", "nan"],
        ["--threshold", "high"],
        ["--size", "64"],
        ["--size", "8x9000"],
        ["--limit", "0"],
        ["--threads", "-1"],
        ["--benchmark", "many"],
    ],
)
def test_a_wrong_option_ends_with_2(
    model: Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        detect.main([str(model), "a.png", *option])
    assert ended.value.code == 2
    assert "must be" in capsys.readouterr().err


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        detect.main(["--help"])
    assert ended.value.code == 0
    assert "detect.py eresfd.onnx photos --out found" in capsys.readouterr().out


def test_the_benchmark_gives_each_stage(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = photo(tmp_path / "a.png")
    code, out, _ = run(capsys, model, path, "--benchmark", "3", "--threads", "1", "--json")
    facts = json.loads(out[0])
    assert (code, facts["runs"], facts["threads"]) == (0, 3, 1)
    assert (facts["height"], facts["width"]) == (64, 64)
    for stage in ("preprocessing", "inference", "postprocessing", "total"):
        values = facts["ms"][stage]
        assert 0 < values["p10"] <= values["median"] <= values["p90"] <= values["p99"]
    code, out, _ = run(capsys, model, path, "--benchmark", "2")
    assert code == 0
    assert [line.split()[0] for line in out[1:]] == ["median", *facts["ms"]]


def test_quantiles_of_the_benchmark_are_those_of_its_runs(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([1000.0] * 5 + [5.0, 1.0, 3.0])  # five to warm up, then three that count
    none = np.empty((0, 4), np.float32)

    def measure(self: Detector, image: Any) -> detect.Detection:
        return detect.Detection(none, none[:, 0], 1.0, next(times), 2.0)

    monkeypatch.setattr(Detector, "measure", measure)
    stages = detect.benchmark(Detector(model), picture(), 3)
    assert stages["inference"]["median"] == 3.0
    assert stages["total"]["median"] == 6.0
    assert stages["total"]["p90"] == pytest.approx(3 + 3 + 0.8 * 2)


# Writing ----------------------------------------------------------------------------------------


def test_pictures_of_the_same_name_do_not_collide(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = photo(tmp_path / "one" / "a.png")
    second = photo(tmp_path / "two" / "A.png", picture(color=BLUE))
    third = photo(tmp_path / "three" / "a.jpg")
    before = first.read_bytes()
    code, out, _ = run(capsys, model, first, second, third, "--out", tmp_path / "new" / "out")
    assert code == 0
    written = sorted(path.name for path in (tmp_path / "new" / "out").iterdir())
    assert written == ["A-2.png", "a.jpg", "a.png"]
    assert out[1].endswith(f" -> {tmp_path / 'new' / 'out' / 'A-2.png'}")
    assert first.read_bytes() == before
    drawn = detect.read_image(tmp_path / "new" / "out" / "a.png")
    np.testing.assert_array_equal(
        drawn,
        detect.draw(picture(), np.array([IN_PICTURE], np.float32), np.ones(1, np.float32)),
    )


def test_an_input_is_never_written_over(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = photo(tmp_path / "photos" / "a.png")
    before = path.read_bytes()
    for out in (path.parent, tmp_path / "photos" / ".." / "photos"):
        code, _, err = run(capsys, model, path, "--out", out)
        assert (code, len(err)) == (2, 1)
        assert "give another --out" in err[0]
    (tmp_path / "link").symlink_to(path.parent)
    assert run(capsys, model, path, "--out", tmp_path / "link")[0] == 2
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_an_old_output_that_links_elsewhere_is_replaced_not_written_through(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = photo(tmp_path / "photos" / "a.png")
    before = original.read_bytes()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").symlink_to(original)
    assert run(capsys, model, original, "--out", tmp_path / "out")[0] == 0
    assert original.read_bytes() == before
    assert not (tmp_path / "out" / "a.png").is_symlink()


def test_a_folder_that_cannot_be_made_is_one_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = photo(tmp_path / "a.png")
    for out in (path, path / "below"):
        code, lines, err = run(capsys, model, path, "--out", out)
        assert (code, lines, len(err)) == (2, [], 1)
        assert "cannot be written" in err[0]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    old = photo(out / "a.png", NOISE).read_bytes()

    def half(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    paths = [photo(tmp_path / "a.png"), photo(tmp_path / "b.png")]
    monkeypatch.setattr(Path, "write_bytes", half)
    code, _, err = run(capsys, model, *paths, "--out", out)
    assert (code, len(err)) == (2, 1)
    assert "a.png: cannot be written (No space left on device)" in err[0]
    assert [path.name for path in out.iterdir()] == ["a.png"]
    assert (out / "a.png").read_bytes() == old


# Videos, cameras, windows -----------------------------------------------------------------------


def clip(path: Path, frames: int = 6, size: tuple[int, int] = (128, 128)) -> Path:
    """A video of the picture with the red block."""
    video = detect.VideoFile(path)
    for _ in range(frames):
        video.write(picture(*size), 10.0)
    video.close()
    video.check()
    return path


def frames_of(path: Path) -> list[Any]:
    capture = cv2.VideoCapture(str(path))
    found = []
    while (read := capture.read())[0]:
        found.append(read[1])
    capture.release()
    return found


def test_a_video_gives_a_line_per_frame(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = clip(tmp_path / "clip.MP4")
    code, out, err = run(capfd, model, path, "--json")
    assert (code, err) == (0, [])
    facts = [json.loads(line) for line in out]
    assert [fact["frame"] for fact in facts] == [0, 1, 2, 3, 4, 5]
    for fact in facts:
        assert [face["box"] for face in fact["faces"]] == [IN_PICTURE]
    assert len(run(capfd, model, path, "--json", "--limit", "2")[1]) == 2


@pytest.mark.parametrize("size", [(128, 128), (97, 131)])
def test_a_video_is_written_whole(
    model: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
) -> None:
    monkeypatch.setattr(detect, "draw", lambda image, boxes, scores: np.full_like(image, 255))
    path = clip(tmp_path / "clip.mp4", size=size)
    code, _, err = run(capfd, model, path, "--out", tmp_path / "out")
    assert (code, err) == (0, [])
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["clip.mp4"]
    written = frames_of(tmp_path / "out" / "clip.mp4")
    assert len(written) == 6
    even = tuple(side + side % 2 for side in size)
    assert written[0].shape == (*even, 3)
    assert min(frame.min() for frame in written) > 240


def stop_after(monkeypatch: pytest.MonkeyPatch, count: int, error: BaseException) -> None:
    """Let the detector raise after so many pictures."""
    real, seen = Detector.measure, []

    def measure(self: Detector, image: Any, threshold: float | None = None) -> detect.Detection:
        seen.append(image)
        if len(seen) > count:
            raise error
        return real(self, image, threshold)

    monkeypatch.setattr(Detector, "measure", measure)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DetectError("broken"), BrokenPipeError()])
def test_a_video_that_is_stopped_leaves_no_half_file(
    model: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    path = clip(tmp_path / "clip.mp4")
    stop_after(monkeypatch, 3, error)
    code, _, err = run(capfd, model, path, "--out", tmp_path / "out")
    assert code == {KeyboardInterrupt: 130, DetectError: 2, BrokenPipeError: 141}[type(error)]
    assert len(err) == (0 if isinstance(error, BrokenPipeError) else 1)
    assert list((tmp_path / "out").iterdir()) == []


class FakeCamera:
    """A camera that gives four frames and is then unplugged; files open as they do."""

    real = cv2.VideoCapture

    def __new__(cls, source: int | str) -> Any:
        return super().__new__(cls) if isinstance(source, int) else cls.real(source)

    def __init__(self, source: int | str) -> None:
        self.left = 4

    def isOpened(self) -> bool:
        return True

    def get(self, which: int) -> float:
        return 0.0

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        return self.left >= 0, picture()

    def release(self) -> None:
        pass


def test_what_a_camera_saw_is_kept_when_it_is_stopped(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    stop_after(monkeypatch, 3, KeyboardInterrupt())
    code, _, err = run(capfd, model, "0", "--out", tmp_path / "out")
    assert (code, err) == (130, ["detect.py: stopped"])
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["camera-0.mp4"]
    assert len(frames_of(tmp_path / "out" / "camera-0.mp4")) == 3


def test_a_camera_that_is_unplugged_is_an_error_and_a_limit_is_none(
    model: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    code, out, err = run(capfd, model, "/dev/video7", "--json")
    assert (code, len(out), err) == (2, 5, [])
    assert json.loads(out[4])["error"] == "/dev/video7: gave 4 frames and then no more"
    assert run(capfd, model, "7", "--limit", "2")[0] == 0


def test_a_video_that_did_not_arrive_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    video = detect.VideoFile(path)
    video.write(picture(), 10.0)
    video.close()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(OSError, match="0 of 1 frames arrived; is the disk full"):
        video.check()


def test_headless_opencv_says_what_to_install(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "")
    code, out, err = run(capsys, model, photo(tmp_path / "a.png"), "--show")
    assert (code, out, len(err)) == (2, [], 1)
    assert "pip install opencv-python" in err[0]


def test_q_closes_the_window_and_ends_the_run(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []
    keys = iter([ord(" "), ord("q")])
    monkeypatch.setattr(detect, "require_window", lambda: None)
    monkeypatch.setattr(cv2, "imshow", lambda name, image: shown.append(image))
    monkeypatch.setattr(cv2, "waitKey", lambda wait: next(keys))
    paths = [photo(tmp_path / f"{name}.png") for name in "abc"]
    code, out, _ = run(capsys, model, *paths, "--show")
    assert (code, len(out), len(shown)) == (0, 2, 2)
    assert shown[0][48, 64].tolist() == [0, 255, 0]
