"""ncnn files of sequences and tokens: axes that the converter mistakes, and what it lacks."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from sequences import Encoder, Focus, Last, Line, OneAxis, Packed, Rows, Started, Weights, Windows
from torch import nn

from toolchain.deploy.detector.ncnn_file import NcnnRunner
from toolchain.errors import ExportError
from toolchain.exporting.graph import Graph
from toolchain.exporting.ncnn.convert import convert
from toolchain.exporting.ncnn.ncnn_file import prepare, write_ncnn
from toolchain.exporting.ncnn.order import AXES, plain_order
from toolchain.exporting.onnx_file import export_onnx
from toolchain.exporting.rewriting import Rewrites
from toolchain.records.run_folder import NCNN_FOLDER
from toolchain.system.sessions import open_session

pytest.importorskip("ncnn")
pytest.importorskip("pnnx")

IMAGE = (1, 1, 8, 12)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        Line,
        lambda: Line(nn.GRU, both=False),
        lambda: Last(nn.LSTM, both=True),
        lambda: Last(nn.GRU, both=False),
        lambda: Last(nn.RNN, both=True),
        Started,
        Rows,
        Packed,
        lambda: Encoder(first=True),
        lambda: Encoder(first=False),
        Weights,
        Windows,
        OneAxis,
        Focus,
    ],
)
def test_sequences_and_tokens_give_in_the_runtime_what_they_give(
    make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = make().eval()
    example = torch.randn(IMAGE)
    with torch.no_grad():
        found = network(example)
    theirs = found if isinstance(found, tuple) else (found,)
    names = [f"out{index}" for index in range(len(theirs))]
    path = tmp_path / "m.onnx"
    export_onnx(network, example, path, output_names=names, metadata={}, rewrites=Rewrites(()))
    write_ncnn(onnx.load(path), tmp_path, texts={}, for_detect=False)
    runner = NcnnRunner(tmp_path / NCNN_FOLDER, 1)
    for ours, wanted in zip(runner.run(runner.fed(example.numpy())), theirs, strict=True):
        assert ours.shape == wanted.shape
        assert np.abs(ours - wanted.numpy()).max() <= 1e-5 * wanted.abs().max().item()


# Order --------------------------------------------------------------------------------------------


def model_of(
    nodes: list[onnx.NodeProto],
    read: tuple[int, ...],
    given: tuple[int, ...] | None,
    constants: dict[str, np.ndarray],
) -> onnx.ModelProto:
    """A model of one input, x, and one output, y."""
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, read)
    end = helper.make_tensor_value_info("y", TensorProto.FLOAT, given)
    graph = helper.make_graph(nodes, "net", [entry], [end], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnx.shape_inference.infer_shapes(made, strict_mode=True)


def outputs_of(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    found: np.ndarray = open_session(model.SerializeToString()).run(None, {"x": x})[0]
    return found


@st.composite
def grouped(draw: st.DrawFn, numbers: int) -> list[int]:
    """Sides of a value of so many numbers."""
    factors = [1, 1]
    while (left := numbers // math.prod(factors)) > 1:
        factors.append(draw(st.sampled_from([side for side in (2, 3, 4, 6) if left % side == 0])))
    return draw(st.permutations(factors))


@st.composite
def ways(draw: st.DrawFn) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """Reshapings and transpositions, one after the other, between two operators of numbers."""
    axes = draw(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=2, max_size=7))
    read, nodes, constants = tuple(axes), [helper.make_node("Relu", ["x"], ["v0"])], {}
    for count in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            perm = draw(st.permutations(range(len(axes))))
            axes = [axes[index] for index in perm]
            node = helper.make_node("Transpose", [f"v{count}"], [f"v{count + 1}"], perm=perm)
        else:
            axes = draw(grouped(math.prod(axes)))
            constants[f"s{count}"] = np.array(axes, np.int64)
            node = helper.make_node("Reshape", [f"v{count}", f"s{count}"], [f"v{count + 1}"])
        nodes.append(node)
    nodes.append(helper.make_node("Neg", [nodes[-1].output[0]], ["y"]))
    return model_of(nodes, read, tuple(axes), constants), read


@given(case=ways())
@settings(max_examples=60, deadline=None)
def test_values_are_in_the_same_order_with_few_axes(
    case: tuple[onnx.ModelProto, tuple[int, ...]],
) -> None:
    model, sides = case
    x = np.arange(1, 1 + math.prod(sides), dtype=np.float32).reshape(sides)
    before = outputs_of(model, x)
    graph = Graph(model)
    written = plain_order(graph)
    graph.write()
    assert np.array_equal(outputs_of(model, x), before)
    graph = Graph(model)
    shapes = [graph.shape(node.input[0]) for node in graph.nodes if node.op_type == "Transpose"]
    assert not written or all(shape and shape[0] == 1 and len(shape) <= AXES for shape in shapes)


# What is refused ----------------------------------------------------------------------------------


def recurrent(
    kind: str = "LSTM", gates: int = 4, reads: tuple[str, ...] = (), ways: int = 1, **given: object
) -> onnx.ModelProto:
    """A layer that gives its states as ONNX has them, (T, directions, N, H)."""
    random = np.random.default_rng(0)
    count = 1 if ways > 1 else 2
    constants = {
        "w": random.standard_normal((ways, gates * 5, 8)).astype(np.float32),
        "r": random.standard_normal((ways, gates * 5, 5)).astype(np.float32),
        "s": np.array([12 // count, count, 8], np.int64),
        "first": random.standard_normal((ways, count, 5)).astype(np.float32),
        "lengths": np.array([6, 3], np.int32),
    }
    if ways > 1:
        given["direction"] = "bidirectional"
    inputs = ["steps", "w", "r", *reads]
    nodes = [
        helper.make_node("Reshape", ["x", "s"], ["steps"]),
        helper.make_node(kind, inputs, ["y"], name="reader", hidden_size=5, **given),
    ]
    return model_of(nodes, IMAGE, (12 // count, ways, count, 5), constants)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (recurrent(direction="reverse"), "LSTM reader: it goes through time backwards alone"),
        (recurrent(activations=["Relu", "Tanh", "Tanh"]), "its activations are Relu, Tanh, Tanh"),
        (recurrent("GRU", 3), "GRU reader: it resets its state before the product"),
        (recurrent(clip=3.0), "it has a layout, a clip or an input_forget"),
        (recurrent(reads=("", "lengths")), "it is given the lengths of sequences"),
        (recurrent(reads=("", "", "first")), "first states of 2 sequences, and one is possible"),
        (
            recurrent(reads=("", "", "first"), ways=2),
            "first states of both directions are constant",
        ),
    ],
)
def test_a_recurrent_layer_that_the_runtime_has_not_is_named(
    model: onnx.ModelProto, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=f"{reason}.*; use the ONNX file"):
        write_ncnn(model, tmp_path, texts={}, for_detect=False)
    assert not (tmp_path / NCNN_FOLDER).exists()


def test_a_layer_that_does_not_open_is_named() -> None:
    with pytest.raises(ExportError, match=r"does not open .* \(LSTM .*\); use the ONNX file"):
        convert(recurrent())


def test_a_file_that_gives_another_number_of_values_is_refused() -> None:
    nodes = [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)]
    model = model_of(nodes, IMAGE, (1, 1, 8), {"axes": np.array([3], np.int64)})
    with pytest.raises(ExportError, match="numbers for y, which has 8"):
        convert(model)
    convert(prepare(model, for_detect=False).model)
