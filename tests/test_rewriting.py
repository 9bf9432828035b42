"""Rewrites of ONNX graphs: each applies where it says, and gives what was there before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from toolchain.cli.options import files
from toolchain.errors import InputError
from toolchain.exporting.rewriting import LACKING, LEAKY, ON_GRAPHS, Rewrites, rows
from toolchain.recipe import REWRITES
from toolchain.records.stages import Rewritten

SIDE = 12
CLOSE = 1e-5
"""Of the largest value anywhere in the graph: float rounding, several sums deep."""


class Maker:
    """Builds a model with the input ``image`` (1, 4, SIDE, SIDE), node by node."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.sizes = {"image": (4, SIDE)}
        """Channels and side of each value."""

    def constant(self, value: object, name: str = "") -> str:
        name = name or f"k{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def node(self, kind: str, *inputs: str, size: tuple[int, int], **given: object) -> str:
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"n_{output}", **given))
        self.sizes[output] = size
        return output

    def conv(
        self, value: str, filters: int, kernel: int = 3, stride: int = 1, *, bias: bool = True,
        depthwise: bool = False, weight: str = "",
    ) -> str:  # fmt: skip
        channels, side = self.sizes[value]
        filters, each = (channels, 1) if depthwise else (filters, channels)
        shape = (filters, each, kernel, kernel)
        weight = weight or self.constant(self.random.normal(0, 0.4, shape).astype(np.float32))
        names = [value, weight]
        if bias:
            names.append(self.constant(self.random.normal(0, 1, filters).astype(np.float32)))
        size = (filters, -(-side // stride))
        pads = [kernel // 2] * 4
        group = channels if depthwise else 1
        return self.node("Conv", *names, size=size, pads=pads, strides=[stride] * 2, group=group)

    def times(self, value: str, number: float, kind: str = "Mul", *, first: bool = False) -> str:
        names = [value, self.constant(np.float32(number))]
        return self.node(kind, *(names[::-1] if first else names), size=self.sizes[value])

    def same(self, kind: str, *values: str, **given: object) -> str:
        return self.node(kind, *values, size=self.sizes[values[0]], **given)

    def doubled(self, value: str, mode: str = "nearest") -> str:
        channels, side = self.sizes[value]
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        return self.node("Resize", value, "", scales, size=(channels, 2 * side), mode=mode)

    def largest(self, value: str) -> str:
        axes = self.constant(np.array([1], np.int64))
        return self.node("ReduceMax", value, axes, size=(1, self.sizes[value][1]), keepdims=1)

    def model(self, *outputs: str) -> onnx.ModelProto:
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 4, SIDE, SIDE])
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size[0], size[1], size[1]])
            for name in dict.fromkeys(outputs)
            for size in (self.sizes[name],)
        ]
        tensors = [
            onnx.numpy_helper.from_array(each, name) for name, each in self.constants.items()
        ]
        graph = helper.make_graph(self.nodes, "graph", [image], ends, tensors)
        opset = helper.make_opsetid("", 18)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
        return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def run(model: onnx.ModelProto, image: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {"image": image})


def rewritten(model: onnx.ModelProto, *names: str) -> tuple[onnx.ModelProto, Mapping[str, int]]:
    """A rewritten copy, and what each rewrite changed; the outputs are those of the model."""
    told: list[Rewritten] = []
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    applied = list(Rewrites(names, told.append).of_model(copy))
    onnx.checker.check_model(copy, full_check=True)
    assert applied == [each.name for each in told if each.changed]
    assert all((each.lacking is None) == (each.changed > 0) for each in told)
    assert applied or copy == model
    assert not unread(copy)
    compare(model, copy)
    return copy, {each.name: each.changed for each in told}


def unread(model: onnx.ModelProto) -> set[str]:
    read = {name for node in model.graph.node for name in node.input}
    return {tensor.name for tensor in model.graph.initializer} - read


def compare(model: onnx.ModelProto, other: onnx.ModelProto) -> None:
    image = np.random.default_rng(7).normal(0, 1, (1, 4, SIDE, SIDE)).astype(np.float32)
    every = onnx.ModelProto()
    every.CopyFrom(model)
    ends = {output.name for output in model.graph.output}
    every.graph.output.extend(each for each in model.graph.value_info if each.name not in ends)
    largest = max(float(np.abs(value).max()) for value in run(every, image))
    for before, after in zip(run(model, image), run(other, image), strict=True):
        assert before.shape == after.shape
        np.testing.assert_allclose(after, before, rtol=0, atol=CLOSE * max(largest, 1.0))


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def test_every_name_is_known_and_says_what_it_lacks() -> None:
    assert (LEAKY, *ON_GRAPHS) == REWRITES == tuple(LACKING)


def test_the_command_line_knows_the_names() -> None:
    assert files._rewrites("none") == []
    assert files._rewrites("default") == [*REWRITES]
    assert files._rewrites("rows, heads") == ["rows", "heads"]
    for text, got in (("heads,foo", "foo"), ("", "")):
        with pytest.raises(InputError, match=rf"of leaky, factors, .*rows \(got {got}"):
            files._rewrites(text)


@pytest.mark.parametrize("name", ON_GRAPHS)
def test_what_does_not_apply_leaves_the_graph_as_it_is(name: str) -> None:
    make = Maker()
    _, changed = rewritten(make.model(make.conv("image", 4)), name)
    assert changed == {name: 0}


class TestFactors:
    def pyramid(self, make: Maker, a: float, b: float) -> str:
        """A level as EResFD sums it: (a * lateral + b * upsampled) / (a + b), then a reader."""
        fine = make.conv("image", 4)
        coarse = make.conv(fine, 4, stride=2)
        lateral = make.times(make.same("Relu", make.conv(fine, 4, 1)), a, first=True)
        above = make.times(make.doubled(coarse), b)
        total = make.times(make.same("Add", lateral, above), a + b, "Div")
        return make.conv(total, 4)

    def test_a_weighted_sum_costs_one_addition(self) -> None:
        make = Maker()
        model, changed = rewritten(make.model(self.pyramid(make, 0.3, 0.6)), "factors")
        assert changed == {"factors": 3}
        assert kinds(model) == {"Conv": 4, "Relu": 1, "Resize": 1, "Add": 1}

    def test_a_value_with_other_readers_gives_its_factor_to_the_sum(self) -> None:
        make = Maker()
        seen = make.conv("image", 4)
        lateral = make.same("Relu", make.conv("image", 4))
        total = make.conv(make.same("Add", lateral, make.times(seen, 0.25)), 4)
        model, changed = rewritten(make.model(total, seen), "factors")
        assert changed == {"factors": 1}
        assert kinds(model) == {"Conv": 3, "Relu": 1, "Add": 1}

    def test_nought_takes_its_whole_branch_away(self) -> None:
        make = Maker()
        model, _ = rewritten(make.model(self.pyramid(make, 0.5, 0.0)), "factors")
        assert kinds(model) == {"Conv": 3, "Relu": 1}

    def test_nought_that_gives_the_sum_its_shape_stays(self) -> None:
        make = Maker()
        wide, narrow = make.times("image", 0.0), make.conv("image", 1)
        total = make.node("Add", wide, narrow, size=(4, SIDE))
        _, changed = rewritten(make.model(make.conv(total, 2)), "factors")
        assert changed == {"factors": 0}

    def test_negative_factors_stay_behind_a_relu(self) -> None:
        make = Maker()
        value = make.times(make.same("Relu", make.conv("image", 4)), -2.0)
        _, changed = rewritten(make.model(make.same("Relu", value)), "factors")
        assert changed == {"factors": 0}

    @pytest.mark.parametrize("number", [-2.0, 3.0])
    def test_either_neighbour_takes_a_factor(self, number: float) -> None:
        for before in (True, False):
            make = Maker()
            value = make.conv("image", 4) if before else "image"
            value = make.times(value, number)
            value = make.same("Relu", value) if before else make.conv(value, 4)
            model, changed = rewritten(make.model(value), "factors")
            assert changed == {"factors": 1}
            assert kinds(model)["Mul"] == 0

    @pytest.mark.parametrize("number", [1e-6, 1e6, float("inf")])
    def test_extreme_factors_stay(self, number: float) -> None:
        make = Maker()
        model = make.model(make.conv(make.times("image", number), 4))
        told: list[Rewritten] = []
        assert not list(Rewrites(("factors",), told.append).of_model(model))

    def test_weights_that_others_read_stay(self) -> None:
        make = Maker()
        weight = make.constant(np.ones((4, 4, 3, 3), np.float32))
        first = make.conv("image", 4, weight=weight)
        second = make.conv(make.times(first, 2.0), 4, weight=weight)
        _, changed = rewritten(make.model(make.same("Tanh", second)), "factors")
        assert changed == {"factors": 0}

    def test_an_output_keeps_its_factor(self) -> None:
        make = Maker()
        value = make.conv("image", 4)
        scaled = make.times(value, 2.0)
        _, changed = rewritten(make.model(scaled, make.conv(scaled, 2)), "factors")
        assert changed == {"factors": 0}


class TestHeads:
    def test_boxes_and_scores_become_one(self) -> None:
        make = Maker()
        ends = [make.conv("image", 4, 1), make.conv("image", 2, 1, bias=False)]
        model, changed = rewritten(make.model(*ends), "heads")
        assert changed == {"heads": 1}
        assert kinds(model) == {"Conv": 1, "Slice": 2}

    def test_the_same_weights_give_the_same_bits(self) -> None:
        make = Maker()
        model = make.model(make.conv("image", 4, 1), make.conv("image", 4, 1))
        other, _ = rewritten(model, "heads")
        image = np.ones((1, 4, SIDE, SIDE), np.float32)
        for before, after in zip(run(model, image), run(other, image), strict=True):
            np.testing.assert_array_equal(before, after)

    def test_other_kernels_strides_inputs_and_fused_ones_stay_apart(self) -> None:
        make = Maker()
        first = make.conv("image", 4, 3)
        ends = [first, make.conv("image", 4, 1), make.conv("image", 4, 3, 2), make.conv(first, 4)]
        ends.append(make.same("Relu", make.conv("image", 4)))
        _, changed = rewritten(make.model(*ends), "heads")
        assert changed == {"heads": 0}

    def test_depthwise_convolutions_of_the_parts_become_one(self) -> None:
        make = Maker()
        first = [make.conv("image", filters, 1) for filters in (1, 4, 3)]
        ends = [make.conv(value, 0, depthwise=True, bias=value != first[1]) for value in first]
        ends.append(make.same("Tanh", make.same("Neg", ends[2])))
        make.nodes.append(make.nodes.pop(3))  # the first part's convolution comes last
        model, changed = rewritten(make.model(*ends), "heads")
        assert changed == {"heads": 4}
        assert kinds(model) == {"Conv": 2, "Slice": 3, "Neg": 1, "Tanh": 1}
        deep = next(n for n in model.graph.node if n.op_type == "Conv" and n.input[0] != "image")
        assert {each.name: each.i for each in deep.attribute}["group"] == 8

    @pytest.mark.parametrize("how", ["stride", "activation", "read", "whole"])
    def test_depthwise_convolutions_that_differ_stay_apart(self, how: str) -> None:
        make = Maker()
        one, other = make.conv("image", 2, 1), make.conv("image", 4, 1)
        stride = 2 if how == "stride" else 1
        ends = [make.conv(one, 0, depthwise=True), make.conv(other, 0, 3, stride, depthwise=True)]
        ends += [make.same("Relu", ends[0])] if how == "activation" else []
        ends += [make.same("Neg", one)] if how == "read" else []
        ends = [*ends[1:], make.conv(one, 3)] if how == "whole" else ends
        _, changed = rewritten(make.model(*ends), "heads")
        assert changed == {"heads": 1}


def test_largest_of_three_is_taken_by_comparing() -> None:
    make = Maker()
    model = make.model(make.largest(make.conv("image", 3)))
    other, changed = rewritten(model, "largest")
    assert changed == {"largest": 1}
    assert kinds(other) == {"Conv": 1, "Split": 1, "Max": 1}
    image = np.random.default_rng(1).normal(0, 1, (1, 4, SIDE, SIDE)).astype(np.float32)
    np.testing.assert_array_equal(run(model, image)[0], run(other, image)[0])


@pytest.mark.parametrize("channels", [1, 9])
def test_one_channel_and_many_are_reduced_as_before(channels: int) -> None:
    make = Maker()
    _, changed = rewritten(make.model(make.largest(make.conv("image", channels))), "largest")
    assert changed == {"largest": 0}


class TestRows:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rows, "PIXELS", 1)

    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("kernel", [3, 5])
    def test_narrowing_convolutions_are_summed_row_by_row(self, kernel: int, bias: bool) -> None:
        make = Maker()
        model, changed = rewritten(make.model(make.conv("image", 2, kernel, bias=bias)), "rows")
        assert changed == {"rows": 1}
        assert kinds(model) == {"Conv": 1, "Slice": kernel, "Add": kernel - 1}

    def test_a_stride_wide_convolutions_and_points_stay(self) -> None:
        make = Maker()
        ends = [make.conv("image", 2, stride=2), make.conv("image", 3), make.conv("image", 2, 1)]
        _, changed = rewritten(make.model(*ends), "rows")
        assert changed == {"rows": 0}


def test_rows_leaves_small_features() -> None:
    make = Maker()
    assert SIDE * SIDE < rows.PIXELS
    _, changed = rewritten(make.model(make.conv("image", 2)), "rows")
    assert changed == {"rows": 0}


def test_graphs_with_branches_are_left_alone() -> None:
    make = Maker()
    value = make.conv(make.times("image", 2.0), 2)
    inner = helper.make_graph(
        [helper.make_node("Identity", [value], ["inner"])],
        "inner",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    yes = make.constant(np.array(True))
    ends = make.node("If", yes, size=(2, SIDE), then_branch=inner, else_branch=inner)
    told: list[Rewritten] = []
    assert not list(Rewrites(REWRITES, told.append).of_model(make.model(ends)))
    assert all("branches" in (each.lacking or "") for each in told)


NUMBERS = st.sampled_from([0.0, 1e-6, 0.01, 0.3, 1.0, 2.5, -0.7, 40.0])
STEPS = ("conv", "head", "rectify", "times", "over", "add", "double", "largest", "strided")


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    """Random graphs in which all that rewrites look for occurs, side by side with all that stops
    them: values with several readers, outputs in the middle, shared weights, odd sides."""
    make = Maker(draw(st.integers(0, 2**16)))
    shared: dict[tuple[int, ...], str] = {}
    for kind in draw(st.lists(st.sampled_from(STEPS), min_size=3, max_size=10)):
        names = list(make.sizes)
        value = names[draw(st.integers(0, min(2, len(names) - 1)).map(lambda back: -1 - back))]
        grow(make, draw, kind, value, shared)
    read = {name for node in make.nodes for name in node.input}
    ends = [name for name in make.sizes if name not in read]
    extra = draw(st.lists(st.sampled_from(list(make.sizes)[1:]), max_size=2))
    return make.model(*ends, *extra)


def grow(
    make: Maker, draw: st.DrawFn, kind: str, value: str, shared: dict[tuple[int, ...], str]
) -> None:
    channels, side = make.sizes[value]
    if kind in ("conv", "head"):
        convolve(make, draw, value, shared)
        if kind == "head":
            make.conv(value, draw(st.integers(1, 3)), draw(st.sampled_from([1, 3])))
    elif kind == "times":
        make.times(value, draw(NUMBERS), first=draw(st.booleans()))
    elif kind == "over":
        make.times(value, draw(NUMBERS.filter(bool)), "Div")
    elif kind == "add":
        fitting = [name for name, size in make.sizes.items() if size == (channels, side)]
        make.same("Add", value, draw(st.sampled_from(fitting)))
    elif kind == "double":
        make.doubled(value, draw(st.sampled_from(["nearest", "linear"])))
    elif kind == "largest":
        make.largest(value)
    elif kind == "strided":
        make.conv(value, channels, stride=2, depthwise=True)
    else:
        make.same(draw(st.sampled_from(["Relu", "LeakyRelu"])), value)


def convolve(make: Maker, draw: st.DrawFn, value: str, shared: dict[tuple[int, ...], str]) -> None:
    filters, kernel = draw(st.integers(1, 6)), draw(st.sampled_from([1, 3]))
    shape, weight = (filters, make.sizes[value][0], kernel, kernel), ""
    if draw(st.integers(0, 3)) == 0:
        given = make.random.normal(0, 0.4, shape).astype(np.float32)
        weight = shared.setdefault(shape, make.constant(given, f"shared{shape}"))
    stride, bias = draw(st.sampled_from([1, 1, 2])), draw(st.booleans())
    make.conv(value, filters, kernel, stride, bias=bias, weight=weight)


@pytest.fixture(scope="module")
def every_size() -> Iterator[None]:
    before, rows.PIXELS = rows.PIXELS, 1
    yield
    rows.PIXELS = before


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(model=models(), names=st.lists(st.sampled_from(list(ON_GRAPHS)), min_size=1, unique=True))
@pytest.mark.usefixtures("every_size")
def test_rewrites_keep_what_random_graphs_give(
    model: onnx.ModelProto, names: Sequence[str]
) -> None:
    once, _ = rewritten(model, *names)
    if "factors" in names:
        assert all(gone == 0 for _, gone in rewritten(once, "factors")[1].items())
