"""Small ONNX files as strangers bring them: other layouts, types, lengths and flaws, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str]


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, Shape, int]],
    outputs: Sequence[tuple[str, Shape]],
    weights: dict[str, np.ndarray] | None = None,
    opset: int = 17,
) -> Path:
    graph = helper.make_graph(
        list(nodes), "g",
        [helper.make_tensor_value_info(name, kind, list(shape)) for name, shape, kind in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(s)) for name, s in outputs],
        [numpy_helper.from_array(each, name) for name, each in (weights or {}).items()],
    )  # fmt: skip
    domains = {node.domain for node in nodes if node.domain}
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in domains)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 8
    onnx.save(model, path)
    return path


def convolution(
    path: Path,
    shape: Shape = (1, 3, 16, 16),
    *,
    seed: int = 0,
    filters: int = 4,
    scale: float = 0.1,
    operator: str = "Conv",
    domain: str = "",
    opset: int = 17,
) -> Path:
    """A convolution of random weights, and a ReLU."""
    dice = np.random.default_rng(seed)
    channels = shape[1] if isinstance(shape[1], int) else 3
    weight = (dice.standard_normal((filters, channels, 3, 3)) * scale).astype(np.float32)
    nodes = [
        helper.make_node(operator, ["image", "w"], ["y"], pads=[1, 1, 1, 1], domain=domain),
        helper.make_node("Relu", ["y"], ["maps"]),
    ]
    out = (shape[0], filters, *shape[2:])
    inputs = [("image", shape, TensorProto.FLOAT)]
    return save(path, nodes, inputs, [("maps", out)], {"w": weight}, opset)


def two_inputs(path: Path) -> Path:
    """Rows of a table by tokens (N, T), scaled by a mask (N, T)."""
    table = np.arange(8, dtype=np.float32).reshape(2, 4)
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["rows"]),
        helper.make_node("Unsqueeze", ["mask", "last"], ["columns"]),
        helper.make_node("Mul", ["rows", "columns"], ["found"]),
    ]
    free = ("batch", "length")
    inputs = [("tokens", free, TensorProto.INT64), ("mask", free, TensorProto.FLOAT)]
    weights = {"table": table, "last": np.array([2])}
    return save(path, nodes, inputs, [("found", (*free, 4))], weights)


def pixels(path: Path) -> Path:
    """Pixels (1, 16, 16, 3) less their mean."""
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["floats", "mean"], ["out"]),
    ]
    shape = (1, 16, 16, 3)
    mean = {"mean": np.full(3, 128, np.float32)}
    return save(path, nodes, [("image", shape, TensorProto.UINT8)], [("out", shape)], mean)


def logarithm(path: Path, shift: float) -> Path:
    """The logarithm of an image (1, 3, 8, 8) scaled down, plus ``shift``: NaN below zero."""
    nodes = [
        helper.make_node("Mul", ["image", "little"], ["small"]),
        helper.make_node("Add", ["small", "shift"], ["moved"]),
        helper.make_node("Log", ["moved"], ["out"]),
    ]
    weights = {"little": np.array(0.1, np.float32), "shift": np.array(shift, np.float32)}
    shape = (1, 3, 8, 8)
    return save(path, nodes, [("image", shape, TensorProto.FLOAT)], [("out", shape)], weights)
