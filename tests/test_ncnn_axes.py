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
from torch import Tensor, nn
from torch.nn import functional as F

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
Layer = type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]


class Line(nn.Module):
    """Text in a line, as CRNN reads it: time first, states flattened for the layer after them."""

    def __init__(self, layer: Layer = nn.LSTM, both: bool = True) -> None:
        super().__init__()
        self.columns = nn.Conv2d(1, 6, 3, (4, 1), 1)
        self.layer = layer(12, 10, bidirectional=both)
        self.last = nn.Linear(20 if both else 10, 5)

    def forward(self, x: Tensor) -> Tensor:
        """(1, 1, 8, W) -> (W, 1, 5)."""
        states, _ = self.layer(self.columns(x).flatten(1, 2).permute(2, 0, 1))
        steps, sequences, width = states.shape
        out: Tensor = self.last(states.view(steps * sequences, width))
        return out.view(steps, sequences, -1)


class Last(nn.Module):
    """A classifier by the last states, and all of them."""

    def __init__(self, layer: Layer, both: bool) -> None:
        super().__init__()
        self.columns = nn.Conv2d(1, 6, 3, (4, 1), 1)
        self.layer = layer(12, 10, num_layers=2, bidirectional=both, batch_first=True)
        self.last = nn.Linear(20 if both else 10, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 1, 8, W) -> (1, 5), (1, W, states)."""
        states, last = self.layer(self.columns(x).flatten(1, 2).transpose(1, 2))
        last = last[0] if isinstance(last, tuple) else last
        ways = last[-2:] if self.layer.bidirectional else last[-1:]
        return self.last(torch.cat(list(ways), 1)), states


class Rows(nn.Module):
    """Each row of a picture is a sequence, all at once."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.map = nn.Conv2d(1, 8, 3, 1, 1), nn.Conv2d(12, 3, 1)
        self.layer = nn.LSTM(8, 6, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 1, H, W) -> (1, 3, H, W), (1, 12)."""
        x = self.features(x)
        batch, channels, high, wide = x.shape
        x = x.permute(0, 2, 3, 1).reshape(batch * high, wide, channels)
        states, (last, _) = self.layer(x)
        states = states.reshape(batch, high, wide, -1).permute(0, 3, 1, 2)
        return self.map(states), last.transpose(0, 1).reshape(batch, high, -1).mean(1)


class Packed(nn.Module):
    """Attention as ViT packs it: queries, keys and values in one, taken apart by heads."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.packed = nn.Conv2d(1, 16, 2, 2), nn.Linear(16, 48)
        self.first = nn.Parameter(torch.randn(1, 1, 16))
        self.norm, self.last = nn.LayerNorm(16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """(1, 1, 8, 12) -> (1, 5)."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1)
        batch, tokens, width = x.shape
        packed = self.packed(x).reshape(batch, tokens, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
        query, key, value = packed.unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.last(self.norm(mixed.transpose(1, 2).reshape(batch, tokens, width)))
        return out[:, 0]


class Encoder(nn.Module):
    """PyTorch's own encoder, tokens first or the batch, the mean of all tokens at its end."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first, self.patches = first, nn.Conv2d(1, 16, 4, 4)
        layer = nn.TransformerEncoderLayer(
            16, 4, 32, activation="gelu", batch_first=first, norm_first=first
        )
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.last = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """(1, 1, 8, 12) -> (1, 5)."""
        x = self.patches(x).flatten(2)
        x = self.layers(x.transpose(1, 2) if self.first else x.permute(2, 0, 1))
        out: Tensor = self.last(x.mean(1 if self.first else 0))
        return out


class Weights(nn.Module):
    """PyTorch's attention with the weights that it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 16, 2, 2)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 1, 8, 12) -> (1, 24, 16), (1, 24, 24)."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        out: tuple[Tensor, Tensor] = self.attention(x, x, x)
        return out


class Windows(nn.Module):
    """Attention within windows of 4x4, shifted by two, as Swin has it."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.packed = nn.Conv2d(1, 8, 1), nn.Linear(8, 24)
        self.bias = nn.Parameter(torch.randn(2, 16, 16))

    def forward(self, x: Tensor) -> Tensor:
        """(1, 1, 8, 12) -> (1, 8, 8, 12)."""
        x = self.features(x).permute(0, 2, 3, 1)
        batch, high, wide, width = x.shape
        x = torch.roll(x, (-2, -2), (1, 2)).view(batch, high // 4, 4, wide // 4, 4, width)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, width)
        packed = self.packed(x).reshape(len(x), 16, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        query, key, value = packed.unbind(0)
        weights = (query @ key.transpose(-2, -1) + self.bias).softmax(-1)
        x = (weights @ value).transpose(1, 2).reshape(len(x), 16, width)
        x = x.view(batch, high // 4, wide // 4, 4, 4, width).permute(0, 1, 3, 2, 4, 5)
        x = torch.roll(x.reshape(batch, high, wide, width), (2, 2), (1, 2))
        return x.permute(0, 3, 1, 2)


class OneAxis(nn.Module):
    """Sums, means and the largest along one axis, of the batch's own too."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 6, 3, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(1, 1, 8, 12) -> four of one axis less."""
        x = self.features(x)
        return x.mean(1), x.sum(2), x.amax(3), x[0].amax(0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        Line,
        lambda: Line(nn.GRU, both=False),
        lambda: Last(nn.LSTM, both=True),
        lambda: Last(nn.GRU, both=False),
        lambda: Last(nn.RNN, both=True),
        Rows,
        Packed,
        lambda: Encoder(first=True),
        lambda: Encoder(first=False),
        Weights,
        Windows,
        OneAxis,
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


def recurrent(kind: str = "LSTM", gates: int = 4, **given: object) -> onnx.ModelProto:
    """A layer that gives its states as ONNX has them, (T, directions, N, H)."""
    random = np.random.default_rng(0)
    constants = {
        "w": random.standard_normal((1, gates * 5, 8)).astype(np.float32),
        "r": random.standard_normal((1, gates * 5, 5)).astype(np.float32),
        "s": np.array([12, 1, 8], np.int64),
    }
    nodes = [
        helper.make_node("Reshape", ["x", "s"], ["steps"]),
        helper.make_node(kind, ["steps", "w", "r"], ["y"], name="reader", hidden_size=5, **given),
    ]
    return model_of(nodes, IMAGE, (12, 1, 1, 5), constants)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (recurrent(direction="reverse"), "LSTM reader: it goes through time backwards alone"),
        (recurrent(activations=["Relu", "Tanh", "Tanh"]), "its activations are Relu, Tanh, Tanh"),
        (recurrent("GRU", 3), "GRU reader: it resets its state before the product"),
        (recurrent(clip=3.0), "it has a layout, a clip or an input_forget"),
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
