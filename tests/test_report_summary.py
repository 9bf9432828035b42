"""What report.json says, and what all pages say alike."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import get_args

import pytest
from reports import every_variant, layer, page, parity_of, report_of, words

from toolchain.records.reasons import Channels, Code, Reason
from toolchain.records.stages import FilterVerdict, Report, Stage, Surgery
from toolchain.report import wording
from toolchain.report.document.markdown import markdown
from toolchain.report.run import facts, filters
from toolchain.report.run.reasons import sentence
from toolchain.report.run.report import run_report
from toolchain.report.run.summary import summary

# --- report.json


@every_variant
def test_summary_is_strict_json_whatever_was_found(report: Report) -> None:
    written = json.dumps(summary(report), allow_nan=False)
    assert json.loads(written) == summary(report)


def test_summary_holds_what_scripts_read() -> None:
    found = json.loads(json.dumps(summary(report_of())))
    assert found["model"] == "eresfd"
    assert found["trained"] is True
    assert found["stages"] == {"shrink": 8.31, "export": 2.5}
    assert found["deployed_parameters"] == {"before": 91_342, "after": 87_296}
    assert found["macs"] == {"before": 324_870_400, "after": 310_221_312, "size": [480, 640]}
    assert found["size_bytes"] == {"before.onnx": 5, "model.onnx": 386_112}
    assert found["onnx_before_bytes"] == 402_518
    assert found["zeroed_filters"] == {
        "total": 7, "removed": 4, "kept": 3, "dropped": 1, "folded": 1, "carried": 2,
    }  # fmt: skip
    surgery = found["parity"]["surgery"]
    assert surgery["max_abs_diff"] == 7.6e-6
    assert surgery["largest_share"] == pytest.approx(7.6e-6 / 5.9)
    assert surgery["cases"][0]["largest"]["output"] == "loc"
    assert found["parity"]["exact"]["limit"] == 1e-11
    assert (surgery["limit"], surgery["passed"], len(surgery["cases"])) == (1e-4, True, 2)
    assert found["parity"]["onnx"]["max_abs_diff"] == 2.1e-5
    assert (found["rate"], found["criterion"], found["scope"]) == (0.1, "fpgm", "layer")
    assert found["source"]["path"] == "eresfd.pth"
    assert found["layers"][0]["removed_live"] == 2
    assert found["notes"] == ["Fine-tune before you deploy."]
    assert found["versions"] == {"torch": "2.13.0"}
    assert found["command"] == "make shrink MODEL=eresfd RATE=0.1"
    assert found["photos"] == [
        {"name": "crowd.jpg", "faces": {"before": 2, "after": 2}, "max_box_diff_px": 0.013}
    ]


def test_summary_latency_has_its_conditions_or_is_null() -> None:
    assert summary(report_of())["latency"] == {
        "ratio": 0.91, "ratio_low": 0.9, "ratio_high": 0.93, "before_ms": 21.4, "after_ms": 19.5,
        "rounds": 30, "threads": 1, "size": [480, 640], "runtime": "a runtime",
        "machine": "a machine",
    }  # fmt: skip
    assert summary(report_of(latency=None))["latency"] is None


@pytest.mark.parametrize("order", [1, -1])
def test_nan_in_any_case_becomes_null_and_fails(order: int) -> None:
    cases = [(1e-6, 1.0), (math.nan, math.nan)][::order]
    found = json.loads(json.dumps(summary(report_of(parity_surgery=parity_of(*cases)))))
    surgery = found["parity"]["surgery"]
    assert surgery["max_abs_diff"] is None
    assert surgery["passed"] is False
    assert found["proved"] is False


def test_a_comparison_without_cases_proves_nothing() -> None:
    assert summary(report_of(parity_onnx=parity_of()))["proved"] is False


def test_stages_of_one_name_are_added() -> None:
    report = report_of(stages=(Stage("check", 1.5), Stage("load", 1.0), Stage("check", 2.0)))
    assert summary(report)["stages"] == {"check": 3.5, "load": 1.0}


# --- what both pages say


def test_numbers_are_written_alike_everywhere() -> None:
    assert wording.count(91_342) == "91,342"
    assert wording.change(200, 150) == "\N{MINUS SIGN}25.0 %"
    assert wording.change(200, 300) == "+50.0 %"
    assert wording.change(5, 5) == "no change"
    assert wording.change(0, 5) == "not comparable"
    assert wording.difference(3.81e-6) == "3.8e-06"
    assert wording.difference(0.0) == "0"
    assert wording.difference(math.nan) == "not finite"
    assert wording.percentage(0.125) == "12.5 %"
    assert wording.plural(1, "box", "boxes") == "1 box"
    assert wording.plural(1200, "box", "boxes") == "1,200 boxes"
    assert wording.clean("a\nb\x1b[0m\u202e\ud800") == "a b\ufffd[0m\ufffd\ufffd"


@pytest.mark.parametrize(
    ("low", "high", "meaning"),
    [(0.8, 0.9, "faster"), (1.1, 1.2, "slower"), (0.9, 1.1, "no clear difference")],
)
def test_latency_claims_no_more_than_its_quartiles_allow(
    low: float, high: float, meaning: str
) -> None:
    latency = report_of().latency
    assert latency is not None
    assert meaning in facts.latency_words(replace(latency, ratio_low=low, ratio_high=high))


def test_the_deployed_file_is_model_onnx_and_not_the_one_before() -> None:
    onnx = facts.deployed_onnx(report_of())
    assert onnx is not None
    assert onnx.size_bytes == 386_112


def test_a_reason_is_told_once_for_all_its_channels_of_a_layer() -> None:
    written = Reason("still_written", ("b2_1.0.res_layer.3",))
    items = [FilterVerdict("b.2", index, "kept", written) for index in (3, 12)]
    items.append(FilterVerdict("a", 3, "kept", written))
    items.append(FilterVerdict("b.2", 4, "kept", Reason("still_written", ("b.7", "b.9"))))
    items.append(FilterVerdict("b.2", 9, "dropped", Reason("adds_nothing", ("c",))))
    assert [(found.words, found.filters) for found in filters.kept_reasons(items)] == [
        ("channels 3 and 12 of b.2 are still written by b2_1.0.res_layer.3", 2),
        ("channel 3 of a is still written by b2_1.0.res_layer.3", 1),
        ("channel 4 of b.2 is still written by b.7 and b.9", 1),
    ]


def test_every_code_has_its_sentence() -> None:
    for code in get_args(Code):
        went = code in ("unread", "adds_nothing", "in_bias", "in_weights")
        reason = Reason(code, ("b.1",), (Channels("b.1", (2, 5)),), "split", "b.1.weight")
        words = sentence(FilterVerdict("a", 7, "dropped" if went else "kept", reason))
        assert len(words.split()) >= 3
        assert ("channel 7 of a" in words) is not went
        assert "{" not in words
    words = sentence(FilterVerdict("a", 7, "carried", replace(reason, code="in_weights")))
    assert words == (
        "its constant went into the weights with which b.1 reads other constant channels "
        "(of b.1: 2 and 5)"
    )


def test_report_json_has_the_reason_and_its_sentence() -> None:
    found = json.loads(json.dumps(summary(report_of())))["filters"][-1]
    assert found["reason"]["code"] == "still_written"
    assert found["reason"]["layers"] == ["b.0"]
    assert found["sentence"] == "channel 2 of base.conv2.0 is still written by b.0"


def test_only_ten_reasons_are_listed_and_the_rest_counted() -> None:
    items = tuple(
        FilterVerdict("a", n, "kept", Reason("still_written", (f"l{n}",))) for n in range(13)
    )
    report = report_of(surgery=Surgery(1, items, ()))
    assert "| 3 other reasons, under “Every zeroed filter” | 3 |" in markdown(run_report(report))
    assert "3 other reasons" in words(page(report))
    listed, folded = markdown(run_report(report)).split("<summary>Every zeroed filter</summary>")
    assert "written by l9 |" in listed
    assert "written by l10" not in listed
    assert "written by l10 |" in folded


def test_a_layer_that_contradicts_itself_is_refused() -> None:
    wrong = replace(layer("base.conv1.0", 16, dropped=2), out_channels_after=15)
    with pytest.raises(ValueError, match=r"base\.conv1\.0: the parts must add up"):
        filters.parts(wrong)
    with pytest.raises(ValueError, match="must add up"):
        filters.parts(replace(layer("a", 16, dropped=2), zeroed_filters=3))
