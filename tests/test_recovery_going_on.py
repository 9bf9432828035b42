"""Recoveries that are taken up where they were stopped, and that go on from earlier ones."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from recoveries import go, job_of, weights

from toolchain.errors import CheckpointError, InputError
from toolchain.library.recovery_runs import recover_from_photos
from toolchain.recipe import override
from toolchain.system.files import sha256_of


@pytest.mark.slow
@pytest.mark.parametrize("stop_after", [2, 9])
def test_a_recovery_that_is_taken_up_ends_bit_for_bit_the_same(
    home_folder: Path, photo_folder: Path, stop_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = go(job_of(home_folder, photo_folder, "whole"))
    with pytest.raises(KeyboardInterrupt):
        go(job_of(home_folder, photo_folder, "parts"), stop_after)
    monkeypatch.setattr("toolchain.recovery.plan.FULL_BATCH", 1)  # another version's rates
    taken_up = go(job_of(home_folder, photo_folder, "parts"))
    ours, theirs = weights(home_folder, "whole"), weights(home_folder, "parts")
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert taken_up.recovered == whole.recovered
    assert taken_up.solved == whole.solved
    with pytest.raises(CheckpointError, match="seed was 0, is 1"):
        go(job_of(home_folder, photo_folder, "parts", seed=1))
    with pytest.raises(CheckpointError, match="steps was 12, is 14"):
        go(job_of(home_folder, photo_folder, "parts", steps=14))


@pytest.mark.slow
def test_a_state_that_keeps_no_plan_of_its_steps_is_refused(
    home_folder: Path, photo_folder: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        go(job_of(home_folder, photo_folder, "old"), 2)
    path = home_folder / "old" / "state.pt"
    content = torch.load(path, weights_only=True)
    settings = json.loads(content["settings"])
    del settings["plan"]
    torch.save({**content, "settings": json.dumps(settings)}, path)
    with pytest.raises(CheckpointError, match="begun by an earlier version"):
        go(job_of(home_folder, photo_folder, "old"))


@pytest.mark.slow
def test_a_recovery_goes_on_from_another_of_the_same_filters_alone(
    home_folder: Path, photo_folder: Path
) -> None:
    first = go(job_of(home_folder, photo_folder, "first"))
    start = home_folder / "first" / "model.safetensors"
    more = go(job_of(home_folder, photo_folder, "more", steps=4, start=start))
    assert more.solved == first.recovered
    ours, theirs = weights(home_folder, "more"), weights(home_folder, "first")
    gone = [name for name, tensor in theirs.items() if name.endswith("conv1.weight")
            and bool((tensor.flatten(1).abs().sum(dim=1) == 0).any())]  # fmt: skip
    assert gone
    for name in gone:
        zeros = theirs[name].flatten(1).abs().sum(dim=1) == 0
        assert torch.equal(zeros, ours[name].flatten(1).abs().sum(dim=1) == 0)
        assert not torch.equal(ours[name], theirs[name])
    record = json.loads((home_folder / "more" / "recover.json").read_text())
    assert record["start"] == sha256_of(start)


@pytest.mark.slow
def test_filters_that_an_earlier_recovery_took_out_come_back_as_the_teacher_has_them(
    home_folder: Path, photo_folder: Path
) -> None:
    narrow = job_of(home_folder, photo_folder, "narrow")
    go(dataclasses.replace(narrow, recipe=override(narrow.recipe, {"prune.rate": 0.6})))
    start, told = home_folder / "narrow" / "model.safetensors", []
    job = job_of(home_folder, photo_folder, "wider", steps=2, start=start)
    report = recover_from_photos(job, lambda done, total: None, lambda *step: None, told.append)
    assert "filters that model.safetensors has not, and that stay" in told[0]
    before, after = weights(home_folder, "narrow"), weights(home_folder, "wider")
    teacher = torch.load(home_folder / "best.pth", weights_only=True)
    name = told[0].split(": ", 1)[1].split(" of ")[1].split(",")[0] + ".weight"
    zeros = {key: each[name].flatten(1).abs().sum(dim=1) == 0
             for key, each in (("before", before), ("after", after))}  # fmt: skip
    back = zeros["before"] & ~zeros["after"]
    assert back.any()
    assert zeros["after"].any()
    assert not (zeros["after"] & ~zeros["before"]).any()
    assert (after[name][back] - teacher[name][back]).abs().max() < 0.05  # two steps away
    assert report.zeroed == go(job_of(home_folder, photo_folder, "fresh", steps=2)).zeroed


@pytest.mark.slow
def test_a_rate_that_rises_takes_out_more_of_what_an_earlier_recovery_left(
    home_folder: Path, photo_folder: Path
) -> None:
    first, told = go(job_of(home_folder, photo_folder, "first")), []
    start = home_folder / "first" / "model.safetensors"
    job = job_of(home_folder, photo_folder, "risen", start=start)
    job = dataclasses.replace(job, recipe=override(job.recipe, {"prune.rate": 0.6}))
    report = recover_from_photos(job, lambda done, total: None, lambda *step: None, told.append)
    assert "filters that model.safetensors has, and that go now" in told[0]
    assert any(words.startswith("layers solved in closed form") for words in told)
    assert report.zeroed > first.zeroed
    for name, mask in weights(home_folder, "first").items():
        if mask.ndim == 4:  # what was zero stays so
            zeros = mask.flatten(1).abs().sum(dim=1) == 0
            assert not weights(home_folder, "risen")[name][zeros].any()
    record = json.loads((home_folder / "risen" / "recover.json").read_text())
    assert record["start"] == sha256_of(start)


@pytest.mark.slow
def test_an_average_lies_halfway_between_its_start_and_what_was_learnt(
    home_folder: Path, photo_folder: Path
) -> None:
    go(job_of(home_folder, photo_folder, "first"))
    start = home_folder / "first" / "model.safetensors"
    plain = job_of(home_folder, photo_folder, "plain", steps=4, start=start)
    halfway = dataclasses.replace(plain, out=home_folder / "halfway", average=True)
    learnt, report = go(plain), go(halfway)
    began, ended = weights(home_folder, "first"), weights(home_folder, "plain")
    found = weights(home_folder, "halfway")
    for name in (name for name in began if "running" not in name):  # statistics are taken anew
        torch.testing.assert_close(found[name].double(), (began[name] + ended[name]).double() / 2)
    assert not torch.equal(ended["conv1.weight"], began["conv1.weight"])
    assert report.steps == 4
    assert "mean of those it began with" in report.notes[-1]
    for name, value in learnt.recovered.items():
        assert f"{name} {value:.3f}" in report.notes[-1]
    parts = dataclasses.replace(halfway, out=home_folder / "parts")
    with pytest.raises(KeyboardInterrupt):
        go(parts, stop_after=2)
    go(parts)
    again = weights(home_folder, "parts")
    assert all(torch.equal(tensor, again[name]) for name, tensor in found.items())
    with pytest.raises(CheckpointError, match="average"):
        go(dataclasses.replace(parts, average=False))


@pytest.mark.slow
def test_an_average_needs_a_start_that_has_all_that_stays(
    home_folder: Path, photo_folder: Path
) -> None:
    job = job_of(home_folder, photo_folder, "first", steps=2)
    with pytest.raises(InputError, match="give by --from"):
        go(dataclasses.replace(job, average=True))
    go(job)
    fewer = override(job.recipe, {"prune.rate": 0.6})
    start = home_folder / "first" / "model.safetensors"
    job = dataclasses.replace(job, recipe=fewer, start=start, out=home_folder / "risen")
    with pytest.raises(InputError, match="has filters that go now"):
        go(dataclasses.replace(job, average=True))
