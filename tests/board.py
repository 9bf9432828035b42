"""A network that finds red cells, for the tests of the program for the board.

It is one convolution without training: a cell of 16 x 16 pixels is a face if it is red, and the
box is the cell's anchor, so every box is known beforehand.
"""

from __future__ import annotations

import atexit
import json
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolchain.deploy import detect, packing
from toolchain.deploy.detect import Specification

_folder = tempfile.TemporaryDirectory(prefix="board-")
atexit.register(_folder.cleanup)
PROGRAM = Path(_folder.name) / packing.NAME
"""The one file that goes to a board, with nothing beside it."""
PROGRAM.write_bytes(packing.program())

RED, BLUE = (0, 0, 255), (255, 0, 0)
NOISE = np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8)


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
