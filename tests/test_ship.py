"""From a training and its evaluation to a shipped network with its card."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from widerface import make_wider
from zoo_members import EXAMPLE, facts_of, make_member, zeroed

from toolchain import cli
from toolchain.checking.cost import count_parameters
from toolchain.errors import CheckpointError, InputError
from toolchain.exporting.fold import fold_batch_norm
from toolchain.models.weights import save_native
from toolchain.recipe import PruneSection, default_recipe, override
from toolchain.recipe.loading import parse_assignment
from toolchain.records.accuracy import OVERLAPS, Curve, Evaluation, Protocol, Sample, Subject
from toolchain.report.cards import card
from toolchain.report.document.markdown import markdown
from toolchain.surgery.removing import shrink
from toolchain.system.files import sha256_of
from toolchain.workflows.evaluation import as_json_content
from toolchain.zoo import shipping
from toolchain.zoo.history import TEACHERS
from toolchain.zoo.reading import Member, members

KNOWN = TEACHERS[0]


def train_settings(rate: float = 0.25, **changes: object) -> dict[str, object]:
    """What a training writes of itself: some settings here are known to nobody yet."""
    return {
        "tool": "toolchain 0.1.0",
        "model": "eresfd",
        "teacher": KNOWN.sha256,
        "start": "None",
        "rate": rate,
        "criterion": "fpgm",
        "scope": "group",
        "images": 6_000,
        "threads": 2,
        "processes": 1,
        "seed": 7,
        "device": "cpu",
        "bfloat16": False,
        "photos": 1_234,
        "crop.side": 640,
        "teach.batch": 4,
        "teach.labels": 0.0,
        "something.new": [1, 2],
        "newer": "x",
        **changes,
    }


def finished(
    folder: Path, scope: str = "group", record: Mapping[str, object] | None = None, **changes: Any
) -> Path:
    """Write what a finished training leaves; ``record`` overrides train.json alone."""
    settings = train_settings(**changes)
    protected = default_recipe("eresfd").prune.protected
    rate = float(str(settings["rate"])) or None
    widths: Any = settings.get("widths", {})
    gone: Any = settings.get("pruned_channels", {})
    prune = PruneSection(rate, "fpgm", scope, protected, widths=widths, pruned_channels=gone)  # type: ignore[arg-type]
    network = zeroed(prune)
    folder.mkdir(parents=True)
    facts = {"model": "eresfd", "trained": True, "aspect_ratio": 1.25, "training": settings}
    save_native(network, folder / "model.safetensors", facts)
    written = {**settings, "losses": [1.0], "teacher_file": "teacher.pth", "seconds": 5_400.0}
    (folder / "train.json").write_text(json.dumps({**written, **(record or {})}))
    return folder


def evaluated(
    training: Path, sha256: str | None = None, ratio: str = "1.25", limit: int | None = None,
    protocol: str = "single", split: str = "val",
) -> Path:  # fmt: skip
    """Write an eval.json of the training's weights, by the evaluation's own means."""
    digest = sha256 or sha256_of(training / "model.safetensors")
    settings = {"anchor height / width": ratio, OVERLAPS: "their mean, support 0.2"}
    subject = Subject("mine", "network", "eresfd", digest, settings)
    nothing = torch.zeros(1000).double().numpy()
    evaluation = Evaluation(
        subject,
        Protocol(protocol, 0.01, 5000, 0.3, 750),  # type: ignore[arg-type]
        Sample(split, 3_226, 2_823, 403, limit, "c" * 64),
        tuple(
            Curve(level, 9, ap, nothing, nothing)
            for level, ap in (("easy", 0.876543), ("medium", 0.75), ("hard", 0.5))
        ),
    )
    path = training / "eval.json"
    path.write_text(json.dumps(as_json_content([evaluation])))
    return path


def make(training: Path, folder: Path, evaluation: Path | None = None, **changes: Any) -> Member:
    wanted = shipping.Wanted(training, evaluation or evaluated(training), **changes)
    return shipping.make_member(wanted, folder)


@pytest.mark.slow
def test_a_member_says_what_training_and_evaluation_found(tmp_path: Path) -> None:
    member = make(finished(tmp_path / "run"), tmp_path)
    (read,) = members("eresfd", tmp_path)
    assert read == member
    facts = read.facts
    assert read.path.name == "eresfd-25.safetensors"
    assert facts["accuracy"] == {
        "protocol": "single", "photos": 403, "overlaps": "their mean, support 0.2",
        "easy": 0.876543,
        "medium": 0.75, "hard": 0.5,
    }  # fmt: skip
    assert (facts["images"], facts["seed"], facts["hours"]) == (6_000, 7, 1.5)
    assert (facts["teacher_name"], facts["teacher_sha256"]) == (KNOWN.name, KNOWN.sha256)
    assert facts["teacher_licence"] == "Apache-2.0"
    assert facts["aspect_ratio"] == 1.25
    assert "1,234 photos" in facts["data"]
    assert facts["training"]["something.new"] == [1, 2]
    (written,) = shipping.write_cards(tmp_path)
    assert written.read_text(encoding="utf-8") == markdown(card(facts))


@pytest.mark.slow
def test_parameters_are_those_that_are_left_by_the_surgery(tmp_path: Path) -> None:
    member = make(finished(tmp_path / "run"), tmp_path)
    protected = default_recipe("eresfd").prune.protected
    soft = zeroed(PruneSection(0.25, "fpgm", "group", protected))
    shrunk, _ = shrink(soft, EXAMPLE)
    expected = sum(count_parameters(fold_batch_norm(shrunk, EXAMPLE)))
    assert member.facts["deployed_parameters"] == expected


@pytest.mark.slow
def test_the_command_holds_all_that_the_command_line_knows(tmp_path: Path) -> None:
    member = make(finished(tmp_path / "run"), tmp_path)
    assert shlex.split(member.facts["command"]) == [
        "toolchain", "train", "eresfd", "--data", "WIDER", "--teacher", "teacher.pth",
        "--images", "6000", "--align", "1", "--rate", "0.25", "--criterion", "fpgm",
        "--scope", "group", "--threads", "2", "--seed", "7", "--device", "cpu",
        "--set", "crops.side=640", "--set", "teach.batch=4", "--set", "teach.labels=0.0",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_plan_has_a_name_by_its_parameters_and_its_widths_in_the_command(tmp_path: Path) -> None:
    widths = {"base.m0.b2_5.0.res_layer.0": 4, "base.m0.b2_5.1.res_layer.0": 6}
    member = make(finished(tmp_path / "run", rate=0.0, widths=widths), tmp_path)
    facts = member.facts
    narrowed = (12 + 10) * (16 * 9 * 2 + 1)  # what a filter reads, what reads it, its bias
    assert facts["deployed_parameters"] == 91_360 - narrowed
    assert member.path.name == f"eresfd-{round((91_360 - narrowed) / 1000)}k.safetensors"
    assert members("eresfd", tmp_path) == (member,)
    assert member.widths == widths
    words = shlex.split(facts["command"])
    given = words[words.index("--set") + 1]
    assert (
        override(default_recipe("eresfd"), dict([parse_assignment(given)])).prune.widths == widths
    )
    text = markdown(card(facts))
    assert "# eresfd, 85,002 parameters" in text
    assert "`toolchain shrink eresfd --parameters 85002` takes it" in text
    assert "takes more computation" in text


@pytest.mark.slow
def test_filters_that_a_plan_named_are_in_the_command_in_place_of_a_criterion(
    tmp_path: Path,
) -> None:
    group = "base.m0.b2_5.0.res_layer.0"
    named = {group: [1, 2, 3, 5, 8, 13]}
    run = finished(
        tmp_path / "run", rate=0.0, widths={group: 10}, pruned_channels=named, criterion="outputs"
    )
    member = make(run, tmp_path)
    assert member.pruned_channels == {group: (1, 2, 3, 5, 8, 13)}
    assert "--criterion" not in member.facts["command"]
    given = [word for word in shlex.split(member.facts["command"]) if word.startswith("prune.")]
    changes = dict(parse_assignment(word) for word in given)
    prune = override(default_recipe("eresfd"), changes).prune
    assert (prune.widths, prune.pruned_channels) == ({group: 10}, member.pruned_channels)
    assert "by what the outputs lose without each" in markdown(card(member.facts))


@pytest.mark.slow
def test_a_card_says_openly_that_layers_were_solved(tmp_path: Path) -> None:
    solved = make(finished(tmp_path / "run", **{"teach.solved": 80}), tmp_path).facts
    assert "finds the teacher's filters again" in markdown(card(solved))
    assert "--set teach.solved=80" in solved["command"]
    assert "finds the teacher's filters again" not in markdown(card(facts_of()))


@pytest.mark.slow
def test_several_processes_and_half_precision_are_in_the_command(tmp_path: Path) -> None:
    changes = {"processes": 4, "device": "cuda", "bfloat16": True}
    command = make(finished(tmp_path / "run", **changes), tmp_path).facts["command"]
    assert command.startswith("torchrun --nproc-per-node 4 -m toolchain.cli train eresfd ")
    assert "--device cuda --bfloat16" in command


@pytest.mark.slow
def test_a_training_that_went_on_from_a_member_has_its_history_too(tmp_path: Path) -> None:
    start = make_member(tmp_path, 0.0, command="toolchain train eresfd --first")
    run = finished(tmp_path / "run", start=sha256_of(start))
    facts = make(run, tmp_path).facts
    first, second = facts["command"].split(" && ")
    assert first == "toolchain train eresfd --first --out out/train/eresfd-step-1"
    assert second.endswith(" --from out/train/eresfd-step-1/model.safetensors")
    assert (facts["images"], facts["hours"]) == (4_321 + 6_000, 3.75)
    assert facts["teacher_name"] == f"A Teacher; {KNOWN.name}"
    again = finished(tmp_path / "more", start=sha256_of(tmp_path / "eresfd-25.safetensors"))
    third = make(again, tmp_path).facts["command"]
    assert third.startswith(f"{facts['command']} --out out/train/eresfd-step-2 && toolchain train")
    assert third.endswith(" --from out/train/eresfd-step-2/model.safetensors")


@pytest.mark.slow
def test_a_training_that_went_on_from_another_names_it_once_its_file_is_given(
    tmp_path: Path,
) -> None:
    first = finished(tmp_path / "first", rate=0.0)
    weights = first / "model.safetensors"
    run = finished(tmp_path / "run", start=sha256_of(weights), teacher=None)
    with pytest.raises(InputError, match="it started from weights that are none of those shipped"):
        make(run, tmp_path)
    facts = make(run, tmp_path, starts=(weights,)).facts
    assert facts["command"].count("toolchain train eresfd") == 2
    assert facts["teacher_name"] == KNOWN.name
    assert facts["hours"] == 3.0


@pytest.mark.slow
def test_an_unknown_teacher_is_refused_unless_its_licence_allows_it(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", teacher="ab" * 32)
    with pytest.raises(InputError, match=r"teacher\.pth .* is not known to allow"):
        make(run, tmp_path)
    with pytest.raises(InputError, match="must be free for any use"):
        make(run, tmp_path, teacher_licence="academic, non-commercial")
    assert members("eresfd", tmp_path) == ()
    facts = make(run, tmp_path, teacher_licence="BSD-3-Clause", teacher_name="Mine").facts
    assert (facts["teacher_name"], facts["teacher_licence"]) == ("Mine", "BSD-3-Clause")


def test_the_papers_own_weights_teach_nothing_that_is_shipped(shared: Path) -> None:
    for path in sorted((shared / "weights" / "paper").rglob("*.pth")):
        assert sha256_of(path) not in {teacher.sha256 for teacher in TEACHERS}


def test_the_known_teachers_are_the_published_files(shared: Path) -> None:
    from toolchain.models.layouts import read_checkpoint

    upstream = shared / "weights" / "upstream"
    places = (
        upstream / "eresfd",
        upstream / "extd/EXTD_64.pth",
        shared / "peers/yunet_n_dynamic.onnx",
    )
    found = {read_checkpoint(place).sha256 for place in places}
    assert found == {teacher.sha256 for teacher in TEACHERS}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sha256": "d" * 64}, "holds no result of"),
        ({"protocol": "paper"}, "by protocol single"),
        ({"limit": 100}, "not a sample"),
        ({"split": "train"}, "must be of all photos of val"),
        ({"ratio": "1"}, "its anchors are 1 times as high as wide"),
    ],
)
def test_an_evaluation_of_something_else_is_refused(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    run = finished(tmp_path / "run")
    with pytest.raises(InputError, match=words):
        make(run, tmp_path, evaluated(run, **changes))
    assert members("eresfd", tmp_path) == ()


def test_files_of_two_trainings_are_refused(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", record={"seed": 8})
    with pytest.raises(InputError, match=r"seed is 7 here and 8 in the record"):
        make(run, tmp_path)


@pytest.mark.slow
def test_zero_filters_that_cannot_all_go_are_refused(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", scope="layer")
    with pytest.raises(CheckpointError, match="cannot be removed"):
        make(run, tmp_path)


def test_a_card_shows_what_is_strange_as_it_is() -> None:
    text = markdown(card(facts_of(terms="<b>*free*</b>", command="a && b ``` c")))
    assert "\\<b>\\*free\\*\\</b>" in text
    assert "````text\na &&\nb ``` c\n````" in text
    assert "Faces behind \\| bars." in text
    assert "| crop.scales | \\[0.35, 1.6\\] |" in text
    assert "| 0.912 | 0.812 | 0.713 |" in text
    assert "Teacher: none" in markdown(card(facts_of(teacher_sha256="", teacher_name="")))


@pytest.mark.slow
def test_all_cards_are_written_again_from_what_the_files_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_member(tmp_path, 0.25)
    assert cli.run(["ship", "--into", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'costs.json'}\n{path.with_suffix('.md')}\n"
    (member,) = members("eresfd", tmp_path)
    cost = member.instructions["cortex-a72"]
    text = path.with_suffix(".md").read_text(encoding="utf-8")
    assert text == markdown(card(facts_of(0.25), instructions=cost))
    assert f"ncnn takes about {cost / 1e6:.1f} M instructions" in text


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished(tmp_path / "run")
    report = str(evaluated(run))
    (tmp_path / "empty").mkdir()
    for arguments, words in (
        ([str(run)], "--evaluation must name the eval.json"),
        ([str(tmp_path / "empty"), "--evaluation", report], "the record of a finished training"),
        ([str(run), "--evaluation", "nowhere.json"], "nowhere.json: holds no result"),
        ([str(run), "--evaluation", report, "--start", "nowhere.pth"], "nowhere.pth cannot be"),
        ([str(run), "--evaluation", report, "--into", "nowhere"], "nowhere: must be a folder"),
    ):
        assert cli.run(["ship", "--into", str(tmp_path), *arguments]) == 2
        lines = [x for x in capsys.readouterr().err.splitlines() if not x.startswith("[")]
        assert len(lines) == 1, lines
        assert words in lines[0]


@pytest.mark.slow
def test_what_train_and_evaluate_write_is_what_ship_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(make_wider(tmp_path / "wider", 2, train=4))
    run, found = tmp_path / "run", tmp_path / "eval"
    train = ["train", "eresfd", "--data", data, "--rate", "0.25", "--epochs", "1", "--batch", "2"]
    train += ["--set", "train.hold_epochs=1", "--set", "crops.side=96", "--threads", "1"]
    assert cli.run([*train, "--sample", "0", "--out", str(run), "--cache", str(tmp_path)]) == 0
    weights = str(run / "model.safetensors")
    assert cli.run(["evaluate", weights, "--data", data, "--out", str(found)]) == 0
    report = str(found / "eval.json")
    assert cli.run(["ship", str(run), "--evaluation", report, "--into", str(tmp_path)]) == 0
    printed = capsys.readouterr().out.splitlines()[-3:]
    names = ("eresfd-25.safetensors", "costs.json", "eresfd-25.md")
    assert printed == [str(tmp_path / name) for name in names]
    command = members("eresfd", tmp_path)[0].facts["command"]
    assert "--set train.hold_epochs=1" in command
    assert "--set crops.side=96" in command
