"""The comparison that stops an export: what passes, what fails, and what the message says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from toolchain.check.parity import (
    ProofInput,
    Runner,
    compare,
    demand,
    random_inputs,
    run_network,
    run_onnx,
)
from toolchain.errors import ParityError, ProofError
from toolchain.records import Parity

Values = Sequence[float]


def gives(*outputs: Values, kind: str = "float32") -> Runner:
    """A side that answers every input with these outputs, each (1, n)."""
    return lambda _: [np.array([values], dtype=kind) for values in outputs]


def parity(
    before: Runner,
    after: Runner,
    limit: float = 0.01,
    relative: bool = False,
    inputs: int = 1,
) -> Parity:
    proofs = [ProofInput(f"input {i}", torch.full((1, 3, 2, 2), float(i))) for i in range(inputs)]
    return compare("soft -> shrunk", before, after, proofs, limit=limit, relative=relative)


# Pass and fail ----------------------------------------------------------------------------------


def test_equal_outputs_pass_with_a_difference_of_zero() -> None:
    result = parity(gives([1, 2], [3]), gives([1, 2], [3]), limit=0.0)
    assert result.passed
    assert result.max_abs_diff == 0
    assert demand(result) is result


@pytest.mark.parametrize(("diff", "passes"), [(0.25, True), (0.5, True), (0.75, False)])
def test_absolute_limit_holds_up_to_and_with_its_value(diff: float, passes: bool) -> None:
    result = parity(gives([0, 8]), gives([0, 8 - diff]), limit=0.5)
    assert result.max_abs_diff == result.worst == diff
    assert result.passed is passes


@pytest.mark.parametrize(("diff", "passes"), [(1.0, True), (2.0, True), (2.5, False)])
def test_relative_limit_is_a_share_of_the_range(diff: float, passes: bool) -> None:
    """From -4 to 4 is a range of 8; a quarter of it is 2."""
    result = parity(gives([-4, 0], [0, 4]), gives([-4, diff], [0, 4]), limit=0.5, relative=True)
    assert result.output_range == 4
    assert result.worst == diff / 4
    assert result.passed is passes


def test_relative_and_absolute_differ() -> None:
    sides = gives([-100, 100]), gives([-100, 99])
    assert not parity(*sides, limit=0.5).passed
    assert parity(*sides, limit=0.5, relative=True).passed
    small = gives([0, 0.01]), gives([0, 0.02])
    assert parity(*small, limit=0.5).passed
    assert not parity(*small, limit=0.5, relative=True).passed


def test_range_is_that_of_the_side_before() -> None:
    assert parity(gives([0, 2]), gives([0, 50])).output_range == 2


def test_outputs_without_a_range_are_compared_absolutely() -> None:
    assert parity(gives([3]), gives([3.25]), limit=0.5, relative=True).worst == 0.25
    assert not parity(gives([3]), gives([3.75]), limit=0.5, relative=True).passed


@pytest.mark.parametrize("at", [0, 1, 2])
def test_the_largest_difference_counts_wherever_it_is(at: int) -> None:
    outputs = [[1.0, 2], [3, 4], [5, 6]]
    other = [list(values) for values in outputs]
    other[at][1] -= 4
    assert parity(gives(*outputs), gives(*other)).max_abs_diff == 4


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_the_worst_input_counts_wherever_it_is(bad: int) -> None:
    def after(image: Tensor) -> list[np.ndarray]:
        return [np.array([[1.0 if image.flatten()[0] == bad else 0.0]])]

    result = parity(gives([0]), after, limit=0.5, inputs=3)
    assert [case.max_abs_diff for case in result.cases] == [float(i == bad) for i in range(3)]
    assert [case.input for case in result.cases] == ["input 0", "input 1", "input 2"]
    assert [case.shape for case in result.cases] == [(1, 3, 2, 2)] * 3
    assert not result.passed


def test_each_input_is_measured_by_its_own_range() -> None:
    """A large range on one input does not excuse another."""

    def before(image: Tensor) -> list[np.ndarray]:
        return [np.array([0.0, 1000.0 if image.flatten()[0] == 0 else 1.0])]

    def after(image: Tensor) -> list[np.ndarray]:
        return [values - 0.5 for values in before(image)]

    result = parity(before, after, limit=0.1, relative=True, inputs=2)
    assert result.worst == 0.5
    assert not result.passed


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("side", ["before", "after", "both"])
def test_what_is_not_finite_fails(side: str, place: int, value: float, relative: bool) -> None:
    good = [[1.0, 2], [3, 4], [5, 6]]
    bad = [list(values) for values in good]
    bad[place][1] = value
    before = gives(*(bad if side in ("before", "both") else good))
    after = gives(*(bad if side in ("after", "both") else good))
    result = parity(before, after, limit=1e9, relative=relative)
    assert not result.passed
    with pytest.raises(ParityError):
        demand(result)


def test_what_is_not_finite_on_one_of_three_inputs_fails() -> None:
    for bad in range(3):

        def after(image: Tensor, bad: int = bad) -> list[np.ndarray]:
            return [np.array([[np.nan if image.flatten()[0] == bad else 0.0]])]

        assert not parity(gives([0]), after, limit=1e9, inputs=3).passed


# Other shapes and kinds -------------------------------------------------------------------------


def test_other_shapes_are_told() -> None:
    with pytest.raises(ParityError) as caught:
        parity(gives([1, 2]), gives([1, 2, 3]))
    message = str(caught.value)
    assert message == "input 0: outputs have other shapes: [(1, 2)] before, [(1, 3)] after"


def test_shapes_that_numpy_would_stretch_are_told() -> None:
    with pytest.raises(ParityError, match="other shapes"):
        parity(gives([1, 1]), gives([1]))


def test_an_output_more_is_told() -> None:
    with pytest.raises(ParityError, match=r"\[\(1, 1\)\] before, \[\(1, 1\), \(1, 1\)\] after"):
        parity(gives([1]), gives([1], [2]))


def test_an_empty_output_is_no_difference() -> None:
    assert parity(gives([], [1]), gives([], [1])).max_abs_diff == 0


@pytest.mark.parametrize("kind", ["int64", "uint8", "bool", "float16"])
def test_outputs_of_other_kinds_are_compared(kind: str) -> None:
    assert parity(gives([0, 1], kind=kind), gives([0, 1], kind=kind), limit=0.0).passed
    result = parity(gives([0, 1], kind=kind), gives([1, 1], kind=kind))
    assert result.max_abs_diff == 1
    assert not result.passed


# What the message says --------------------------------------------------------------------------


def test_message_holds_link_difference_limit_and_worst_input() -> None:
    def after(image: Tensor) -> list[np.ndarray]:
        return [np.array([[0.0, 4 + image.flatten()[0].item()]])]

    with pytest.raises(ParityError) as caught:
        demand(parity(gives([0, 4]), after, limit=1e-5, inputs=3))
    assert str(caught.value) == (
        "soft -> shrunk: outputs differ by 2.00e+00, more than the limit of 1e-05 "
        "(worst on input 2: 2.00e+00); nothing is exported"
    )


def test_message_of_a_relative_limit_says_so() -> None:
    with pytest.raises(ParityError) as caught:
        demand(parity(gives([0, 4]), gives([0, 6]), limit=1e-5, relative=True))
    assert str(caught.value) == (
        "soft -> shrunk: outputs differ by 5.00e-01 of the output's range, more than the limit "
        "of 1e-05 (worst on input 0: 2.00e+00); nothing is exported"
    )


def test_message_of_nan_says_so() -> None:
    with pytest.raises(ParityError, match=r"differ by nan.*worst on input 0: nan"):
        demand(parity(gives([0]), gives([float("nan")])))


def test_a_failed_parity_is_a_failed_proof() -> None:
    assert issubclass(ParityError, ProofError)
    assert ParityError.exit_code == 1


# Inputs and sides -------------------------------------------------------------------------------


def test_random_inputs_follow_seed_shape_and_scale() -> None:
    shapes = [(1, 3, 40, 50), (2, 3, 33, 31)]
    first, again, other = (random_inputs(shapes, seed) for seed in (1, 1, 2))
    assert [tuple(proof.image.shape) for proof in first] == shapes
    assert [proof.name for proof in first] == ["random 1x40x50", "random 2x33x31"]
    assert all(torch.equal(a.image, b.image) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0].image, other[0].image)
    assert float(first[0].image.std()) == pytest.approx(64, rel=0.05)
    assert float(random_inputs(shapes, 1, scale=2.0)[0].image.std()) == pytest.approx(2, rel=0.05)


class Dictionary(nn.Module):
    def forward(self, x: Tensor) -> dict[str, object]:
        return {"sum": x + 1, "list": [x * 2, (x * 3,)], "words": "no tensor"}


def test_all_tensors_that_a_network_returns_are_compared() -> None:
    outputs = run_network(Dictionary())(torch.full((1, 2), 5.0))
    assert [values.tolist() for values in outputs] == [[[6, 6]], [[10, 10]], [[15, 15]]]


def test_an_onnx_file_is_a_side(tmp_path: Path) -> None:
    """Two nodes made by hand: x + 1 and its double."""
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "one"], ["y"]), helper.make_node("Add", ["y", "y"], ["z"])],
        "by_hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, None, None])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "z")],
        [one],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    proofs = random_inputs([(1, 3, 4, 5), (1, 3, 7, 2)], 0)

    class Network(nn.Module):
        def __init__(self, error: float) -> None:
            super().__init__()
            self.error = error

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x + 1, (x + 1) * 2 + self.error

    for error, passes in ((0.0, True), (0.01, False)):
        result = compare(
            "a -> b",
            run_network(Network(error)),
            run_onnx(path),
            proofs,
            limit=1e-3,
            relative=False,
        )
        assert result.passed is passes
        assert result.max_abs_diff == pytest.approx(error, abs=1e-4)
