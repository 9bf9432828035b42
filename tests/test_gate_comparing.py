"""Comparing is pure: two records and limits in, a verdict out, in four renderings."""

from __future__ import annotations

import dataclasses
from xml.etree import ElementTree

import pytest
from gate_records import BOXES, LIMITS, file_record, record, sample, with_file
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import InputError
from toolchain.gate.baselines import to_json
from toolchain.gate.comparing import accepted_of, compare, difference, let_through
from toolchain.gate.metrics import KINDS, kind_of
from toolchain.gate.retraining import as_retrained
from toolchain.recipe import GateSection, Limit
from toolchain.records.timings import OperatorCount
from toolchain.records.verdicts import Accepted
from toolchain.report.document.html import html
from toolchain.report.document.markdown import markdown
from toolchain.report.gate import words
from toolchain.report.gate.junit import gate_junit
from toolchain.report.gate.verdicts import gate_document


def test_a_model_against_itself_is_the_same() -> None:
    verdict = compare(record(), record(), LIMITS)
    assert verdict.passed
    assert not verdict.improved
    assert {row.status for row in verdict.rows} == {"same"}
    # Every figure, the operators' number, and how far outputs and boxes are from the baseline's.
    assert len(verdict.rows) == 10
    assert verdict.reasons.operators == ()


@pytest.mark.parametrize(
    ("name", "worse", "within", "better"),
    [
        ("instructions", 1_006_000, 1_004_000, 990_000),
        ("multiply_adds", 404_000, 401_000, 300_000),
        ("operators_Conv", 4, 3, 2),
        ("size_bytes", 10_200, 10_050, 9_000),
        ("peak_memory_bytes", 67_000_000, 64_000_000, 50_000_000),
        ("parity_board", 0.2, 0.1, None),
        ("parameters", 1_001, 1_000, 999),
        ("average_precision_easy", 0.798, 0.7995, 0.81),
    ],
)
def test_each_figure_has_its_limit(
    name: str, worse: float, within: float, better: float | None
) -> None:
    for figure, status in ((worse, "worse"), (within, "same"), (better, "better")):
        if figure is None:
            continue
        verdict = compare(record(), record(**{name: figure}), LIMITS)
        moved = [row for row in verdict.rows if row.status != "same"]
        assert [row.status for row in moved] == ([] if status == "same" else [status])
        assert verdict.passed == (status != "worse")
        assert verdict.improved == (status == "better")


@given(st.sampled_from(["instructions", "size_bytes", "parameters"]), st.floats(1, 3))
def test_worse_stays_worse(name: str, factor: float) -> None:
    """What is stopped is stopped, too, if it gets even worse."""
    base = record()
    (metric,) = [key for key in base.metrics if key.endswith(name)]
    figure = base.metrics[metric] * factor
    once = compare(base, record(**{name: figure}), LIMITS)
    twice = compare(base, record(**{name: figure * 1.01}), LIMITS)
    assert once.passed or not twice.passed


@given(st.permutations(sorted(record().metrics)))
def test_the_order_of_figures_does_not_matter(order: list[str]) -> None:
    base = record(instructions=2_000_000)
    mixed = dataclasses.replace(base, metrics={name: base.metrics[name] for name in order})
    assert compare(record(), mixed, LIMITS) == compare(record(), base, LIMITS)
    assert to_json(mixed) == to_json(base)


@given(st.floats(0, 0.5), st.floats(0, 1e6))
def test_the_larger_limit_holds(relative: float, absolute: float) -> None:
    limits = dataclasses.replace(LIMITS, instructions=Limit(relative, absolute))
    rows = compare(record(), record(instructions=1_300_000), limits).rows
    (row,) = [row for row in rows if row.metric == "model.onnx/instructions"]
    assert row.allowed == max(relative * 1_000_000, absolute)
    assert (row.status == "worse") == (row.allowed < 300_000)


def test_other_outputs_and_boxes_are_seen() -> None:
    moved = with_file(record(), outputs=(sample(0.00001),))
    (worse,) = [row for row in compare(record(), moved, LIMITS).rows if row.status == "worse"]
    assert (worse.metric, worse.after) == ("model.onnx/outputs", pytest.approx(0.0005))
    lost = with_file(record(), outputs=(sample(boxes=BOXES[:1]),))
    (worse,) = [row for row in compare(record(), lost, LIMITS).rows if row.status == "worse"]
    assert (worse.metric, worse.after) == ("model.onnx/boxes", 0.5)


def test_outputs_of_another_shape_differ_wholly() -> None:
    first, second = sample().channels
    for other in (
        (first,),
        (first, dataclasses.replace(second, values=(1.0,))),
        (first, dataclasses.replace(second, high=float("inf"))),
    ):
        assert difference(sample(), dataclasses.replace(sample(), channels=other)) == 1.0


def test_what_cannot_be_compared_is_named() -> None:
    base = record()
    other = dataclasses.replace(
        base, model="extd", conditions={"board": "rpi5", "runtime of model.onnx": "onnxruntime 1"}
    )
    with pytest.raises(InputError, match=r"is of eresfd, the candidate of extd .*; board was rpi4"):
        compare(base, other, LIMITS)
    with pytest.raises(InputError, match=r"the candidate has no model.onnx \(make it by shrink"):
        compare(base, dataclasses.replace(base, files={}), LIMITS)
    fewer = {name: value for name, value in base.metrics.items() if "average" not in name}
    with pytest.raises(InputError, match=r"no network/average_precision/easy \(give --data\)"):
        compare(base, dataclasses.replace(base, metrics=fewer), LIMITS)
    with pytest.raises(InputError, match=r"the baseline saw photo a.png.*by --photo"):
        compare(base, with_file(base, outputs=()), LIMITS)


def test_a_file_that_the_baseline_lacks_is_told() -> None:
    more = dataclasses.replace(
        record(), files={"model.onnx": file_record(), "model.tflite": file_record()},
        metrics=record().metrics | {"model.tflite/instructions": 3},
    )  # fmt: skip
    verdict = compare(record(), more, LIMITS)
    assert verdict.passed
    assert "model.tflite is not in the baseline" in verdict.notes[0]
    assert not any("tflite" in row.metric for row in verdict.rows)


def test_reasons_are_joined_by_name_and_type() -> None:
    operators = (OperatorCount("a", "Conv", 990_000), OperatorCount("c", "Add", 100_000))
    after = dataclasses.replace(
        with_file(record(instructions=1_090_000), operators=operators),
        widths={"conv1": 9}, versions={"torch": "3"},
        limits=dataclasses.replace(LIMITS, parameters=Limit(relative=1.0)),
    )  # fmt: skip
    found = compare(record(), after, after.limits).reasons
    assert [(each.name, each.before, each.after) for each in found.operators] == [
        ("b", 100_000, 0), ("c", 0, 100_000), ("a", 900_000, 990_000),
    ]  # fmt: skip
    assert found.widths == {"conv1": (8, 9)}
    assert found.versions == {"torch": ("2", "3")}
    same = with_file(record(), operators=operators)
    assert compare(record(), same, LIMITS).reasons.operators == ()  # no more than noise in all
    assert found.limits == ("parameters: from 0.00% or 0 to 100.00% or 0",)


def test_what_got_worse_is_let_through_by_name() -> None:
    verdict = compare(record(), record(instructions=2e6, parameters=2e3), LIMITS)
    passed = let_through(verdict, ["instructions", "network/parameters"], "wider on purpose")
    assert passed.passed
    assert accepted_of(passed) == (
        Accepted("model.onnx/instructions", 1e6, 2e6, "wider on purpose"),
        Accepted("network/parameters", 1e3, 2e3, "wider on purpose"),
    )
    assert not let_through(verdict, ["parameters"], "why").passed
    with pytest.raises(InputError, match="--accept size_bytes: is nothing that got worse"):
        let_through(verdict, ["size_bytes"], "why")


def test_every_kind_has_a_limit_in_the_recipe() -> None:
    fields = {field.name for field in dataclasses.fields(GateSection)}
    assert {kind.limit for kind in KINDS.values()} == fields
    assert kind_of("model.onnx/operators/Conv").starts_at_zero


# Renderings ---------------------------------------------------------------------------------------


def test_four_renderings_say_the_same() -> None:
    bad = dataclasses.replace(record(instructions=2e6), widths={"<b>": 9})
    verdict = let_through(compare(record(), bad, LIMITS), (), "")
    document, xml = gate_document([verdict]), gate_junit([verdict])
    told, page = markdown(document), html(document)
    assert gate_junit([verdict]) == xml
    tree = ElementTree.fromstring(xml)
    suite = tree[0]
    assert (suite.get("tests"), suite.get("failures")) == (str(len(verdict.rows)), "1")
    failed = [case for case in suite.iter("testcase") if case.find("failure") is not None]
    assert [case.get("name") for case in failed] == ["model.onnx/instructions"]
    for text in (told, page):
        assert "REGRESSION in" in text
        assert "2,000,000" in text
        assert "<b>" not in text.replace("\\<", "")
    assert "❌" in told
    assert "✅" in markdown(gate_document([compare(record(), record(), LIMITS)]))


def test_a_red_line_names_the_flag_that_lets_it_through() -> None:
    moved = with_file(record(instructions=2_000_000), outputs=(sample(0.01),))
    verdict = compare(record(), moved, LIMITS)
    outcomes = {row.metric: words.cells(row)[-1] for row in verdict.rows if row.stops}
    assert outcomes == {
        "model.onnx/instructions": "WORSE; let through by --accept model.onnx/instructions",
        "model.onnx/outputs": "WORSE; let through by --retrained, or --accept model.onnx/outputs",
    }
    retrain, accept = words.ways(verdict)
    assert "--retrained lets outputs, boxes and parity move" in retrain
    assert '--accept instructions --accept outputs --why "REASON"' in accept
    for page in (markdown(gate_document([verdict])), html(gate_document([verdict]))):
        assert "--retrained lets outputs" in page
    assert b"let through by --accept model.onnx/instructions" in gate_junit([verdict])
    assert words.ways(compare(record(), record(), LIMITS)) == []


def test_a_retrained_model_may_give_other_outputs_and_boxes() -> None:
    moved = with_file(record(parity_board=0.5), outputs=(sample(0.01, BOXES[:1]),))
    verdict = compare(record(), moved, LIMITS)
    assert not verdict.passed
    passed = as_retrained(verdict)
    assert passed.passed
    names = [row.metric for row in passed.rows if row.status == "moved"]
    assert names == ["model.onnx/boxes", "model.onnx/outputs", "model.onnx/parity/board"]
    assert "retrained, and decided by network/average_precision/easy 0.8" in words.headline(passed)
    assert accepted_of(passed) == ()


def test_a_retrained_model_may_not_cost_more_or_be_worse() -> None:
    for figures in ({"instructions": 1_010_000.0}, {"average_precision_easy": 0.7}):
        moved = with_file(record(**figures), outputs=(sample(0.01),))
        verdict = as_retrained(compare(record(), moved, LIMITS))
        (row,) = [row for row in verdict.rows if row.stops]
        assert row.metric.endswith(next(iter(figures)).replace("precision_", "precision/"))


def test_a_retrained_model_needs_a_figure_of_accuracy() -> None:
    blind = {name: value for name, value in record().metrics.items() if "average" not in name}
    base = dataclasses.replace(record(), metrics=blind)
    with pytest.raises(InputError, match=r"--retrained needs a figure of accuracy.*--score"):
        as_retrained(compare(base, record(), LIMITS))


def test_a_given_score_is_gated() -> None:
    base = dataclasses.replace(record(), metrics={**record().metrics, "network/score/top1": 0.9})
    worse = dataclasses.replace(base, metrics={**base.metrics, "network/score/top1": 0.89})
    (row,) = [row for row in compare(base, worse, LIMITS).rows if row.stops]
    assert row.metric == "network/score/top1"
    assert compare(worse, base, LIMITS).passed
    with pytest.raises(
        InputError, match=r"no network/score/top1 \(give --data, or --score top1=VALUE\)"
    ):
        compare(base, record(), LIMITS)


def test_other_conditions_name_the_flag() -> None:
    other = dataclasses.replace(record(), conditions=record().conditions | {"board": "rpi5"})
    with pytest.raises(InputError, match=r"board was rpi4 and is rpi5; --rebase measures"):
        compare(record(), other, LIMITS)


def test_a_figure_of_which_less_is_better_may_not_grow() -> None:
    base = dataclasses.replace(record(), metrics={**record().metrics, "network/error/rmse": 2.0})
    worse = dataclasses.replace(base, metrics={**base.metrics, "network/error/rmse": 2.01})
    (row,) = [row for row in compare(base, worse, LIMITS).rows if row.stops]
    assert (row.metric, row.is_accuracy) == ("network/error/rmse", True)
    assert compare(worse, base, LIMITS).passed
    with pytest.raises(InputError, match=r"no network/error/rmse \(give --data\)"):
        compare(base, record(), LIMITS)


def test_figures_of_other_data_are_not_compared() -> None:
    old, new = (
        dataclasses.replace(record(), conditions={**record().conditions, "data": words})
        for words in ("360 samples of data (0a1b) by top", "359 samples of data (2c3d) by top")
    )
    with pytest.raises(InputError, match=r"data was 360 samples.*and is 359 samples.*--rebase"):
        compare(old, new, LIMITS)
