"""The detector, and what its file says about itself."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board import BLUE, IN_PICTURE, metadata, picture, specification, write_model

from toolchain.deploy import detect
from toolchain.deploy.detect import DetectError, Detector, Specification


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.onnx", metadata())


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
        ("input__layout", "HWC"),
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
    with pytest.raises(DetectError, match=r"schema 4, newer than the 3 known here; use the detect"):
        specification(schema=4)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", "null", '"text"'])
def test_text_that_is_no_metadata_is_refused(text: str) -> None:
    with pytest.raises(DetectError, match="metadata"):
        Specification.from_json(text)


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
        (
            None,
            {},
            "has no 'detector' metadata, .* not made by the toolchain, or they were stripped",
        ),
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


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "[ONNXRuntimeError] : 1 : FAIL : Load model from model.onnx failed:/onnxruntime_src/"
            "onnxruntime/core/graph/model.cc:150 onnxruntime::Model::Model(onnx::ModelProto&&, "
            "const onnxruntime::PathString&, const IOnnxRuntimeOpSchemaRegistryList*, const "
            "logging::Logger&, const ModelOptions&) Unsupported model IR version: 10, max "
            "supported IR version: 8",
            "needs a newer onnxruntime: the file has IR version 10, and onnxruntime 1.14.0 reads "
            "up to 8; run: pip install --upgrade onnxruntime",
        ),
        (
            "[ONNXRuntimeError] : 1 : FAIL : Load model from model.onnx failed:model.cc:138 ONNX "
            "Runtime only *guarantees* support for models stamped with official released onnx "
            "opset versions. Opset 23 is under development and support for this is limited. "
            "Current official support for domain ai.onnx is till opset 18.",
            "needs a newer onnxruntime: the file has opset 23, and onnxruntime 1.14.0 reads up to "
            "18; run: pip install --upgrade onnxruntime",
        ),
        (
            "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from model.onnx failed:"
            "Protobuf parsing failed.",
            "is no ONNX file that can be run (onnxruntime 1.14.0: Protobuf parsing failed.); copy "
            "it again, or export it",
        ),
    ],
)
def test_an_old_runtime_is_told_with_both_versions(words: str, told: str) -> None:
    assert detect.why_not_opened(RuntimeError(words), "1.14.0") == told
