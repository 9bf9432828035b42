"""Budgets, cost reports as files, the pages, and what the command line refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import ARM_CACHE
from widerface import make_wider

from toolchain.arm.sysroot import Sysroot
from toolchain.arm.targets import find_target
from toolchain.cli import run as run_cli
from toolchain.cli.shrinking import _rounded
from toolchain.errors import InputError
from toolchain.exporting.ncnn.extra import lacking_ncnn
from toolchain.recipe import default_recipe, load_recipe, override
from toolchain.records.cost_tables import (
    CostReport,
    GroupCost,
    PlannedBoard,
    PlannedGroup,
    Uniform,
    WidthPlan,
)
from toolchain.report.costs.cost_tables import cost_document, plan_document
from toolchain.report.document.html import html
from toolchain.report.run.notes import slower_words
from toolchain.widths.budget import read_budget
from toolchain.widths.files import NAME, read_report, report_json

BOARD = find_target("rpi4")
STAIRS = GroupCost("a.0", ("a.0", "b.0"), (1, 2, 3, 4), (100, 260, 320, 250))
OTHER = GroupCost("c.0", ("c.0",), (1, 2), (50, 60))
REPORT = CostReport(
    "eresfd", "rpi4", "Raspberry Pi <4B>", "cortex-a72", "onnxruntime 1", (96, 128), 1000, 200, 9,
    (STAIRS, OTHER),
)  # fmt: skip
PLAN = WidthPlan(
    "eresfd", "instructions",
    PlannedBoard("rpi4", "Raspberry Pi 4B", "cortex-a72", "onnxruntime 1", (96, 128)), "fpgm", 1000,
    600, 300, 590, 600, 1.5, "8 photos", (0.75, 0.25), Uniform(0.5, 580, 2.5),
    (PlannedGroup("a.0", 4, 2, 0.6),),
)  # fmt: skip


# Budgets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("latency", "instructions", "expected"),
    [
        ("0.6", None, 60_000_000),
        (".25", None, 25_000_000),
        ("30ms", None, 30_405_405),  # 0.03 s * 1.5 GHz / 1.48 cycles per instruction
        ("30 MS", None, 30_405_405),
        (None, "40M", 40_000_000),
        (None, "0.05g", 50_000_000),
        (None, "40_000_000", 40_000_000),
    ],
)
def test_a_budget_is_told_in_three_ways(
    latency: str | None, instructions: str | None, expected: int
) -> None:
    assert read_budget(latency, instructions).of(100_000_000, BOARD) == expected


@pytest.mark.parametrize(
    ("latency", "instructions", "message"),
    [
        (None, None, "give one budget"),
        ("0.5", "40M", "give one budget"),
        ("1", None, "--latency must be a share > 0 and < 1"),
        ("0", None, "--latency must be a share"),
        ("30s", None, "--latency must be a share"),
        ("-3ms", None, "--latency must be a share such as 0.6, or 30ms (got '-3ms')"),
        ("nan", None, "--latency must be"),
        ("0.6.1", None, "--latency must be"),
        (None, "40T", "--instructions must be a number such as 40M, 1.5G or 40000000 (got '40T')"),
        (None, "many", "--instructions must be"),
        (None, "0", "--instructions must be"),
        (None, "9" * 31, "--instructions must be"),
        (None, "1e400", "--instructions must be"),
    ],
)
def test_what_is_no_budget_is_refused(
    latency: str | None, instructions: str | None, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        read_budget(latency, instructions)
    assert message in str(caught.value)


def test_a_budget_of_parameters_needs_no_board() -> None:
    assert read_budget(None, None, "52k").counted_of(91_360) == 52_000
    assert read_budget(None, None, "1.5M").parameters == 1_500_000
    assert read_budget(None, None, "0.57").counted_of(91_360) == 52_075
    assert read_budget(None, None, None, None, "200M").counted_of(10**9) == 200_000_000
    assert read_budget(None, None, macs="0.6").counted_of(1000) == 600
    with pytest.raises(InputError, match="give one budget"):
        read_budget("0.5", None, "52k")
    with pytest.raises(InputError, match=r"--macs must be a number .* or a share .*got '0'"):
        read_budget(None, None, macs="0")
    with pytest.raises(InputError, match=r"--parameters must be a number such as 52k.*got '52 %'"):
        read_budget(None, None, "52 %")
    with pytest.raises(InputError, match="takes 52,000 parameters unpruned, within the budget"):
        read_budget(None, None, "52k").counted_of(52_000)


def test_a_budget_that_the_network_meets_is_told() -> None:
    with pytest.raises(InputError, match="takes 1,000 instructions unpruned, within the budget"):
        read_budget(None, "1k").of(1000, BOARD)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "eresfd"], "give one budget"),
        (["plan", "eresfd", "--data", "a", "--calibration", "b"], "give one"),
        (["plan", "eresfd", "--latency", "0.5", "--data", "nowhere"], "nowhere: no such folder"),
        (["plan", "eresfd", "--latency", "fast"], "--latency must be"),
        (["plan", "eresfd", "--latency", "0.5", "--target", "rpi9"], "there is no such board"),
        (["cost", "eresfd", "--target", "rpi9"], "there is no such board"),
        (["cost", "nonsense"], "no recipe for model 'nonsense'"),
        (["shrink", "eresfd", "--rate", "0.3", "--round-to", "auto"], "there is no cost report"),
        (["shrink", "eresfd", "--rate", "0.3", "--costs", "x.json"], "make it by toolchain cost"),
    ],
)
def test_the_command_line_refuses_in_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_cli(arguments) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert message in told[-1]
    assert not list(tmp_path.iterdir())


# Cost reports as files ----------------------------------------------------------------------------


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(report_json(REPORT))
    assert read_report(tmp_path / NAME, "eresfd") == REPORT


def test_a_report_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    content = json.loads(report_json(REPORT))
    content["staircases"] = content.pop("groups")
    (tmp_path / NAME).write_text(json.dumps(content))
    assert read_report(tmp_path / NAME, "eresfd") == REPORT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "extd"}, "is of extd, not of eresfd"),
        ({"size": [96]}, "is not a cost report"),
        ({"groups": 3}, "is not a cost report"),
        ({"groups": [{**dataclasses.asdict(OTHER), "widths": [2, 1]}]}, "no rising widths"),
        ({"groups": [{**dataclasses.asdict(OTHER), "widths": []}]}, "no rising widths"),
        ({"wings": 2}, "wings is unknown"),
    ],
)
def test_what_is_no_report_is_refused(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    (tmp_path / NAME).write_text(json.dumps({**json.loads(report_json(REPORT)), **change}))
    with pytest.raises(InputError) as caught:
        read_report(tmp_path / NAME, "eresfd")
    assert message in str(caught.value)
    (tmp_path / NAME).write_text("[" * 100_000)
    with pytest.raises(InputError, match="is not a cost report"):
        read_report(tmp_path / NAME, "eresfd")


# Rounding -----------------------------------------------------------------------------------------


def test_a_rate_is_rounded_to_widths_that_cost_no_more() -> None:
    recipe = override(default_recipe("eresfd"), {"prune.rate": 0.5})
    rounded = _rounded(recipe, REPORT).prune
    assert rounded.rate is None
    assert rounded.widths == {"a.0": 4, "c.0": 1}  # 2 of 4 would cost more than all 4
    with pytest.raises(InputError, match="give --rate"):
        _rounded(default_recipe("eresfd"), REPORT)
    with pytest.raises(InputError, match="in scope group"):
        _rounded(override(recipe, {"prune.scope": "layer"}), REPORT)


def test_widths_that_cost_more_than_wider_ones_are_told() -> None:
    words = slower_words(REPORT, {"a.0": 3, "c.0": 2})
    assert words.startswith("SLOWER than before on Raspberry Pi <4B> at 96 ")
    assert "a.0 3 (at 4 no more)" in words
    assert "--round-to auto" in words
    assert slower_words(REPORT, {"a.0": 2, "c.0": 1}).startswith("Some widths cost as much")
    assert slower_words(REPORT, {"a.0": 4, "c.0": 1}) == ""


# Pages --------------------------------------------------------------------------------------------


def drawings(page: str) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))
    return [each for each in root.iter("svg") if each.get("role") == "img"]


def test_the_page_of_costs_draws_every_width() -> None:
    first, second = drawings(html(cost_document(REPORT)))
    bars = first.findall("rect")
    assert [bar.get("class") for bar in bars] == [
        "part-live", "part-removed_live", "part-removed_live", "part-live",
    ]  # fmt: skip
    heights = [float(bar.get("height", "nan")) for bar in bars]
    assert heights == pytest.approx([44 * cost / 320 for cost in STAIRS.instructions], abs=0.06)
    assert len(second.findall("rect")) == 2
    assert "Raspberry Pi &lt;4B&gt;" in html(cost_document(REPORT))
    assert "20.0% of them by operators that no width changes" in html(cost_document(REPORT))


def test_the_page_of_a_plan_says_how_far_off_it_was() -> None:
    page = html(plan_document(PLAN))
    assert "the prediction was off by -1.67%" in page
    (picture,) = drawings(page)
    assert picture.findtext("title") == "a.0: 2 of 4 stay"
    assert "every group at rate 0.5" in page
    assert "every group" not in html(plan_document(dataclasses.replace(PLAN, uniform=None)))
    assert "cortex-a72 under QEMU" in page
    assert "Levels weigh 0.75, 0.25, the finest first" in page
    counted = html(plan_document(dataclasses.replace(PLAN, unit="parameters", board=None)))
    assert "Budget 600 parameters, predicted 590" in counted
    assert "QEMU" not in counted


# For real -----------------------------------------------------------------------------------------


MACS = 32 * 32 * (16 * 27 + 12 * 144 + 16 * 108 + 2 * 16)
"""Of one image of 64x64, whose first convolution has a stride."""


@pytest.mark.slow
def test_a_plan_by_parameters_or_macs_is_shrunk_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    common = ["plan", "tiny:Convolutions", "--size", "64x64", "--json", "--out", str(tmp_path)]
    assert run_cli([*common, "--parameters", "2k"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["unit"], made["board"], made["budget"]) == ("parameters", None, 2000)
    assert made["measured"] == made["predicted"] <= 2000
    assert made["unpruned"] == 16 * 28 + 12 * 145 + 16 * 109 + 2 * 17
    recipe = load_recipe(tmp_path / "plan.toml")
    assert made["criterion"] == recipe.prune.chosen_by == "outputs"
    whole = {each["group"]: each["before"] for each in made["groups"]}
    left = {
        group: whole[group] - len(named) for group, named in recipe.prune.pruned_channels.items()
    }
    assert left == recipe.prune.widths != {}
    assert "Which filters go is by outputs" in (tmp_path / "plan.html").read_text()
    surgery = json.loads((tmp_path / "shrunk" / "report.json").read_text())
    assert surgery["criterion"] == "outputs"
    assert run_cli([*common, "--parameters", "2k", "--criterion", "l1"]) == 0
    capsys.readouterr()
    by_size = load_recipe(tmp_path / "plan.toml").prune
    assert (by_size.criterion, by_size.pruned_channels) == ("l1", {})
    assert run_cli([*common, "--parameters", "4k"]) == 2
    assert "takes 3,966 parameters unpruned, within" in capsys.readouterr().err
    assert run_cli([*common, "--macs", "0.6", "--scale", "1/255"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert load_recipe(tmp_path / "plan.toml").input.scale == pytest.approx(1 / 255)
    assert made["unpruned"] == MACS
    assert (made["unit"], made["board"], made["budget"]) == ("MACs", None, int(0.6 * MACS))
    assert made["measured"] == made["predicted"] <= 0.6 * MACS


@pytest.mark.slow
def test_a_plan_by_a_rate_chooses_filters_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    common = ["plan", "tiny:Convolutions", "--size", "64x64", "--json", "--out", str(tmp_path)]
    assert run_cli([*common, "--rate", "0.25"]) == 0
    made = json.loads(capsys.readouterr().out)
    prune = load_recipe(tmp_path / "plan.toml").prune
    assert (prune.rate, prune.widths, made["uniform"]) == (0.25, {}, None)
    assert {each["group"]: each["before"] - each["after"] for each in made["groups"]} == {
        group: len(named) for group, named in prune.pruned_channels.items()
    }
    assert all(each["after"] == each["before"] - each["before"] // 4 for each in made["groups"])
    assert made["measured"] == made["predicted"] < made["unpruned"]
    assert run_cli([*common, "--rate", "0.01"]) == 2
    assert "--rate 0.01 takes no filter of any group" in capsys.readouterr().err
    assert run_cli([*common, "--rate", "1"]) == 2
    assert "--rate 1 leaves no filter in some groups" in capsys.readouterr().err
    assert run_cli([*common, "--rate", "0.25", "--parameters", "2k"]) == 2
    assert "give one budget" in capsys.readouterr().err


@pytest.mark.slow
def test_a_plan_looks_at_faces_of_all_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    data = make_wider(tmp_path / "wider", 2, train=20)
    own = '[model]\nname = "tiny:Convolutions"\n[crops]\nface_sides = [10.0, 100.0]\n'
    (tmp_path / "own.toml").write_text(own)
    common = ["--size", "64x64", "--rate", "0.25", "--json", "--out", str(tmp_path)]
    common += ["--recipe", str(tmp_path / "own.toml"), "--data", str(data)]
    assert run_cli(["plan", "tiny:Convolutions", *common]) == 0
    assert json.loads(capsys.readouterr().out)["looked_at"] == "16 crops of photos"


@pytest.mark.long
@pytest.mark.parametrize(
    ("runtime", "widths"),
    [
        ("onnxruntime", list(range(1, 17))),
        pytest.param(
            "ncnn",
            [4, 8, 12, 16],
            marks=pytest.mark.skipif(lacking_ncnn() is not None, reason="needs the extra ncnn"),
        ),
    ],
)
def test_costs_and_a_plan_on_the_emulated_board(
    runtime: str,
    widths: list[int],
    ready: Sysroot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What was predicted of a small network is what its shrunk file takes, within 2 %."""
    monkeypatch.chdir(Path(__file__).parent)
    common = ["tiny:Convolutions", "--size", "64x64", "--cache", str(ARM_CACHE), "--json"]
    common += ["--runtime", runtime]
    assert run_cli(["cost", *common, "--out", str(tmp_path / "cost")]) == 0
    found = json.loads(capsys.readouterr().out)
    (stem,) = (each for each in found["groups"] if each["group"] == "stem")
    assert stem["widths"] == widths
    taken = dict(zip(stem["widths"], stem["instructions"], strict=True))
    assert taken[8] < 0.8 * taken[16]
    assert found["runtime"].startswith(runtime)
    assert run_cli(["plan", *common, "--latency", "0.6", "--out", str(tmp_path / "plan")]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["unpruned"] == found["instructions"]
    assert made["measured"] <= 0.62 * made["unpruned"]
    assert abs(made["prediction_error"]) < 0.02
    recipe = load_recipe(tmp_path / "plan" / "plan.toml")
    assert recipe.prune.widths
    assert (tmp_path / "plan" / "shrunk" / "model.onnx").is_file()
    assert (tmp_path / "plan" / "shrunk" / "model_ncnn").is_dir() == (runtime == "ncnn")
    assert run_cli(["plan", *common, "--latency", "0.001", "--out", str(tmp_path / "no")]) == 2
    assert "is out of reach: the least that any widths need" in capsys.readouterr().err
