"""The layers that ncnn runs, found without converting; what they cost, by widths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from toolchain.arm.counting import read_layers
from toolchain.arm.layer_costs import costs_of_core
from toolchain.arm.sysroot import Sysroot
from toolchain.arm.targets import find_target
from toolchain.errors import InputError
from toolchain.exporting.graph import Graph
from toolchain.exporting.ncnn.convert import convert
from toolchain.exporting.ncnn.extra import lacking_ncnn
from toolchain.exporting.ncnn.layers import Layer, Layers, Size
from toolchain.exporting.ncnn.ncnn_file import prepare
from toolchain.exporting.ncnn.opened import layers_of
from toolchain.exporting.onnx_file import export_onnx
from toolchain.pruning.groups import groups_of, zeroed_counts
from toolchain.recipe import PruneSection, default_recipe, override
from toolchain.records.run_folder import NCNN
from toolchain.surgery.flow import trace_flow
from toolchain.widths import looking
from toolchain.widths.cost_table import widths_of
from toolchain.widths.costs import Book
from toolchain.widths.looking import Board, choose_runtime, ncnn_version, open_costs
from toolchain.widths.ncnn_costs import NcnnCosts
from toolchain.widths.template import Template
from toolchain.zoo.sources import load_start

SIDE = 40
FIXED = 50_000
"""That a whole file takes beyond its layers, on a board made of arithmetic."""
NEEDS_NCNN = pytest.mark.skipif(lacking_ncnn() is not None, reason="needs the extra ncnn")


def network(stem: int, inner: int) -> onnx.ModelProto:
    """A stem of patches, convolutions that may be widened, a sum, a join, a resizing, a head."""
    random = np.random.default_rng(0)
    nodes, weights = [], []

    def layer(name: str, source: str, sizes: tuple[int, int, int], **given: object) -> str:
        out, read, kernel = sizes
        value = random.standard_normal((out, read, kernel, kernel)).astype(np.float32)
        weights.append(numpy_helper.from_array(value, f"{name}.weight"))
        weights.append(numpy_helper.from_array(np.ones(out, np.float32), f"{name}.bias"))
        inputs = [source, f"{name}.weight", f"{name}.bias"]
        pads = [kernel // 2] * 4
        nodes.append(helper.make_node("Conv", inputs, [name], pads=pads, **given))
        return name

    def relu(name: str) -> str:
        nodes.append(helper.make_node("Relu", [name], [f"{name}+"]))
        return f"{name}+"

    a = relu(layer("a", "image", (stem, 3, 5), strides=[4, 4]))
    b = relu(layer("b", a, (inner, stem, 3)))
    c = relu(layer("c", b, (inner, inner, 3)))
    d = layer("d", c, (stem, inner, 3))
    nodes.append(helper.make_node("Add", [a, d], ["sum"]))
    e = relu(layer("e", "sum", (inner, stem, 3), strides=[2, 2]))
    sizes = np.array([1, inner, SIDE, SIDE], np.int64)
    weights.append(numpy_helper.from_array(sizes, "sizes"))
    nodes.append(helper.make_node("Resize", [e, "", "", "sizes"], ["wide"], mode="nearest"))
    nodes.append(helper.make_node("Concat", [b, "wide"], ["both"], axis=1))
    layer("out", "both", (6, 2 * inner, 1))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 4 * SIDE, 4 * SIDE])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 6, SIDE, SIDE])
    graph = helper.make_graph(nodes, "net", [image], [out], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnx.shape_inference.infer_shapes(made, strict_mode=True)


def size_in(graph: Graph, name: str) -> Size | None:
    shape = graph.shape(name)
    if shape is None or len(shape) != 4:
        return None
    return shape[1] or 0, shape[2] or 0, shape[3] or 0


def layers_at(model: onnx.ModelProto) -> list[Layer]:
    graph = Graph(model)
    found = Layers(graph, (), for_detect=True)
    return [each for some in found.at(lambda name: size_in(graph, name)).values() for each in some]


def numbers(words: Sequence[str]) -> dict[str, str]:
    """What a convolution's parameters say of its cost; those that are not written are zero."""
    given = dict(word.split("=") for word in words if "=" in word)
    keys = ("0", "1", "11", "2", "12", "3", "13", "4", "14", "5", "6", "9")
    return {key: given.get(key, "0") for key in keys}


@NEEDS_NCNN
@pytest.mark.slow
@pytest.mark.parametrize(("stem", "inner"), [(8, 4), (7, 3), (5, 6)])
def test_layers_are_those_of_the_converted_file(stem: int, inner: int) -> None:
    model = network(stem, inner)
    param = convert(prepare(model, for_detect=True).model).param
    theirs = [words for words in layers_of(param) if words[0] not in ("Input", "Split")]
    ours = layers_at(model)
    assert sorted(layer.kind for layer in ours) == sorted(words[0] for words in theirs)
    convolutions = [words for words in theirs if words[0] == "Convolution"]
    assert sorted(
        str(numbers(layer.params.split())) for layer in ours if layer.kind == "Convolution"
    ) == sorted(str(numbers(words[4:])) for words in convolutions)


def test_a_width_has_the_layers_of_the_next_multiple_of_four() -> None:
    assert layers_at(network(5, 3)) == layers_at(network(8, 4))
    assert layers_at(network(9, 4)) != layers_at(network(8, 4))


def test_a_layer_is_kept_by_all_that_it_depends_on() -> None:
    layer = Layer("BinaryOp", "0=0", ((16, 80, 80), (16, 80, 80)))
    assert layer.key == "BinaryOp 0=0 of 16x80x80 16x80x80"


# Costs by widths ----------------------------------------------------------------------------------


class FourConvolutions(nn.Module):
    """So small a network that what is fixed is a large part of it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.second = nn.Conv2d(8, 12, 3, padding=1)
        self.third = nn.Conv2d(12, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) -> (N, 4, H / 2, W / 2)."""
        for layer in (self.first, self.second, self.third):
            x = torch.relu(layer(x))
        out: torch.Tensor = self.last(x)
        return out


class Arithmetic:
    """A board whose layers cost the numbers that they read, and files that and something fixed."""

    def __init__(self) -> None:
        self.layers: list[str] = []

    def __call__(
        self, layers: Sequence[Layer], files: Sequence[Path]
    ) -> tuple[list[int], list[int]]:
        self.layers += [layer.key for layer in layers]
        found = [sum(math.prod(size) for size in layer.reads) for layer in layers]
        return found, [self.whole(file) for file in files]

    def whole(self, folder: Path) -> int:
        """Read off the convolutions of a file what all read: only widths differ."""
        words = layers_of((folder / Path(NCNN).name).read_text(encoding="utf-8"))
        filters = [int(numbers(each[4:])["0"]) for each in words if each[0] == "Convolution"]
        read = [3 * SIDE**2, *(width * (SIDE // 2) ** 2 for width in filters[:-1])]
        return FIXED + sum(read)


@pytest.fixture
def opened(tmp_path: Path) -> tuple[NcnnCosts, Arithmetic]:
    network = FourConvolutions().eval()
    image = torch.zeros(1, 3, SIDE, SIDE)
    flow = trace_flow(network, image)
    export_onnx(network, image, tmp_path / "m.onnx", output_names=["out"], metadata={})
    groups = groups_of(network, flow, ("last",))
    template = Template(onnx.load(tmp_path / "m.onnx"), network, flow, groups)
    board = Arithmetic()
    book = Book.open(tmp_path, ["a board"])
    return NcnnCosts(template, ("factors",), book, board, for_detect=False), board


@NEEDS_NCNN
@pytest.mark.slow
def test_what_is_fixed_is_part_of_every_prediction(
    opened: tuple[NcnnCosts, Arithmetic], tmp_path: Path
) -> None:
    costs, board = opened
    for widths in ({}, {"first": 4}, {"first": 5, "second": 7, "third": 2}, {"second": 3}):
        costs.measure([widths], lambda _name: None)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        assert costs.total(widths) == board.whole(costs.write(widths, folder))
    assert costs.total({}) > FIXED
    fixed = [each for each in costs.operators if not each.groups]
    assert costs.measured(fixed[-1], {}) == FIXED


@NEEDS_NCNN
@pytest.mark.slow
def test_layers_are_measured_once_and_by_blocks(opened: tuple[NcnnCosts, Arithmetic]) -> None:
    costs, board = opened
    asked = len(board.layers)
    costs.measure([{"second": 8}], lambda _name: None)
    assert len(board.layers) > asked
    asked = len(board.layers)
    costs.measure([{"second": 5}, {"second": 7}], lambda _name: None)
    assert len(board.layers) == asked
    assert costs.total({"second": 5}) == costs.total({"second": 8}) < costs.total({})
    assert widths_of(12, 1, costs.block) == (4, 8, 12)


def test_widths_below_a_block_are_left_whole() -> None:
    assert widths_of(3, 1, 4) == (3,)
    assert widths_of(10, 1, 4) == (4, 8, 10)
    assert widths_of(16, 6, 4) == (4, 8, 16)


# Which runtime ------------------------------------------------------------------------------------


def board_with(tmp_path: Path, *packages: str) -> Sysroot:
    for package in packages:
        (tmp_path / f"{package}.dist-info").mkdir()
    return Sysroot(tmp_path, tmp_path, tmp_path, tmp_path, tmp_path)


@NEEDS_NCNN
def test_the_boards_fastest_runtime_is_taken_where_it_has_a_wheel(tmp_path: Path) -> None:
    target, bare = find_target("rpi4"), board_with(tmp_path)
    assert choose_runtime(None, target, bare) == "onnxruntime"
    with pytest.raises(InputError, match="Raspberry Pi 4B has no wheel of ncnn"):
        choose_runtime("ncnn", target, bare)
    ready = board_with(tmp_path, "ncnn-1.0.20261020")
    assert ncnn_version(ready) == "1.0.20261020"
    assert choose_runtime(None, target, ready) == "ncnn"
    assert choose_runtime("onnxruntime", target, ready) == "onnxruntime"


def test_what_cannot_be_counted_layer_by_layer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--runtime litert: LiteRT tells nothing"):
        choose_runtime("litert", find_target("rpi4"), board_with(tmp_path))


def test_layers_and_files_are_read_off_the_marks() -> None:
    marks = [(0x20, 100), (0x21, 350), (0x22, 380), (0x20, 500), (0x21, 700), (0x22, 730)]
    marks += [(3, 1000), (4, 5000), (3, 6000), (4, 9900)]
    text = "\n".join(f"{mark} {count} 0 0 0" for mark, count in marks)
    assert read_layers(text, 1, 1) == ([200 - 30], [3900])
    assert read_layers(text, 2, 2) == ([250 - 30, 200 - 30], [4000, 3900])
    assert read_layers("", 0, 0) == ([], [])


# The rule -----------------------------------------------------------------------------------------


@NEEDS_NCNN
@pytest.mark.slow
def test_blocks_save_at_least_half_of_the_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = costs_of_core("cortex-a72")
    assert table is not None

    def count(
        layers: Sequence[tuple[str, str, tuple[Size, ...]]], files: Sequence[Path], *_: object
    ) -> tuple[list[int], list[int]]:
        assert table is not None
        return [table.of(Layer(*each).key) for each in layers], [0] * len(files)

    monkeypatch.setattr(looking, "count_layers", count)
    size: dict[str, object] = {"input.height": 320, "input.width": 320, "prune.rate": None}
    loaded = load_start(override(default_recipe("eresfd"), size), None)
    board = Board(find_target("rpi4"), board_with(tmp_path, "ncnn-1.0"), tmp_path, "ncnn")
    costs = open_costs(loaded, board, lambda _name: None)
    groups = tuple(costs.template.groups.values())
    total = costs.measured_total(lambda _name: None)
    for rate in (0.1, 0.2, 0.3, 0.4, 0.5):
        counts = zeroed_counts(groups, PruneSection(rate=rate, align=4))
        left = {group.name: group.width - counts[group.name] for group in groups}
        assert total(left) <= (1 - 0.5 * rate) * total({})
