"""The metadata of exported files: all that the board needs, and where the file comes from."""

from __future__ import annotations

import json
from typing import Any

import pytest

import toolchain
from toolchain.deploy import detect
from toolchain.deploy.detector.tasks.specification import TaskSpecification
from toolchain.exporting.metadata import KEY, Provenance, metadata_of
from toolchain.exporting.task_metadata import Ends
from toolchain.recipe import default_recipe, override
from toolchain.records.stages import Source

PROVENANCE = Provenance(
    Source("w.pth", "eresfd/flat", "ab" * 32, trained=True, seed=7), 0.3, "fpgm", "group"
)
ORIGIN = {
    "rate": 0.3,
    "criterion": "fpgm",
    "scope": "group",
    "weights_sha256": "ab" * 32,
    "weights_layout": "eresfd/flat",
    "seed": 7,
    "tool_version": toolchain.__version__,
}


def test_metadata_of_a_detector_is_all_that_the_board_needs() -> None:
    recipe = override(
        default_recipe("eresfd"),
        {"input.height": 96, "decode.nms_iou": 0.25, "anchors.aspect_ratio": 1.5},
    )
    metadata = metadata_of(recipe, PROVENANCE, dynamic=False)
    assert list(metadata) == [KEY] == ["detector"]
    assert json.loads(metadata[KEY]) == {
        "schema": 1,
        "model": "eresfd",
        "trained": True,
        "task": {"kind": "faces"},
        "input": {
            "name": "image",
            "layout": "NCHW",
            "height": 96,
            "width": 640,
            "color_order": "RGB",
            "mean": [123.0, 117.0, 104.0],
        },
        "outputs": ["loc", "logits"],
        "anchors": {
            "sizes": [16.0, 32.0, 64.0, 128.0, 256.0, 512.0],
            "strides": [4, 8, 16, 32, 64, 128],
            "aspect_ratio": 1.5,
        },
        "decode": {
            "variances": [0.1, 0.2],
            "score_threshold": 0.4,
            "nms_iou": 0.25,
            "max_detections": 750,
            "support": 0.15,
        },
        "provenance": ORIGIN,
    }


def test_metadata_of_a_dynamic_file_leaves_the_size_open() -> None:
    text = metadata_of(default_recipe("extd"), PROVENANCE, dynamic=True)[KEY]
    content: dict[str, Any] = json.loads(text)
    assert (content["input"]["height"], content["input"]["width"]) == (None, None)
    assert content["model"] == "extd"


def test_metadata_of_another_network_say_its_task_and_what_it_takes() -> None:
    ends = Ends((("image", (1, 3, 224, 224), "float32"),), ("out",))
    recipe = override(default_recipe("mine:factory"), {"task.kind": "classes", "task.top": 3})
    text = metadata_of(recipe, PROVENANCE, dynamic=False, ends=ends)[KEY]
    content: dict[str, Any] = json.loads(text)
    assert (content["schema"], content["task"]["kind"], content["task"]["top"]) == (4, "classes", 3)
    assert content["input"]["mean"] == [123.0, 117.0, 104.0]
    assert content["provenance"] == ORIGIN
    view = TaskSpecification.from_json(text)
    assert (view.kind, view.outputs, view.read) == ("classes", ("out",), ("out",))
    with pytest.raises(detect.DetectError, match="schema 4, newer than the 3 known here"):
        detect.Specification.from_json(text)


def test_metadata_of_a_network_of_arrays_have_no_picture() -> None:
    ends = Ends((("a", (1, 12, 8, 8), "float32"), ("b", (1, 16), "int64")), ("out",))
    text = metadata_of(default_recipe("mine:factory"), PROVENANCE, dynamic=False, ends=ends)[KEY]
    view = TaskSpecification.from_json(text)
    assert (view.kind, view.pictures) == ("raw", None)
    assert [(each.name, each.shape, each.dtype) for each in view.inputs] == [*ends.inputs]
