"""Costs of widths and plans, on a board made of arithmetic: its counts are known in closed form."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from toolchain.arm.counting import Ran
from toolchain.checking.cost import count_parameters
from toolchain.errors import AnalysisError, InputError
from toolchain.exporting.fold import fold_batch_norm
from toolchain.models.registry import build
from toolchain.pruning.groups import groups_of
from toolchain.pruning.zeroing import zero_filters
from toolchain.recipe import default_recipe, override
from toolchain.records.cost_tables import GroupCost
from toolchain.records.timings import OperatorCount
from toolchain.surgery.flow import trace_flow
from toolchain.surgery.removing import shrink
from toolchain.widths import planning
from toolchain.widths.choosing import Problem
from toolchain.widths.cost_table import apart_groups, measure_group_costs, widths_of
from toolchain.widths.costs import Book, Costs
from toolchain.widths.free_shapes import free_shape
from toolchain.widths.importance import Importance
from toolchain.widths.looking import deploy
from toolchain.widths.parameters import parameter_problem
from toolchain.widths.template import Template

torch.set_num_threads(1)
SIDE = 6


class Chain(nn.Module):
    """A stream that stem and end write, one layer between them, and a depthwise one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.inner = nn.Conv2d(8, 6, 3, padding=1)
        self.deep = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.end = nn.Conv2d(6, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) -> (N, 2, H, W)."""
        x = self.stem(x)
        out: torch.Tensor = self.head(x + self.end(self.deep(self.inner(x))))
        return out


def exported(network: nn.Module) -> onnx.ModelProto:
    """The file of it, by hand: the same names, in a moment."""
    way = [
        ("stem", "image", "a"), ("inner", "a", "b"), ("deep", "b", "c"), ("end", "c", "d"),
        ("head", "f", "out"),
    ]  # fmt: skip
    nodes, weights = [], []
    for layer, source, result in way:
        module = network.get_submodule(layer)
        assert isinstance(module, nn.Conv2d)
        for kind in ("weight", "bias"):
            value = module.get_parameter(kind).detach().numpy()
            weights.append(numpy_helper.from_array(value, f"{layer}.{kind}"))
        inputs = [source, f"{layer}.weight", f"{layer}.bias"]
        pads = [int(module.padding[0])] * 4
        nodes.append(helper.make_node("Conv", inputs, [result], pads=pads, group=module.groups))
    weights.append(numpy_helper.from_array(np.array([1, 8, SIDE, SIDE], np.int64), "sizes"))
    nodes.insert(4, helper.make_node("Resize", ["d", "", "", "sizes"], ["e"], mode="nearest"))
    nodes.insert(5, helper.make_node("Add", ["a", "e"], ["f"]))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 2, SIDE, SIDE])
    graph = helper.make_graph(nodes, "chain", [image], [out], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def template_of(network: nn.Module | None = None) -> Template:
    network = (network or Chain()).eval()
    flow = trace_flow(network, torch.zeros(1, 3, 32, 32))
    return Template(exported(network), network, flow, groups_of(network, flow, ("head",)))


def up(size: int) -> int:
    """To the next multiple of four: the steps of this board's kernels."""
    return math.ceil(size / 4) * 4


class Arithmetic:
    """A board: a convolution costs what its padded weight has, anything else its output."""

    def __init__(self) -> None:
        self.files = 0

    def __call__(self, paths: Sequence[Path]) -> list[Ran]:
        self.files += len(paths)
        return [self._ran(onnx.load(path)) for path in paths]

    def _ran(self, model: onnx.ModelProto) -> Ran:
        onnx.checker.check_model(model, full_check=True)
        shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
        for value in [*inferred.value_info, *inferred.output, *inferred.input]:
            shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        counts = []
        for node in model.graph.node:
            if node.op_type == "Conv":
                out, read = shapes[node.input[1]][:2]
                cost = 100 * up(out) * read
            else:
                cost = math.prod(shapes[node.output[0]])
            counts.append(OperatorCount(node.name, node.op_type, cost))
        told = tuple((len(n.input), (shapes[n.output[0]],)) for n in model.graph.node)
        return Ran(tuple(counts), told)


def expected(stream: int, inner: int) -> int:
    """What this board takes for the chain, by hand."""
    convolutions = up(stream) * 3 + up(inner) * stream + up(inner) + up(stream) * inner + 4 * stream
    return 100 * convolutions + 2 * stream * SIDE * SIDE


@pytest.fixture
def board() -> Arithmetic:
    return Arithmetic()


@pytest.fixture
def costs(tmp_path: Path, board: Arithmetic) -> Costs:
    return Costs(template_of(), Book.open(tmp_path, ["a board"]), board)


def falling() -> Importance:
    """What widths lose, made up: the stream matters twice as much."""
    return Importance(
        {
            "stem": {width: -2 * math.log(width / 8) for width in range(1, 9)},
            "inner": {width: -math.log(width / 6) for width in range(1, 7)},
        }
    )


def silent(_name: str) -> None:
    """Hear nothing of stages."""


# Files of other widths ----------------------------------------------------------------------------


def test_a_file_of_other_widths_has_the_shapes_of_a_shrunk_network() -> None:
    file = template_of().file({"stem": 5, "inner": 2})
    onnx.checker.check_model(file, full_check=True)
    shapes = {tensor.name: list(tensor.dims) for tensor in file.graph.initializer}
    assert shapes["stem.weight"] == [5, 3, 3, 3]
    assert shapes["inner.weight"] == [2, 5, 3, 3]
    assert shapes["deep.weight"] == [2, 1, 3, 3]
    assert shapes["end.weight"] == [5, 2, 3, 3]
    assert shapes["end.bias"] == [5]
    assert shapes["head.weight"] == [2, 5, 1, 1]


def test_a_file_that_is_not_the_networks_is_refused() -> None:
    network = Chain().eval()
    flow = trace_flow(network, torch.zeros(1, 3, 32, 32))
    groups = groups_of(network, flow, ("head",))
    model = exported(network)
    model.graph.initializer[0].name = "another"
    model.graph.node[0].input[1] = "another"
    with pytest.raises(AnalysisError, match=r"stem\.weight is not in the exported file"):
        Template(model, network, flow, groups)


class Flattened(nn.Module):
    """A convolution whose cells a linear layer reads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Linear(8 * 16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(torch.flatten(self.stem(x), 1))
        return out


def test_a_flattening_that_is_exported_as_numbers_takes_other_widths() -> None:
    network = Flattened().eval()
    weights = [
        numpy_helper.from_array(p.detach().numpy(), n) for n, p in network.named_parameters()
    ]
    weights.append(numpy_helper.from_array(np.array([1, 128], np.int64), "shape"))
    nodes = [
        helper.make_node("Conv", ["image", "stem.weight", "stem.bias"], ["a"], pads=[1] * 4),
        helper.make_node("Reshape", ["a", "shape"], ["b"], allowzero=1),
        helper.make_node("Gemm", ["b", "head.weight", "head.bias"], ["out"], transB=1),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 4, 4])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 3])
    model = helper.make_model(helper.make_graph(nodes, "flattened", [image], [out], weights))
    flow = trace_flow(network, torch.zeros(1, 3, 4, 4))
    template = Template(model, network, flow, groups_of(network, flow, ("head",)))
    onnx.checker.check_model(template.file({"stem": 5}), full_check=True)
    assert template.nodes["node b"].shapes(template.removed({"stem": 5})).endswith("-> 1x80")


@pytest.mark.parametrize(
    ("given", "wanted", "free"),
    [
        ((1, 16, 1, 1), (1, 16), [0, 0]),
        ((1, 16, 4, 4), (1, 256), [0, -1]),
        ((1, 16, 4, 4), (1, 16, 16), [0, 0, -1]),
        ((1, 16, 4, 4), (16, 16), None),
        ((1, 49, 16), (1, 49, 4, 4), None),  # heads: which of both are fewer?
        ((1, 16, 4, 4), (1, 4, 4, 4, 4), None),
    ],
)
def test_shapes_say_no_channels_where_one_size_alone_changes(
    given: tuple[int, ...], wanted: tuple[int, ...], free: list[int] | None
) -> None:
    assert free_shape(given, wanted) == free


# Costs, and what is kept of them ------------------------------------------------------------------


def test_costs_at_all_widths_are_those_of_the_board(costs: Costs) -> None:
    wanted = [{"stem": a, "inner": b} for a in (1, 4, 5, 8) for b in (1, 3, 6)]
    costs.measure(wanted, silent)
    for widths in wanted:
        assert costs.total(widths) == expected(widths["stem"], widths["inner"]), widths


def test_what_is_known_is_not_measured_again(
    costs: Costs, board: Arithmetic, tmp_path: Path
) -> None:
    costs.measure([{"stem": 3}], silent)
    before = board.files
    costs.measure([{"stem": 3}], silent)
    assert board.files == before
    again = Costs(template_of(), Book.open(tmp_path, ["a board"]), board)
    assert again.knows({"stem": 3})
    assert again.total({"stem": 3}) == expected(3, 6)
    other = Costs(template_of(), Book.open(tmp_path, ["another board"]), board)
    assert not other.knows({"stem": 3})


def test_a_key_tells_all_that_a_cost_depends_on(costs: Costs) -> None:
    keys = costs.keys({})
    assert len(set(keys)) == len(keys)
    assert "Conv" in keys[0]
    assert "1x3x6x6 8x3x3x3 8 -> 1x8x6x6" in keys[0]
    narrowed = costs.keys({"inner": 5})
    changed = [before for before, after in zip(keys, narrowed, strict=True) if before != after]
    assert len(changed) == 3  # inner, deep, end


def test_a_damaged_book_is_measured_again(costs: Costs, tmp_path: Path, board: Arithmetic) -> None:
    costs.book.path.write_text("{")
    again = Costs(template_of(), Book.open(tmp_path, ["a board"]), board)
    assert again.total({}) == expected(8, 6)
    assert json.loads(costs.book.path.read_text())


def test_books_written_at_once_keep_all(tmp_path: Path) -> None:
    books = [Book.open(tmp_path, ["x"]) for _ in range(8)]
    threads = [
        threading.Thread(target=book.add, args=({f"key {number}": number},))
        for number, book in enumerate(books)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Book.open(tmp_path, ["x"]).costs) == 8


def test_other_operators_at_other_widths_are_refused(costs: Costs) -> None:
    honest = costs.run

    def fickle(paths: Sequence[Path]) -> list[Ran]:
        return [Ran(ran.operators[1:], ran.shapes[1:]) for ran in honest(paths)]

    costs.run = fickle
    with pytest.raises(AnalysisError, match="runs other operators at other widths"):
        costs.measure([{"stem": 2}], silent)


# Costs ---------------------------------------------------------------------------------------


def test_a_latency_table_has_the_kernels_steps(costs: Costs) -> None:
    stream, inner = measure_group_costs(costs, 1, silent)
    assert (stream.group, stream.layers) == ("stem", ("stem", "end"))
    assert inner.widths == (1, 2, 3, 4, 5, 6)
    assert inner.instructions == tuple(
        100 * (up(width) * 8 + up(width) + 8 * width) for width in range(1, 7)
    )


def test_widths_that_cost_no_less_are_not_worth_having() -> None:
    group_cost = GroupCost("a", ("a",), (1, 2, 3, 4, 5), (10, 30, 25, 25, 40))
    assert group_cost.steps == (1, 4, 5)
    assert [group_cost.rounded(width) for width in (1, 2, 3, 4, 5)] == [1, 4, 4, 4, 5]


def test_groups_that_share_an_operator_are_narrowed_apart() -> None:
    touched = [frozenset("ab"), frozenset("bc"), frozenset("d")]
    assert apart_groups("abcd", touched) == [["a", "c", "d"], ["b"]]


def test_few_networks_fill_all_latency_tables(costs: Costs, board: Arithmetic) -> None:
    measure_group_costs(costs, 1, silent)
    assert board.files == 1 + 7 + 5  # the whole one; the two groups touch each other
    assert widths_of(16, 4) == (1, 4, 8, 12, 16)
    assert widths_of(10, 4) == (1, 4, 8, 10)


# Plans --------------------------------------------------------------------------------------------


def test_a_plan_is_within_its_budget_and_measured(costs: Costs) -> None:
    group_cost = measure_group_costs(costs, 1, silent)
    kept = falling()
    whole = expected(8, 6)
    for share in (0.3, 0.5, 0.7, 0.9):
        chosen = planning.plan_widths(costs, group_cost, kept, int(share * whole), 0.0, silent)
        stream, inner = chosen.widths["stem"], chosen.widths["inner"]
        assert chosen.cost == expected(stream, inner) <= share * whole
        best = min(
            kept.loss({"stem": a, "inner": b})
            for a in range(1, 9)
            for b in range(1, 7)
            if expected(a, b) <= share * whole
        )
        assert chosen.loss == pytest.approx(best)


def test_a_budget_out_of_reach_tells_the_least(costs: Costs) -> None:
    group_cost = measure_group_costs(costs, 1, silent)
    kept = falling()
    least = min(expected(a, b) for a in range(1, 9) for b in range(1, 7))
    with pytest.raises(InputError, match=f"the least that any widths need is {least:,}"):
        planning.plan_widths(costs, group_cost, kept, least - 1, 0.0, silent)
    assert planning.plan_widths(costs, group_cost, kept, least, 0.0, silent).cost == least


def test_every_group_keeps_its_least_share(costs: Costs) -> None:
    group_cost = measure_group_costs(costs, 1, silent)
    chosen = planning.plan_widths(costs, group_cost, falling(), expected(4, 3), 0.5, silent)
    assert chosen.widths == {"stem": 4, "inner": 3}  # there is no other choice
    with pytest.raises(InputError, match="out of reach"):
        planning.plan_widths(costs, group_cost, falling(), expected(4, 3) - 1, 0.5, silent)


def test_the_uniform_rate_is_the_mildest_within_the_budget(costs: Costs) -> None:
    measure_group_costs(costs, 1, silent)
    groups = tuple(costs.template.groups.values())
    kept = falling()
    cost = costs.measured_total(silent)
    found = planning.uniform_within(groups, kept, expected(4, 3), cost)
    assert found is not None
    assert (found.rate, found.cost) == (0.5, expected(4, 3))
    assert planning.uniform_within(groups, kept, 10, cost) is None


# Parameters ---------------------------------------------------------------------------------------


def parameters_of(stream: int, inner: int) -> int:
    """What the chain has, weights and biases, by hand."""
    return (
        28 * stream
        + (9 * stream + 1) * inner
        + 10 * inner
        + (9 * inner + 1) * stream
        + (2 * stream + 2)
    )


def chain_problem(losses: Mapping[str, Mapping[int, float]]) -> Problem:
    network = Chain().eval()
    flow = trace_flow(network, torch.zeros(1, 3, 32, 32))
    return parameter_problem(network, flow, groups_of(network, flow, ("head",)), losses)


def test_parameters_are_those_of_a_network_of_these_widths() -> None:
    problem = chain_problem(falling().sensitivity_by)
    for stream in range(1, 9):
        for inner in range(1, 7):
            assert problem.cost({"stem": stream, "inner": inner}) == parameters_of(stream, inner)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["eresfd", "extd"])
def test_parameters_are_those_of_what_is_really_shrunk(model: str) -> None:
    network, recipe = build(model, 3).eval(), default_recipe(model)
    example = torch.zeros(1, 3, 128, 96)
    recipe = override(recipe, {"input.height": 128, "input.width": 96})
    deployed = deploy(network, recipe)
    whole = {group.name: group.width for group in deployed.groups}
    losses = {name: {width: 0.0} for name, width in whole.items()}
    problem = parameter_problem(deployed.network, deployed.flow, deployed.groups, losses)
    assert problem.cost(whole) == sum(count_parameters(fold_batch_norm(network, example)))
    generator = random.Random(1)
    widths = {name: generator.randint(max(1, width // 2), width) for name, width in whole.items()}
    prune = dataclasses.replace(recipe.prune, widths=widths)
    shrunk, surgery = shrink(zero_filters(network, example, prune), example)
    assert surgery.count("kept") == 0
    assert problem.cost(widths) == sum(count_parameters(fold_batch_norm(shrunk, example)))


def test_a_plan_by_parameters_loses_as_little_as_any_within_the_budget() -> None:
    kept = falling()
    problem = chain_problem(kept.sensitivity_by)
    for share in (0.3, 0.6, 0.9):
        budget = int(share * parameters_of(8, 6))
        chosen = planning.plan_counted(problem, budget, "parameters")
        assert chosen.cost == parameters_of(chosen.widths["stem"], chosen.widths["inner"])
        assert chosen.cost <= budget
        best = min(
            kept.loss({"stem": a, "inner": b})
            for a in range(1, 9)
            for b in range(1, 7)
            if parameters_of(a, b) <= budget
        )
        assert chosen.loss == pytest.approx(best)
    least = parameters_of(1, 1)
    with pytest.raises(InputError, match=f"any widths need is {least}, .* a smaller --least"):
        planning.plan_counted(problem, least - 1, "parameters")
