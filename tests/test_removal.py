"""What a run was to remove and what went; a run that removes too little is no success."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from torch import nn

from toolchain import cli
from toolchain.errors import RemovalError
from toolchain.pruning.removal import account
from toolchain.pruning.zeroing import zero_and_tell
from toolchain.recipe import PruneSection, Recipe, default_recipe, override
from toolchain.records.reasons import Held, Reason, Removal
from toolchain.records.stages import Report
from toolchain.report.run import removal as words
from toolchain.surgery.removing import shrink
from toolchain.workflows.pipeline import Job, run_shrink

IMAGE = torch.zeros(1, 3, 32, 40)
SOFTMAX = Reason("operator", operator="_softmax")


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, quick_latency: None) -> None:
    monkeypatch.chdir(Path(__file__).parent)


def removal_of(network: nn.Module, **prune: object) -> Removal:
    section = PruneSection(protected=(), **prune)  # type: ignore[arg-type]
    zeroed = zero_and_tell(network.eval(), IMAGE, section)
    _, surgery = shrink(zeroed.network, IMAGE)
    return account(network, zeroed.network, surgery, zeroed.asked)


@pytest.mark.parametrize("scope", ["group", "layer"])
def test_layers_that_must_stay_are_asked_for_and_the_operator_named(scope: str) -> None:
    """A quarter of 24 and of 8; the output's two filters are the network's own."""
    found = removal_of(tiny.Mixed(), rate=0.25, scope=scope)
    assert (found.asked, found.removed, found.filters) == (8, 2, 34)
    assert found.zeroed == (2 if scope == "group" else 8)
    assert found.held == (Held(("stem",), 6, SOFTMAX),)
    assert words.falls_short(found)


@pytest.mark.parametrize("scope", ["group", "layer"])
def test_a_network_that_mixes_all_its_channels_holds_them(scope: str) -> None:
    found = removal_of(tiny.AllMixed(), rate=0.25, scope=scope)
    assert (found.asked, found.removed) == (5, 0)  # floor of 8 / 4 and of 12 / 4
    assert found.held == (Held(("first", "second"), 5, SOFTMAX),)


def test_a_layer_that_the_recipe_protects_is_not_asked_for() -> None:
    """Nor one that shares its channels: ``end`` writes the stream that ``stem`` writes."""
    section = PruneSection(rate=0.25, protected=("stem",))
    asked = zero_and_tell(tiny.Convolutions().eval(), IMAGE, section).asked
    assert asked.filters == {"inner": 3}
    assert asked.left_out == ()


def test_a_weight_that_two_layers_share_is_asked_for_and_held() -> None:
    network = tiny.Convolutions()
    network.extra = nn.Conv2d(16, 12, 3, padding=1)
    network.extra.weight = network.inner.weight
    asked = zero_and_tell(network.eval(), IMAGE, PruneSection(rate=0.25)).asked
    shared = {held.layers[0]: held for held in asked.left_out if held.reason.code != "operator"}
    assert shared["inner"] == Held(("inner",), 3, Reason("shared_weight", ("inner",)))


def test_what_a_user_zeroed_before_is_told_apart() -> None:
    network = tiny.Convolutions()
    network.inner.weight.data[:2] = 0
    found = removal_of(network, rate=0.5, criterion="l1")
    assert (found.zeroed, found.zeroed_before) == (8 + 6 + 8, 2)
    assert words.zeroed_words(found) == (
        "20 of 46 filters (43 %) were zeroed, beside 2 that were zero"
    )


FOUND = Removal(
    asked=9, removed=3, zeroed=9, zeroed_before=0, filters=30, by_rate=True, widest=16, held=()
)
PRUNE = PruneSection(rate=0.3)


def test_a_third_is_enough() -> None:
    assert not words.falls_short(FOUND)
    assert words.falls_short(replace(FOUND, removed=2))
    assert words.falls_short(replace(FOUND, asked=0, removed=0))


def test_without_a_rate_something_is_enough_and_nothing_zero_needs_nothing() -> None:
    given = replace(FOUND, by_rate=False, asked=9, removed=1)
    assert not words.falls_short(given)
    assert words.falls_short(replace(given, removed=0))
    assert not words.falls_short(replace(given, asked=0, zeroed=0, removed=0))


def test_the_words_name_what_holds_and_what_to_do() -> None:
    held = (Held(("a", "b"), 6, SOFTMAX), Held(("c",), 1, Reason("still_written", ("d",))))
    found = replace(FOUND, removed=2, held=held)
    assert words.shortfall_words(found, replace(PRUNE, scope="layer")) == (
        "rate 0.3 asks to remove 9 of 30 filters, and only 2 can, less than a third, so nothing "
        "is exported. What stays: 6 filters of a and b, which must stay: the operator "
        "aten._softmax does not keep channels apart; 1 filter of c, which are still written by d. "
        "To go on, "
        "give --scope group, which zeroes a channel in all layers that write it; or list these "
        "layers under prune.protected in a recipe: then they are not asked for; or give "
        "--accept-partial to take what can be removed."
    )
    assert "and none can" in words.shortfall_words(replace(found, removed=0), PRUNE)


def test_a_rate_that_takes_no_filter_is_told_with_the_least_that_does() -> None:
    found = words.shortfall_words(replace(FOUND, asked=0, removed=0), replace(PRUNE, rate=0.01))
    assert "rate 0.01 takes no filter of any layer" in found
    assert "the widest that may be narrowed has 16 filters, so give 0.0625 or more" in found
    none = words.shortfall_words(replace(FOUND, asked=0, removed=0, widest=0), PRUNE)
    assert "no layer can be narrowed" in none


# Whole runs --------------------------------------------------------------------------------------


def recipe(factory: str, **prune: object) -> Recipe:
    sizes = {"input.height": 32, "input.width": 40}
    given = {f"prune.{key}": value for key, value in prune.items()}
    return override(default_recipe(f"tiny:{factory}"), sizes | given)


def run(factory: str, out: Path, *, partial: bool = False, **prune: object) -> Report:
    return run_shrink(Job(recipe(factory, **prune), out, formats=("onnx",), accept_partial=partial))


def test_a_rate_that_removes_nothing_exports_nothing_and_leaves_the_ledger(tmp_path: Path) -> None:
    with pytest.raises(RemovalError, match=r"asks to remove 5 of 22 filters, and none can") as told:
        run("AllMixed", tmp_path / "out", rate=0.25, partial=True)
    assert told.value.exit_code == 1
    assert "5 filters of first and second" in str(told.value)
    assert "the operator aten._softmax does not keep channels apart" in str(told.value)
    assert [path.name for path in tmp_path.iterdir()] == ["out.failed"]
    ledger = json.loads((tmp_path / "out.failed" / "surgery.json").read_text())
    assert (ledger["removal"]["asked"], ledger["removal"]["removed"]) == (5, 0)
    (held,) = ledger["removal"]["held"]
    assert (held["layers"], held["filters"]) == (["first", "second"], 5)
    assert held["reason"]["code"] == "operator"


@pytest.mark.slow
def test_less_than_a_third_is_taken_only_where_it_is_accepted(tmp_path: Path) -> None:
    with pytest.raises(RemovalError, match=r"only 2 can, less than a third.*--accept-partial"):
        run("Mixed", tmp_path / "out", rate=0.25)
    report = run("Mixed", tmp_path / "out", rate=0.25, partial=True)
    (note,) = [note for note in report.notes if note.startswith("PARTIAL")]
    assert "rate 0.25 asks to remove 8 of 34 filters, and only 2 can" in note
    assert any("In one shot 2 of 34 filters (6 %) were zeroed" in note for note in report.notes)
    written = json.loads((tmp_path / "out" / "surgery.json").read_text())["removal"]
    assert (written["asked"], written["removed"], written["zeroed"]) == (8, 2, 2)


def test_the_command_line_ends_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["tiny:AllMixed", "--rate", "0.25", "--size", "32x40", "--formats", "onnx"]
    assert cli.run(["shrink", *arguments, "--out", str(tmp_path / "out")]) == 1
    assert "the operator aten._softmax does not keep channels apart" in capsys.readouterr().err


def test_zero_filters_of_which_none_can_go_are_no_success(tmp_path: Path) -> None:
    network = tiny.AllMixed()
    network.first.weight.data[:3] = 0
    torch.save(network.state_dict(), tmp_path / "zeroed.pth")
    with pytest.raises(RemovalError, match="3 filters of 22 are zero and none can be removed"):
        run_shrink(Job(recipe("AllMixed"), tmp_path / "out", tmp_path / "zeroed.pth"))


@pytest.mark.slow
def test_weights_without_a_zero_filter_are_exported_and_it_is_said(tmp_path: Path) -> None:
    report = run("Convolutions", tmp_path / "out")
    assert "No filter is zero, and nothing was removed." in report.notes
    assert report.cost_before == report.cost_after
