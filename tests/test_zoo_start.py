"""A run without weights of its own starts from the nearest network that is shipped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
import torch
from zoo_members import EXAMPLE, facts_of, make_member

from toolchain import cli
from toolchain.errors import CheckpointError
from toolchain.models.registry import build
from toolchain.pruning.groups import groups_of
from toolchain.pruning.zeroing import zero_filters
from toolchain.recipe import PruneSection, Recipe, default_recipe, override
from toolchain.records.reasons import Removal
from toolchain.records.stages import Report
from toolchain.report.document.markdown import markdown
from toolchain.report.run.notes import LOUD, zoo_notes
from toolchain.report.run.report import run_report
from toolchain.surgery.flow import trace_flow
from toolchain.workflows.pipeline import Job, run_shrink
from toolchain.workflows.stages.origin import provenance_of
from toolchain.workflows.stages.reporting import accuracy_of, source_notes
from toolchain.zoo.sources import load_member, load_start

RATES = (0.0, 0.25, 0.5)
ACCURACY = facts_of()["accuracy"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("shipped")
    for rate in RATES:
        make_member(made, rate)
    return made


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, quick_latency: None, folder: Path) -> None:
    monkeypatch.setattr("toolchain.zoo.reading.FOLDER", folder)
    monkeypatch.chdir(Path(__file__).parent)


def recipe(rate: float | None, **prune: object) -> Recipe:
    asked = {"rate": rate, "align": 1, **prune}
    sizes = {"input.height": 96, "input.width": 128}
    return override(default_recipe("eresfd"), sizes | {f"prune.{k}": v for k, v in asked.items()})


def loud(report: Report | Told) -> list[str]:
    return [note for note in report.notes if note.startswith(LOUD)]


@dataclass(frozen=True)
class Told:
    """What a report says of its start, without the rest of the run."""

    path: str | None
    rate: float | None
    accuracy: object
    notes: tuple[str, ...]


def told(job: Job) -> Told:
    loaded = load_start(job.recipe, None, job.anchor_ratio)
    rate, accuracy = provenance_of(loaded).rate, accuracy_of(loaded)
    notes = tuple(source_notes(job, loaded, None))
    return Told(loaded.source.path, rate, accuracy, notes)


def zero_rows(network: torch.nn.Module) -> dict[str, list[int]]:
    return {
        name: (~module.weight.flatten(1).bool().any(dim=1)).nonzero().flatten().tolist()
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Conv2d)
    }


@pytest.mark.long
def test_a_network_of_that_rate_is_taken_and_shrunk_in_full(tmp_path: Path) -> None:
    report = run_shrink(Job(recipe(0.25), tmp_path / "out", formats=("onnx",)))
    assert report.source.path == "eresfd-25.safetensors"
    assert report.source.trained
    assert report.accuracy == ACCURACY
    assert (report.rate, report.criterion, report.scope) == (0.25, "fpgm", "group")
    assert report.surgery.filters
    assert report.surgery.count("kept") == 0
    assert "eresfd-25" in report.notes[0]
    assert "AP 0.912 / 0.812 / 0.713 (easy / medium / hard) on 403 of the 3,226" in report.notes[0]
    assert loud(report) == []
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (found["trained"], found["accuracy"]) == (True, ACCURACY)
    model = onnx.load(tmp_path / "out" / "model.onnx")
    metadata = json.loads({p.key: p.value for p in model.metadata_props}["detector"])
    assert (metadata["trained"], metadata["anchors"]["aspect_ratio"]) == (True, 1.5)
    assert metadata["provenance"]["rate"] == 0.25


@pytest.mark.long
def test_a_higher_rate_is_pruned_in_one_shot_and_that_is_said_loudly(tmp_path: Path) -> None:
    report = run_shrink(Job(recipe(0.6), tmp_path / "out", formats=("onnx",)))
    assert report.source.path == "eresfd-50.safetensors"
    assert report.accuracy is None
    assert report.source.accuracy == ACCURACY
    assert report.rate == 0.6
    (note,) = loud(report)
    removal = report.surgery.removal
    assert removal is not None
    assert (removal.zeroed, removal.removed) == (len(report.surgery.filters), removal.asked)
    now, before = removal.zeroed - removal.zeroed_before, removal.zeroed_before
    assert before > 0
    assert note.startswith(f"ONE SHOT: {now} of {removal.filters} filters (")
    assert f"were zeroed, beside {before} that were zero (fpgm" in note
    assert "NOT MEASURED" in note
    assert "toolchain train eresfd --data WIDER --teacher WEIGHTS --rate 0.6" in note
    assert report.surgery.count("kept") == 0
    protected = default_recipe("eresfd").prune.protected
    alone = zero_filters(build("eresfd", 5), EXAMPLE, PruneSection(0.6, "fpgm", "group", protected))
    assert len(report.surgery.filters) == sum(map(len, zero_rows(alone).values()))
    assert "ONE SHOT" in markdown(run_report(report))


@pytest.mark.slow
def test_filters_that_training_zeroed_are_a_part_of_the_higher_rate() -> None:
    loaded = load_member(recipe(0.6))
    assert loaded is not None
    before = zero_rows(loaded.network)
    prune = loaded.recipe.prune
    after = zero_rows(zero_filters(loaded.network, EXAMPLE, prune, zeros_first=True))
    assert sum(map(len, after.values())) > sum(map(len, before.values())) > 0
    for name, rows in before.items():
        assert set(rows) <= set(after[name]), name


def test_a_lower_rate_takes_the_nearest_as_it_is_and_says_that_it_is_narrower(
    tmp_path: Path,
) -> None:
    report = told(Job(recipe(0.2), tmp_path / "out"))
    assert report.path == "eresfd-25.safetensors"
    assert (report.rate, report.accuracy) == (0.25, ACCURACY)
    (note,) = loud(report)
    assert note.startswith("NARROWER than the 20 %")


@pytest.mark.long
def test_a_rate_that_is_not_one_filter_more_takes_the_nearest_as_it_is(tmp_path: Path) -> None:
    report = run_shrink(Job(recipe(0.26), tmp_path / "out", formats=("onnx",)))
    assert (report.rate, report.accuracy) == (0.25, ACCURACY)
    assert loud(report) == []
    assert any("26 % is not one filter more than 25 %" in note for note in report.notes)


@pytest.mark.parametrize("rate", [None, 0.0])
def test_without_a_rate_it_is_the_one_with_all_filters(rate: float | None) -> None:
    loaded = load_member(recipe(rate))
    assert loaded is not None
    assert loaded.source.path == "eresfd-0.safetensors"
    assert loaded.recipe.prune.rate is None


ONE_SHOT = Removal(
    asked=31, removed=31, zeroed=31, zeroed_before=0, filters=104, by_rate=True, widest=16, held=()
)


@pytest.mark.parametrize("choice", [{"criterion": "l1"}, {"scope": "layer"}])
def test_another_way_to_choose_starts_where_nothing_was_chosen(choice: dict[str, str]) -> None:
    loaded = load_member(recipe(0.25, **choice))
    assert loaded is not None
    assert loaded.source.path == "eresfd-0.safetensors"
    assert loaded.recipe.prune.rate == 0.25
    assert loaded.member is not None
    notes = list(zoo_notes("eresfd-0", loaded.member, loaded.recipe.prune, ONE_SHOT))
    (name, value), = choice.items()  # fmt: skip
    assert "ONE SHOT: 31 of 104 filters (30 %) were zeroed" in notes[1]
    assert f"--rate 0.25 --{name} {value}" in notes[1]


@pytest.mark.slow
def test_another_way_to_choose_takes_nothing_if_all_that_is_shipped_has_zeros(
    tmp_path: Path,
) -> None:
    make_member(tmp_path, 0.25)
    assert load_member(recipe(0.25, criterion="l1"), folder=tmp_path) is None


WIDTHS = {"base.m0.b2_5.0.res_layer.0": 4}


@pytest.mark.slow
def test_the_very_widths_of_a_plan_take_what_was_trained_with_them(tmp_path: Path) -> None:
    make_member(tmp_path, 0.0)
    planned = make_member(tmp_path, 0.0, training={"widths": WIDTHS}, deployed_parameters=52_100)
    assert planned.name == "eresfd-52k.safetensors"
    loaded = load_member(recipe(None, widths=WIDTHS), folder=tmp_path)
    assert loaded is not None
    assert loaded.source.path == planned.name
    assert (loaded.recipe.prune.rate, loaded.recipe.prune.widths) == (None, {})
    assert loaded.member is not None
    (note,) = zoo_notes("eresfd-52k", loaded.member, recipe(None).prune, None)
    assert "a width for each group, which leaves 52,100 parameters; as shipped AP 0.912" in note
    named = {"base.m0.b2_5.0.res_layer.0": list(range(12))}
    for other in (
        {"widths": {**WIDTHS, "base.conv2.0": 7}},
        {"widths": WIDTHS, "criterion": "l1"},
        {"widths": WIDTHS, "pruned_channels": named},
    ):
        found = load_member(recipe(None, **other), folder=tmp_path)
        assert found is not None
        assert found.source.path == "eresfd-0.safetensors"
        assert found.recipe.prune.widths == other["widths"]


@pytest.mark.slow
def test_the_very_filters_of_a_plan_take_what_was_trained_without_them(tmp_path: Path) -> None:
    make_member(tmp_path, 0.0)
    named = {"base.m0.b2_5.0.res_layer.0": list(range(3, 15))}
    training = {"widths": WIDTHS, "pruned_channels": named}
    make_member(tmp_path, 0.0, training=training, criterion="outputs", deployed_parameters=52_100)
    loaded = load_member(recipe(None, widths=WIDTHS, pruned_channels=named), folder=tmp_path)
    assert loaded is not None
    assert loaded.source.path == "eresfd-52k.safetensors"
    assert not loaded.recipe.prune.zeroes
    found = load_member(recipe(None, widths=WIDTHS), folder=tmp_path)
    assert found is not None
    assert found.source.path == "eresfd-0.safetensors"


@pytest.mark.slow
def test_a_rate_takes_what_was_trained_without_filters_that_a_plan_named(tmp_path: Path) -> None:
    """The default criterion stands for the best that is shipped, and any other for itself."""
    make_member(tmp_path, 0.0)
    flow = trace_flow(build("eresfd"), EXAMPLE)
    groups = groups_of(build("eresfd"), flow, recipe(None).prune.protected)
    named = {g.name: list(range(g.width // 4)) for g in groups}
    make_member(tmp_path, 0.25, training={"pruned_channels": named}, criterion="outputs")
    for asked, name in (
        (recipe(0.25), "eresfd-25"),
        (recipe(0.3), "eresfd-25"),
        (recipe(0.25, pruned_channels=named), "eresfd-25"),
        (recipe(0.25, criterion="l1"), "eresfd-0"),
        (recipe(0.25, pruned_channels={group: [7] for group in list(named)[:1]}), "eresfd-0"),
    ):
        loaded = load_member(asked, folder=tmp_path)
        assert loaded is not None
        assert loaded.source.path == f"{name}.safetensors"
        taken = name == "eresfd-25" and asked.prune.rate == 0.25
        assert loaded.recipe.prune.zeroes != taken


@pytest.mark.slow
def test_parameters_choose_what_is_shipped_and_are_refused_beside_other_choices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("toolchain.zoo.reading.FOLDER", tmp_path)
    better = {**ACCURACY, "easy": 0.95}
    make_member(tmp_path, 0.0, deployed_parameters=90_000, accuracy=better)
    make_member(tmp_path, 0.0, training={"widths": WIDTHS}, deployed_parameters=52_100)
    asked: list[Job] = []

    def stop(job: Job, *_: object) -> Report:
        asked.append(job)
        raise CheckpointError("far enough")

    monkeypatch.setattr("toolchain.workflows.pipeline.run_shrink", stop)
    for parameters, widths in (("90k", {}), ("60k", WIDTHS)):
        assert cli.run(["shrink", "eresfd", "--parameters", parameters]) == 2
        assert asked[-1].recipe.prune.widths == widths
    capsys.readouterr()
    for arguments, words in (
        (["60k", "--rate", "0.3"], "leave out --rate"),
        (["60k", "--ckpt", "mine.pth"], "leave out --ckpt"),
        (["60k", "--untrained"], "leave out --untrained"),
        (["50k"], "smallest eresfd that is shipped has 52,100 parameters, more than 50,000"),
        (["few"], "--parameters must be a number such as 52k"),
    ):
        assert cli.run(["shrink", "eresfd", "--parameters", *arguments]) == 2
        assert words in capsys.readouterr().err
    assert len(asked) == 2


def test_anchors_that_it_was_not_measured_with_have_no_measured_precision(tmp_path: Path) -> None:
    report = told(Job(recipe(0.25), tmp_path / "out", anchor_ratio=1.0))
    assert report.path == "eresfd-25.safetensors"
    assert report.accuracy is None


@pytest.mark.long
def test_random_weights_are_still_to_be_had(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["shrink", "eresfd", "--untrained", "--size", "96x128", "--out", str(out)]
    arguments += ["--formats", "onnx"]
    assert cli.run(arguments) == 0
    assert "UNTRAINED" in capsys.readouterr().out
    found = json.loads((out / "report.json").read_text())
    assert (found["trained"], found["accuracy"], found["source"]["path"]) == (False, None, None)


def test_a_model_of_which_nothing_is_shipped_has_nothing_to_start_from() -> None:
    assert load_member(default_recipe("tiny:Tiny")) is None


@pytest.mark.slow
def test_a_damaged_member_is_told_by_its_name(tmp_path: Path) -> None:
    path = make_member(tmp_path, 0.25)
    path.rename(tmp_path / "eresfd-30.safetensors")
    with pytest.raises(CheckpointError, match=r"eresfd-30\.safetensors: holds eresfd-25"):
        load_member(recipe(0.25), folder=tmp_path)
