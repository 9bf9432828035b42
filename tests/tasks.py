"""Networks of every task whose answers are known beforehand, for the tests of the board's program.

A network of one output gives a constant, or its input times a constant, so all is planted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from toolchain.deploy.detector.preparing import Placement
from toolchain.deploy.detector.tasks.outputs import Given
from toolchain.deploy.detector.tasks.specification import TaskSpecification

Arrays = Mapping[str, NDArray[Any]]
SIZE = (64, 96)
"""Height and width of the input."""
WHOLE = Placement(1.0, 1.0, 0, 0, 96, 64)
"""A picture of the input's size."""


def task_metadata(kind: str, outputs: list[str], **changes: Any) -> dict[str, Any]:
    """Metadata of a network for pictures of 64 x 96; ``changes`` are fields of task or decode."""
    task = {
        "kind": kind, "layout": "", "labels": [], "activation": None, "outputs": [], "strides": [],
        "anchors": [], "cell_centre": None, "top": 5, "decoder": None,
    }  # fmt: skip
    decode = {
        "variances": [0.1, 0.2], "score_threshold": 0.4, "nms_iou": 0.5, "max_detections": 100,
        "support": None,
    }  # fmt: skip
    table = {
        "schema": 4,
        "model": f"planted-{kind}",
        "trained": True,
        "task": task,
        "decode": decode,
        "inputs": [{"name": "image", "shape": [1, 3, *SIZE], "dtype": "float32"}],
        "input": {
            "name": "image", "layout": "NCHW", "height": SIZE[0], "width": SIZE[1],
            "color_order": "RGB", "mean": [0.0, 0.0, 0.0], "scale": 1.0, "std": [1.0, 1.0, 1.0],
            "fit": "letterbox", "dtype": "float32",
        },
        "outputs": outputs,
        "provenance": {"rate": None},
    }  # fmt: skip
    for name, value in changes.items():
        place = next((each for each in (task, decode) if name in each), table)
        place[name] = value
    return table


def given(
    kind: str,
    outputs: Arrays,
    placement: Placement = WHOLE,
    size: tuple[int, int] = SIZE,
    **changes: Any,
) -> Given:
    """What a network gave for a picture that lies so in its input."""
    text = json.dumps(task_metadata(kind, list(outputs), **changes))
    return Given(outputs, TaskSpecification.from_json(text), size, placement)


def write_planted(
    path: Path, table: dict[str, Any] | None, outputs: Arrays, inputs: Any = None
) -> Path:
    """Write a network that gives these outputs, whatever its inputs are; zero times each is added.

    ``inputs`` are those of the metadata; without metadata one image.
    """
    entries = inputs or [{"name": "image", "shape": [1, 3, *SIZE], "dtype": "float32"}]
    nodes, constants, values = [], {}, []
    for entry in entries:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(entry["dtype"]))
        values.append(helper.make_tensor_value_info(entry["name"], kind, entry["shape"]))
        nodes += [
            helper.make_node("Cast", [entry["name"]], [f"{entry['name']}/f"], to=TensorProto.FLOAT),
            helper.make_node(
                "ReduceMean", [f"{entry['name']}/f"], [f"{entry['name']}/m"], keepdims=0
            ),
            helper.make_node("Mul", [f"{entry['name']}/m", "zero"], [f"{entry['name']}/z"]),
        ]
    constants["zero"] = np.array(0, np.float32)
    total = "zero"
    for entry in entries:
        nodes.append(helper.make_node("Add", [total, f"{entry['name']}/z"], [f"{entry['name']}/t"]))
        total = f"{entry['name']}/t"
    results = []
    for name, array in outputs.items():
        constants[f"{name}/value"] = array.astype(np.float32)
        nodes.append(helper.make_node("Add", [f"{name}/value", total], [name]))
        results.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape))
    initial = [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()]
    graph = helper.make_graph(nodes, "planted", values, results, initial)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    if table is not None:
        helper.set_model_props(model, {"detector": json.dumps(table)})
    onnx.save(model, path)
    return path


def planted(path: Path, kind: str, outputs: Arrays, **changes: Any) -> Path:
    """Write such a network with its metadata."""
    table = task_metadata(kind, list(outputs), **changes)
    return write_planted(path, table, outputs, table["inputs"])
