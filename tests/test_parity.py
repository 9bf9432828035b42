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

from toolchain.checking.parity import (
    ProofInput,
    Runner,
    compare,
    demand,
    random_inputs,
    run_network,
    run_onnx,
)
from toolchain.errors import ParityError, ProofError
from toolchain.exporting.probabilities import probabilities_in
from toolchain.records.parity import Figure, Parity

Values = Sequence[float]


def gives(*outputs: Values, kind: str = "float32") -> Runner:
    """A side that answers every input with these outputs, each (1, n)."""
    return lambda _: [np.array([values], dtype=kind) for values in outputs]


def parity(
    before: Runner,
    after: Runner,
    limit: float = 0.01,
    inputs: int = 1,
    truth: Runner | None = None,
    figure: Figure = "largest",
) -> Parity:
    proofs = [
        ProofInput(f"input {i}", (torch.full((1, 3, 2, 2), float(i)),)) for i in range(inputs)
    ]
    return compare("soft -> shrunk", before, after, proofs, limit=limit, truth=truth, figure=figure)


def answers(*outputs: np.ndarray) -> Runner:
    return lambda _: list(outputs)


# Pass and fail ----------------------------------------------------------------------------------


def test_equal_outputs_pass_with_a_difference_of_zero() -> None:
    result = parity(gives([1, 2], [3]), gives([1, 2], [3]), limit=0.0)
    assert result.passed
    assert result.max_abs_diff == 0
    assert demand(result) is result


@pytest.mark.parametrize(("diff", "passes"), [(1.0, True), (2.0, True), (2.5, False)])
def test_the_limit_is_a_share_of_the_range_and_holds_with_its_value(
    diff: float, passes: bool
) -> None:
    """From 0 to 8 is a range of 8; a quarter of it is 2."""
    result = parity(gives([0, 4, 8]), gives([0, 4 + diff, 8]), limit=0.25)
    assert result.cases[0].largest.output_range == 8
    assert result.worst == diff / 8
    assert result.passed is passes


def test_range_is_that_of_the_side_before() -> None:
    assert parity(gives([0, 2]), gives([0, 50])).cases[0].largest.output_range == 2


@pytest.mark.parametrize("at", [0, 1, 2])
def test_the_largest_share_counts_wherever_it_is(at: int) -> None:
    outputs = [[1.0, 2], [3, 4], [5, 6]]
    other = [list(values) for values in outputs]
    other[at][1] -= 0.5
    result = parity(gives(*outputs), gives(*other))
    assert result.worst == 0.5
    assert result.cases[0].largest.output == f"output {at}"


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_the_worst_input_counts_wherever_it_is(bad: int) -> None:
    def after(image: Tensor) -> list[np.ndarray]:
        return [np.array([[0.0, 2.0 if image.flatten()[0] == bad else 1.0]])]

    result = parity(gives([0, 1]), after, limit=0.5, inputs=3)
    assert [result.share(case) for case in result.cases] == [float(i == bad) for i in range(3)]
    assert result.worst_case is result.cases[bad]
    assert [case.input for case in result.cases] == ["input 0", "input 1", "input 2"]
    assert [case.shape for case in result.cases] == [(1, 3, 2, 2)] * 3
    assert not result.passed


def test_each_input_is_measured_by_its_own_range() -> None:
    """A large range on one input does not excuse another."""

    def before(image: Tensor) -> list[np.ndarray]:
        return [np.array([0.0, 1000.0 if image.flatten()[0] == 0 else 1.0])]

    def after(image: Tensor) -> list[np.ndarray]:
        return [values - 0.5 for values in before(image)]

    result = parity(before, after, limit=0.1, inputs=2)
    assert result.worst == 0.5
    assert not result.passed


# Each output, and each channel, on its own scale --------------------------------------------------


def test_a_score_is_not_hidden_behind_a_box_in_another_output() -> None:
    boxes, scores = np.linspace(0, 652, 64).reshape(1, 64), np.linspace(0, 0.05, 64).reshape(1, 64)
    result = parity(answers(boxes, scores), answers(boxes, scores * (1 - 1 / 3)), limit=1e-3)
    assert result.worst == pytest.approx(1 / 3)
    assert result.cases[0].largest.output == "output 1"
    assert not result.passed


@pytest.mark.parametrize("axis", [1, 2])
def test_a_score_is_not_hidden_behind_a_box_in_another_channel(axis: int) -> None:
    """As single-file YOLO exports have it, (1, P, 5) or (1, 5, P)."""
    ramp = np.linspace(0, 1, 300)
    before = np.stack([ramp * 640] * 4 + [ramp * 0.05], axis=-1)[None]
    after = before.copy()
    after[..., 4] *= 0.9
    if axis == 1:
        before, after = before.transpose(0, 2, 1), after.transpose(0, 2, 1)
    for figure, share in (("largest", 0.1), ("mean", 0.05)):
        result = parity(answers(before), answers(after), limit=0.02, figure=figure)  # type: ignore[arg-type]
        assert result.worst == pytest.approx(share, rel=1e-3)
        spot = result.cases[0].spot(figure)  # type: ignore[arg-type]
        assert (spot.axis, spot.channels) == (axis, (4, 4))
        assert not result.passed


def test_means_look_at_channels_of_one_scale_together() -> None:
    """A box is as good as its four sides together; a score beside it stands alone."""
    ramp = np.linspace(0, 1, 100)
    before = np.stack([ramp * 300, ramp * 100, ramp * 200, ramp * 250, ramp * 0.01], axis=1)[None]
    after = before + np.array([0, 5, 0, 0, 0])
    spot = parity(answers(before), answers(after), figure="mean").cases[0].mean
    assert spot.channels == (0, 3)
    assert spot.difference == pytest.approx(1.25)
    assert spot.output_range == 300


def test_channels_of_few_values_are_judged_with_their_output() -> None:
    """Two images of ten classes: the range of two numbers is an accident."""
    before = np.arange(20.0).reshape(2, 10)
    before[1, 3] = before[0, 3] + 1e-9
    after = before + 1e-6
    result = parity(answers(before), answers(after), limit=1e-4)
    assert result.passed
    assert result.cases[0].largest.channels is None


# What a type cannot resolve -----------------------------------------------------------------------


def test_constant_outputs_may_differ_by_what_float32_resolves() -> None:
    step = float(np.spacing(np.float32(4.595)))
    before = np.full((1, 1, 8, 8), -4.595, np.float32)
    for steps, passes in ((1, True), (3, True), (6, False), (100, False)):
        after = (before + np.float32(steps * step)).astype(np.float32)
        assert parity(answers(before), answers(after), limit=1e-5).passed is passes


def test_constant_outputs_in_float64_may_not_differ_by_what_float32_resolves() -> None:
    before = np.full((1, 1, 8, 8), -4.595)
    assert not parity(answers(before), answers(before + 1e-7), limit=1e-11).passed
    assert parity(answers(before), answers(before + 1e-15), limit=1e-11).passed


@pytest.mark.parametrize(("off", "passes"), [(3e-7, True), (6e-7, False)])
def test_a_probability_is_known_to_a_step_at_one_however_small(off: float, passes: bool) -> None:
    before = np.linspace(0, 1e-5, 64, dtype=np.float32).reshape(1, 1, 8, 8)
    sides = answers(before), answers(before + np.float32(off))
    proofs = [ProofInput("x", (torch.zeros(1, 3, 2, 2),))]
    known = compare("a -> b", *sides, proofs, limit=1e-4, probabilities={0})
    assert known.passed is passes
    assert not compare("a -> b", *sides, proofs, limit=1e-4, probabilities={1}).passed


def test_probabilities_are_what_a_sigmoid_or_a_softmax_gave(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["p"]),
        helper.make_node("Transpose", ["p"], ["moved"], perm=[0, 2, 1]),
        helper.make_node("Softmax", ["x"], ["q"], axis=1),
        helper.make_node("Concat", ["p", "q"], ["both"], axis=1),
        helper.make_node("Add", ["p", "q"], ["sum"]),
        helper.make_node("Concat", ["p", "sum"], ["mixed"], axis=1),
    ]
    sizes = {"moved": (4, 2), "q": (2, 4), "both": (4, 4), "sum": (2, 4), "mixed": (4, 4)}
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *size])
        for name, size in sizes.items()
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 4])
    graph = helper.make_graph(nodes, "graph", [given], ends)
    opset = helper.make_opsetid("", 18)
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), path)
    assert probabilities_in(path) == {0, 1, 2}
    assert probabilities_in(tmp_path / "none.onnx") == frozenset()


def test_outputs_that_are_zero_may_not_become_anything() -> None:
    zero = np.zeros((1, 1, 8, 8), np.float32)
    assert parity(answers(zero), answers(zero), limit=1e-5).passed
    assert not parity(answers(zero), answers(zero + np.float32(1e-9)), limit=1e-5).passed


def test_a_coarse_file_s_constant_channel_is_judged_by_its_magnitude() -> None:
    """Of -5 everywhere, 0.02 off is a fiftieth of a least range of 1; the limit still binds."""
    before = np.stack([np.full(64, -5.0), np.linspace(0, 30, 64)])[None]
    after = before + np.array([0.02, 0.0])[:, None]
    for limit, passes in ((0.03, True), (0.01, False), (1e-9, False)):
        result = compare(
            "a -> b",
            answers(before),
            answers(after),
            [ProofInput("x", (torch.zeros(1, 3, 2, 2),))],
            limit=limit,
            figure="mean",
            least_range=0.2,
        )
        assert result.worst == pytest.approx(0.02)
        assert result.passed is passes


def test_as_close_to_the_truth_as_the_other_side_passes() -> None:
    """A network whose scales make float32 coarse: both sides are 3e-5 off, each its own way."""
    noise = np.random.default_rng(0).uniform(-1, 1, (2, 1, 1, 40, 40))
    truth = np.linspace(0, 1, 1600).reshape(1, 1, 40, 40)
    soft, shrunk = truth + 3e-5 * noise[0], truth + 3e-5 * noise[1]
    assert not parity(answers(soft), answers(shrunk), limit=1e-5).passed
    assert parity(answers(soft), answers(shrunk), limit=1e-5, truth=answers(truth)).passed
    worse = truth + 1e-4 * noise[1]
    assert not parity(answers(soft), answers(worse), limit=1e-5, truth=answers(truth)).passed


def test_a_side_that_is_right_by_luck_is_rounded_in_other_ways() -> None:
    """On this very input it is the truth; with other last digits it is 3e-5 off, as ever."""
    truth = np.linspace(0, 1, 1600).reshape(1, 1, 40, 40)

    def soft(x: Tensor) -> list[np.ndarray]:
        return [truth + (3e-5 if bool((x != 1).any()) else 0.0)]

    def judged(off: float, before: Runner = soft) -> bool:
        proofs = [ProofInput("ones", (torch.ones(1, 3, 2, 2),))]
        after = answers(truth + off)
        return compare("x", before, after, proofs, limit=1e-5, truth=answers(truth)).passed

    assert judged(5e-5)
    assert not judged(1e-4)
    assert not judged(5e-5, before=answers(truth))


def test_whole_numbers_do_not_round() -> None:
    truth = np.arange(1600).reshape(1, 1, 40, 40)

    def soft(x: Tensor) -> list[np.ndarray]:
        return [truth + int(bool((x != 1).any()))]

    proofs = [ProofInput("ones", (torch.ones(1, 3, 2, 2),))]
    off = answers(truth + (truth == 5))
    assert not compare("x", soft, off, proofs, limit=1e-5, truth=answers(truth)).passed


def test_columns_of_a_map_share_what_rounding_makes_of_one_of_them() -> None:
    """Scores of 4e-5 whose logits float32 knows to a thousandth: one column is right by luck."""
    truth = np.full((1, 1, 40, 40), 4e-5) + np.linspace(0, 4e-5, 1600).reshape(1, 1, 40, 40)
    soft, shrunk = truth * (1 + 1e-3), truth * (1 - 1e-3)
    soft[..., 28] = truth[..., 28]
    assert parity(answers(soft), answers(shrunk), limit=1e-4, truth=answers(truth)).passed
    worse = truth * (1 - 1e-2)
    assert not parity(answers(soft), answers(worse), limit=1e-4, truth=answers(truth)).passed


def test_the_truth_is_what_counts_where_both_sides_err_alike() -> None:
    truth = np.linspace(0, 1, 1600).reshape(1, 1, 40, 40)
    off = truth + 0.1
    result = parity(answers(off), answers(off), limit=1e-5, truth=answers(truth))
    assert result.cases[0].largest.difference == pytest.approx(0.1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("side", ["before", "after", "both"])
def test_what_is_not_finite_fails(side: str, place: int, value: float) -> None:
    good = [[1.0, 2], [3, 4], [5, 6]]
    bad = [list(values) for values in good]
    bad[place][1] = value
    before = gives(*(bad if side in ("before", "both") else good))
    after = gives(*(bad if side in ("after", "both") else good))
    result = parity(before, after, limit=1e9)
    assert not result.passed
    with pytest.raises(ParityError):
        demand(result)


def test_what_is_not_finite_in_one_channel_of_many_fails() -> None:
    before = np.random.default_rng(0).normal(size=(1, 6, 10, 10))
    for channel in range(6):
        after = before.copy()
        after[0, channel, 3, 3] = np.nan
        for figure in ("largest", "mean"):
            assert not parity(answers(before), answers(after), limit=1e9, figure=figure).passed  # type: ignore[arg-type]


def test_what_is_not_finite_on_one_of_three_inputs_fails() -> None:
    for bad in range(3):

        def after(image: Tensor, bad: int = bad) -> list[np.ndarray]:
            return [np.array([[np.nan if image.flatten()[0] == bad else 0.0, 1.0]])]

        assert not parity(gives([0, 1]), after, limit=1e9, inputs=3).passed


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
    assert parity(gives([], [1]), gives([], [1])).worst == 0


@pytest.mark.parametrize("kind", ["int64", "uint8", "bool", "float16"])
def test_outputs_of_other_kinds_are_compared(kind: str) -> None:
    assert parity(gives([0, 1], kind=kind), gives([0, 1], kind=kind), limit=0.0).passed
    result = parity(gives([0, 1], kind=kind), gives([1, 1], kind=kind))
    assert result.worst == 1
    assert not result.passed


def test_a_flat_input_is_judged_by_the_range_on_others_too() -> None:
    """Scores that are all 2e-4 there: a sigmoid that is right to 6e-8 is right."""

    def before(image: Tensor) -> list[np.ndarray]:
        scores = np.linspace(0, 0.9, 64) if float(image.sum()) else np.linspace(0, 2e-4, 64)
        return [scores.reshape(1, 1, 64)]

    def after(image: Tensor) -> list[np.ndarray]:
        return [before(image)[0] + 6e-8]

    noise = ProofInput("noise", (torch.ones(1, 3, 2, 2),))
    flat = ProofInput("all zero", (torch.zeros(1, 3, 2, 2),), is_flat=True)
    assert compare("a -> b", before, after, [flat, noise], limit=1e-4).passed
    assert not compare("a -> b", before, after, [flat, noise], limit=1e-4, flat_alone=True).passed
    assert not compare("a -> b", before, after, [flat], limit=1e-4).passed


def test_flat_inputs_that_rounding_alone_moves_tell_nothing() -> None:
    """A norm divides by next to nothing there; the same network on another input is judged."""

    def unsteady(image: Tensor) -> list[np.ndarray]:
        ramp = np.linspace(0, 1, 64).reshape(1, 1, 64)
        return [ramp + 1e4 * float(image.double().sum())]

    def after(image: Tensor) -> list[np.ndarray]:
        return [unsteady(image)[0] + np.linspace(0, 1e-3, 64)]

    zero = (torch.zeros(1, 3, 2, 2),)
    flat, other = ProofInput("all zero", zero, is_flat=True), ProofInput("noise", zero)
    both = compare("a -> b", unsteady, after, [flat, other], limit=1e-4, truth=unsteady)
    assert [case.input for case in both.cases] == ["noise"]
    alone = compare("a -> b", unsteady, after, [flat], limit=1e-4, truth=unsteady)
    assert not alone.passed  # nothing was compared


def test_indices_are_not_compared_where_positions_tie() -> None:
    scores = np.array([[2.0, 2.0]], np.float32)
    before, after = answers(scores, np.array([[0, 1]])), answers(scores, np.array([[1, 0]]))
    zero = (torch.zeros(1, 3, 2, 2),)
    flat, other = ProofInput("all zero", zero, is_flat=True), ProofInput("a ramp", zero)
    assert compare("a -> b", before, after, [flat], limit=1e-4).passed
    assert not compare("a -> b", before, after, [other], limit=1e-4).passed
    moved = answers(scores + 1, np.array([[1, 0]]))
    assert not compare("a -> b", before, moved, [flat], limit=1e-4).passed


# What the message says --------------------------------------------------------------------------


def test_message_holds_link_difference_limit_and_worst_input() -> None:
    def after(image: Tensor) -> list[np.ndarray]:
        return [np.array([[0.0, 4 + image.flatten()[0].item()]])]

    with pytest.raises(ParityError) as caught:
        demand(parity(gives([0, 4]), after, limit=1e-5, inputs=3))
    assert str(caught.value) == (
        "soft -> shrunk: outputs differ by 0.5 of their range, largest, more than 1e-05 (worst in "
        "output 0, on input 2: 2 of a range of 4); nothing is exported"
    )


def test_message_of_nan_says_so() -> None:
    with pytest.raises(ParityError, match=r"by what is no number \(worst in output 0, on input 0"):
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
            limit=1e-5,
        )
        assert result.passed is passes
        assert result.max_abs_diff == pytest.approx(error, abs=1e-4)
