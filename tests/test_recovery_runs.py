"""Recoveries from beginning to end: in Python, from a folder of photos, stopped and taken up."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT
from teaching import Residual
from torch import Tensor, nn

import toolchain as tc
from toolchain.cli.app import run as run_command
from toolchain.errors import CheckpointError, InputError, RecipeError
from toolchain.library.recovery_runs import RecoveryJob, recover_from_photos
from toolchain.models.choosing import PLAIN
from toolchain.models.layouts import read_checkpoint
from toolchain.models.registry import build
from toolchain.models.weights import save_native
from toolchain.recipe import default_recipe, override
from toolchain.system.files import sha256_of

EXAMPLE = torch.zeros(1, 3, 16, 16)


def pictures(count: int) -> Tensor:
    torch.manual_seed(1)
    coarse = torch.randn(count, 3, 3, 3)
    return torch.nn.functional.interpolate(coarse, (16, 16), mode="bicubic")


def network() -> nn.Module:
    torch.manual_seed(0)
    found = Residual(classes=3)
    with torch.no_grad():
        for _ in range(5):
            found.train()(pictures(8))
    return found


def recovered(**options: Any) -> tuple[nn.Module, tc.RecoveryReport]:
    reports: list[tc.RecoveryReport] = []
    settings = {"images": pictures(96), "steps": 24, "rate": 0.3, "on_report": reports.append}
    student = tc.recover(network(), EXAMPLE, **{**settings, **options})
    return student, reports[0]


@pytest.mark.slow
def test_a_pruned_network_comes_nearer_to_what_it_was_and_can_be_shrunk() -> None:
    given = network()
    before = copy.deepcopy(given.state_dict())
    reports: list[tc.RecoveryReport] = []
    notes: list[str] = []
    student = tc.recover(
        given,
        EXAMPLE,
        images=pictures(96),
        steps=24,
        rate=0.3,
        on_report=reports.append,
        on_note=notes.append,
    )
    (report,) = reports
    assert report.recovered["output"] > max(report.solved["output"], report.pruned["output"])
    assert notes[0].startswith("output is compared as plain numbers; ")
    assert notes[1].startswith("layers solved in closed form: output ")
    assert all(torch.equal(given.state_dict()[name], value) for name, value in before.items())
    assert student.training
    assert given.training
    assert all(parameter.requires_grad for parameter in student.parameters())
    small = tc.shrink(student, EXAMPLE)
    assert not small.report.kept
    assert "24 steps" in str(report)


@pytest.mark.slow
def test_the_users_loss_and_evaluation_count_and_the_best_is_kept() -> None:
    seen: list[int] = []

    def loss(outputs: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
        seen.append(len(batch[1]))
        return nn.functional.cross_entropy(outputs, batch[1])

    figures = iter([0.9, 0.1, 0.2, 0.5, *[0.3] * 100])
    asked: list[Tensor] = []

    def evaluate(student: nn.Module) -> Mapping[str, float]:
        assert not student.training
        asked.append(student.get_parameter("fc.weight").detach().clone())
        return {"accuracy": next(figures)}

    labelled = [(each, torch.arange(8) % 3) for each in pictures(64).split(8)]
    student, report = recovered(images=labelled, loss=loss, evaluate=evaluate, steps=20)
    assert seen == [8] * 14  # end to end alone
    assert report.evaluated["before"] == {"accuracy": 0.9}
    assert report.kept_step < 20
    assert torch.equal(student.get_parameter("fc.weight"), asked[3])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate": 0.99}, "too few to learn through"),
        ({"rate": 0.0}, "nothing is to be pruned"),
        ({"steps": 0}, "steps must be"),
        ({"minutes": 0}, "minutes must be"),
        (
            {"minutes": 1e-6, "steps": None},
            "minutes are too few: all but the steps takes",
        ),
        ({"outputs": {"0": "boxs"}}, "must be one of"),
        ({"blocks": ["layr1"]}, "no module's name matches"),
        ({"blocks": "layer1"}, "must be a list"),
        ({"blocks": []}, "must be a list"),
        ({"minutes": "3"}, "minutes must be"),
        ({"loss": lambda outputs, batch: outputs.sum() * math.nan}, "must return a finite number"),
        ({"evaluate": lambda network: None}, "must return a dict of figures"),
        ({"evaluate": lambda network: {"accuracy": "high"}}, "must return a dict of figures"),
        ({"evaluate": lambda network: {"accuracy": math.nan}}, "must return a dict of figures"),
    ],
)
@pytest.mark.slow
def test_what_cannot_be_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises((RecipeError, InputError), match=words):
        recovered(**options)


# Folders of photos ------------------------------------------------------------------------------

FACTORY = """
import torch
from torch import nn
from teaching import Residual

def build():
    torch.manual_seed(0)
    network = Residual(classes=3)
    return network

build.input_size = (16, 16)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of any size, nested, one grey, one broken."""
    place = tmp_path_factory.mktemp("photos")
    pictures_in(place)
    return place


def pictures_in(place: Path) -> None:
    (place / "more").mkdir()
    generator = np.random.default_rng(0)
    for number in range(12):
        coarse = generator.integers(0, 255, (4, 5, 3), dtype=np.uint8)
        size = (40 + 5 * number, 60 - 3 * number)
        pixels = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
        if number == 3:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
        cv2.imwrite(str(place / ("more" if number % 2 else "") / f"{number}.png"), pixels)
    (place / "broken.jpg").write_bytes(b"\xff\xd8 not a photo")
    (place / "notes.txt").write_text("no photo")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mynet.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "tests")
    torch.manual_seed(0)
    torch.save(network().state_dict(), tmp_path / "best.pth")
    return tmp_path


def job_of(home: Path, folder: Path, out: str, **options: Any) -> RecoveryJob:
    recipe = override(
        default_recipe("mynet:build"),
        {
            "prune.rate": 0.3, "input.height": 16, "input.width": 16, "input.scale": 1 / 64,
            "input.mean": [2.0, 2.0, 2.0],
        },
    )  # fmt: skip
    settings = {
        "recipe": recipe, "ckpt": home / "best.pth", "choice": PLAIN, "images": folder,
        "out": home / out, "minutes": 1.0, "steps": 12, "batch": 4, "outputs": {},
        "blocks": None, "half": False, "device": "cpu", "threads": 1, "workers": 0, "seed": 0,
        "cache": home / "cache", "keep_every_seconds": 0.0,
    }  # fmt: skip
    return RecoveryJob(**{**settings, **options})


def go(job: RecoveryJob, stop_after: int | None = None) -> tc.RecoveryReport:
    def on_step(phase: str, step: int, steps: int, loss: float) -> None:
        if step == stop_after:
            raise KeyboardInterrupt

    return recover_from_photos(job, lambda done, total: None, on_step, lambda words: None)


def weights(home: Path, out: str) -> Mapping[str, Tensor]:
    return read_checkpoint(home / out / "model.safetensors").state


@pytest.mark.slow
@pytest.mark.parametrize("stop_after", [2, 9])
def test_a_recovery_that_is_taken_up_ends_bit_for_bit_the_same(
    home: Path, folder: Path, stop_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = go(job_of(home, folder, "whole"))
    with pytest.raises(KeyboardInterrupt):
        go(job_of(home, folder, "parts"), stop_after)
    monkeypatch.setattr("toolchain.recovery.plan.FULL_BATCH", 1)  # another version's rates
    taken_up = go(job_of(home, folder, "parts"))
    ours, theirs = weights(home, "whole"), weights(home, "parts")
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert taken_up.recovered == whole.recovered
    assert taken_up.solved == whole.solved
    with pytest.raises(CheckpointError, match="seed was 0, is 1"):
        go(job_of(home, folder, "parts", seed=1))
    with pytest.raises(CheckpointError, match="steps was 12, is 14"):
        go(job_of(home, folder, "parts", steps=14))


@pytest.mark.slow
def test_a_state_that_keeps_no_plan_of_its_steps_is_refused(home: Path, folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        go(job_of(home, folder, "old"), 2)
    path = home / "old" / "state.pt"
    content = torch.load(path, weights_only=True)
    settings = json.loads(content["settings"])
    del settings["plan"]
    torch.save({**content, "settings": json.dumps(settings)}, path)
    with pytest.raises(CheckpointError, match="begun by an earlier version"):
        go(job_of(home, folder, "old"))


@pytest.mark.slow
def test_the_command_shows_blocks_recovers_and_names_what_it_left_out(
    home: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["recover", "mynet:build", "--ckpt", "best.pth", "--rate", "0.3", "--scale", "1/64",
             "--mean", "2"]  # fmt: skip
    assert run_command([*words, "--dry-run"]) == 0
    assert "  0  Basic, 2 layers" in capsys.readouterr().out
    words += ["--images", str(folder), "--steps", "6", "--batch", "2", "--cache", "cache"]
    assert run_command([*words, "--threads", "1", "--outputs", "0=logits", "--out", "done"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "output same class" in out
    assert "left out: broken" in out
    assert "There are 12 photos" in out
    page = (home / "done" / "recover.html").read_text()
    for shown in ("recovery, done", "12 photos", "Loss by block", "layer1", "Zero filters"):
        assert shown in page
    record = json.loads((home / "done" / "recover.json").read_text())
    assert {each["number"] for each in record["classes"]["output"]} <= {0, 1, 2}
    assert record["steps"] == 6
    assert record["images"] == 1
    assert run_command(["shrink", "mynet:build", "--ckpt", "done/model.safetensors",
                        "--out", "small", "--formats", "onnx"]) == 0  # fmt: skip


@pytest.mark.slow
def test_a_target_in_place_of_a_rate_is_met_and_told(
    home: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["recover", "mynet:build", "--ckpt", "best.pth", "--scale", "1/64", "--mean", "2"]
    assert run_command([*words, "--macs", "0.6", "--dry-run"]) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    assert "MACs" in told
    words += ["--images", str(folder), "--steps", "2", "--cache", "cache"]
    assert run_command([*words, "--macs", "0.6", "--threads", "1", "--out", "macs"]) == 0
    assert told in " ".join(capsys.readouterr().out.split())
    record = json.loads((home / "macs" / "recover.json").read_text())
    reached = record["reached"]
    assert reached["cost"] <= 0.6 * reached["unpruned"]
    assert (record["macs"], record["rate"]) == (0.6, reached["rate"])
    assert record["batch"] == 8  # small ones, and nobody said another number
    shrink = ["shrink", "mynet:build", "--ckpt", "macs/model.safetensors", "--formats", "onnx"]
    assert run_command([*shrink, "--out", "small"]) == 0
    assert (
        json.loads((home / "small" / "report.json").read_text())["macs"]["after"] == reached["cost"]
    )


@pytest.mark.slow
def test_a_sweep_recovers_and_shrinks_at_each_rate_and_tells_what_fails(
    home: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["recover", "mynet:build", "--ckpt", "best.pth", "--scale", "1/64", "--mean", "2"]
    words += ["--images", str(folder), "--steps", "2", "--batch", "2", "--cache", "cache"]
    words += ["--threads", "1", "--rates", "0.5,0.99", "--out", "sweep"]
    assert run_command(words) != 0
    told = capsys.readouterr()
    assert "1 of 2 members failed (rate 0.99: " in " ".join(told.err.split())
    made = json.loads((home / "sweep" / "sweep.json").read_text())
    half, failed = made["members"]
    assert failed["state"] == "failed"
    record = json.loads((home / "sweep" / "rate-0.5" / "recovered" / "recover.json").read_text())
    assert half["accuracy"] == record["recovered"] != {}
    page = (home / "sweep" / "sweep.html").read_text()
    assert "Size against agreement, with the network before" in page
    assert "./rate-0.5/shrunk/report.html" in page
    shrunk = home / "sweep" / "rate-0.5" / "shrunk" / "model.onnx"
    before = shrunk.stat().st_mtime_ns
    assert run_command([*words, "--rates", "0.5"]) == 0
    assert shrunk.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rates", "0.1,0.3", "--rate", "0.3"], "give it without --rate, a target"),
        (["--rates", "0.1,0.3"], "--dry-run shows one network"),
        (["--macs", "0.001"], "macs=0.001 is out of reach: the highest rate leaves"),
        (["--macs", "0.5", "--rate", "0.3"], "give one budget"),
        (["--macs", "0.5", "--parameters", "1k"], "give one budget"),
        (["--macs", "1.5"], "--macs must be a number such as 200M, or a share"),
        (["--parameters", "100M"], "nothing is to be pruned"),
        (["--rate", "0.3", "--target", "rpi5"], "--target and --runtime are for --instructions"),
        (["--instructions", "1M", "--target", "rpi9"], "rpi9"),
        (["--set", "prune.widths={stem=2}", "--macs", "0.5"], "the recipe's plan says how much"),
        ([], "there is nothing to recover without a rate"),
    ],
)
def test_what_no_target_can_be_is_refused_in_one_line(
    words: list[str], message: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["recover", "mynet:build", *words, "--dry-run"]) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.slow
def test_a_detector_keeps_the_anchors_of_its_weights_and_tells_the_boxes_that_both_find(
    home: Path, folder: Path
) -> None:
    """A checkpoint's anchors may be other than the recipe's."""
    network = build("eresfd", 0)
    with torch.no_grad():
        network.train()(torch.randn(2, 3, 128, 128) * 60)
    save_native(network, home / "eresfd.safetensors",
                {"model": "eresfd", "trained": True, "aspect_ratio": 1.5})  # fmt: skip
    recipe = override(
        default_recipe("eresfd"), {"prune.rate": 0.3, "input.height": 64, "input.width": 64}
    )
    report = go(job_of(home, folder, "out", recipe=recipe, ckpt=home / "eresfd.safetensors",
                       steps=2, batch=2, learn=("conf.*",)))  # fmt: skip
    assert read_checkpoint(home / "out" / "model.safetensors").aspect_ratio == 1.5
    assert {"output_0_stride_4", "output_1_stride_128 same class"} <= set(report.recovered)
    kept = read_checkpoint(home / "eresfd.safetensors").state
    assert all(  # the heads are not pruned, and only scores learn
        torch.equal(tensor, kept[name]) == name.startswith("loc.")
        for name, tensor in weights(home, "out").items()
        if name.startswith(("loc.", "conf."))
    )
    assert set(report.boxes) == {"pruned", "recovered"}
    assert report.boxes["pruned"].photos == 1
    assert "boxes, recovered: " in str(report)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ([], "give a folder by --images"),
        (["--images", "."], "holds no photos"),
        (["--images", "absent"], "cannot be read"),
        (["--rate", "0"], "without a rate"),
        (["--outputs", "logits"], "NAME=KIND"),
        (["--blocks", ""], "--blocks must be names"),
        (["--learn", "head,,neck"], "--learn must be names"),
    ],
)
@pytest.mark.slow
def test_the_command_refuses_in_one_line(
    home: Path, extra: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [] if "--images" in extra or not extra else ["--images", "."]
    (home / "empty").mkdir()
    command = ["recover", "mynet:build", "--ckpt", "best.pth", "--rate", "0.3", *images, *extra]
    assert run_command(command) == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_what_a_plan_chose_goes_and_stays_gone(home: Path, folder: Path) -> None:
    job = job_of(home, folder, "planned")
    group = "layer1.0.conv1"
    chosen = {"prune.widths": {group: 6}, "prune.pruned_channels": {group: [1, 3]}}
    recipe = override(job.recipe, chosen)  # other groups go by the rate
    report = go(dataclasses.replace(job, recipe=recipe))
    assert report.zeroed > 2
    weight = weights(home, "planned")[f"{group}.weight"]
    assert torch.nonzero(weight.flatten(1).abs().sum(dim=1) == 0).flatten().tolist() == [1, 3]
    other = override(recipe, {"prune.pruned_channels": {group: [1, 2]}})
    with pytest.raises(CheckpointError, match="pruned_channels"):
        go(dataclasses.replace(job, recipe=other))


@pytest.mark.slow
def test_a_recovery_goes_on_from_another_of_the_same_filters_alone(
    home: Path, folder: Path
) -> None:
    first = go(job_of(home, folder, "first"))
    start = home / "first" / "model.safetensors"
    more = go(job_of(home, folder, "more", steps=4, start=start))
    assert more.solved == first.recovered
    ours, theirs = weights(home, "more"), weights(home, "first")
    gone = [name for name, tensor in theirs.items() if name.endswith("conv1.weight")
            and bool((tensor.flatten(1).abs().sum(dim=1) == 0).any())]  # fmt: skip
    assert gone
    for name in gone:
        zeros = theirs[name].flatten(1).abs().sum(dim=1) == 0
        assert torch.equal(zeros, ours[name].flatten(1).abs().sum(dim=1) == 0)
        assert not torch.equal(ours[name], theirs[name])
    record = json.loads((home / "more" / "recover.json").read_text())
    assert record["start"] == sha256_of(start)


@pytest.mark.slow
def test_filters_that_an_earlier_recovery_took_out_come_back_as_the_teacher_has_them(
    home: Path, folder: Path
) -> None:
    narrow = job_of(home, folder, "narrow")
    go(dataclasses.replace(narrow, recipe=override(narrow.recipe, {"prune.rate": 0.6})))
    start, told = home / "narrow" / "model.safetensors", []
    job = job_of(home, folder, "wider", steps=2, start=start)
    report = recover_from_photos(job, lambda done, total: None, lambda *step: None, told.append)
    assert "filters that model.safetensors has not, and that stay" in told[0]
    before, after = weights(home, "narrow"), weights(home, "wider")
    teacher = torch.load(home / "best.pth", weights_only=True)
    name = told[0].split(": ", 1)[1].split(" of ")[1].split(",")[0] + ".weight"
    zeros = {key: each[name].flatten(1).abs().sum(dim=1) == 0
             for key, each in (("before", before), ("after", after))}  # fmt: skip
    back = zeros["before"] & ~zeros["after"]
    assert back.any()
    assert zeros["after"].any()
    assert not (zeros["after"] & ~zeros["before"]).any()
    assert (after[name][back] - teacher[name][back]).abs().max() < 0.05  # two steps away
    assert report.zeroed == go(job_of(home, folder, "fresh", steps=2)).zeroed


@pytest.mark.slow
def test_a_rate_that_rises_takes_out_more_of_what_an_earlier_recovery_left(
    home: Path, folder: Path
) -> None:
    first, told = go(job_of(home, folder, "first")), []
    start = home / "first" / "model.safetensors"
    job = job_of(home, folder, "risen", start=start)
    job = dataclasses.replace(job, recipe=override(job.recipe, {"prune.rate": 0.6}))
    report = recover_from_photos(job, lambda done, total: None, lambda *step: None, told.append)
    assert "filters that model.safetensors has, and that go now" in told[0]
    assert any(words.startswith("layers solved in closed form") for words in told)
    assert report.zeroed > first.zeroed
    for name, mask in weights(home, "first").items():
        if mask.ndim == 4:  # what was zero stays so
            zeros = mask.flatten(1).abs().sum(dim=1) == 0
            assert not weights(home, "risen")[name][zeros].any()
    record = json.loads((home / "risen" / "recover.json").read_text())
    assert record["start"] == sha256_of(start)


@pytest.mark.slow
def test_a_single_photo_is_not_enough(home: Path, folder: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "0.png").write_bytes((folder / "0.png").read_bytes())
    with pytest.raises(InputError, match="single photo"):
        go(job_of(home, alone, "out"))
