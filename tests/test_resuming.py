"""A run that was stopped or killed goes on exactly, whichever way it learns and chooses filters.

Training with a teacher that chooses filters once is in ``test_training.py``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from widerface import make_wider

from toolchain.data.wider import Split, read_split
from toolchain.models.layouts import read_checkpoint
from toolchain.models.reading import read_pickle
from toolchain.recipe import default_recipe, override
from toolchain.train import setup
from toolchain.train.job import Trained, TrainingJob
from toolchain.train.training import train

SMALL = {"prune.rate": 0.25, "crops.side": 96}
LABELS = {"train.epochs": 4, "train.hold_epochs": 2, "train.batch": 4}
"""12 steps: filters are chosen before steps 2, 4, 6 and 8, and held from 8 on."""
SOFT = {"teach.batch": 4, "teach.soft_share": 0.5, "teach.choices": 2, "teach.local_share": 0.4}
"""10 steps: 4 block by block; filters are chosen before steps 4, 5, 6 and 7, then held."""
TEACHER = ROOT / "toolchain" / "zoo" / "eresfd-0.safetensors"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wider(tmp_path_factory.mktemp("wider"), 1, train=8)


@pytest.fixture(autouse=True)
def _few_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at few crops before the first step."""
    monkeypatch.setattr(setup, "LOOK_CROPS", 8)
    monkeypatch.setattr(setup, "SETTLING_BATCHES", 4)
    monkeypatch.setattr(setup, "SETTLING_CROPS", 4)


def job(out: Path, way: dict[str, object], half: bool = False) -> TrainingJob:
    teacher = TEACHER if way is SOFT else None
    recipe = override(default_recipe("eresfd"), {**SMALL, **way})
    cache = out.parent / "cache"
    return TrainingJob(recipe, out, cache, teacher, images=40, half=half, keep_every_seconds=0.0)


def run(wanted: TrainingJob, split: Split, stop_after: int | None = None) -> Trained:
    def on_step(phase: str, step: int, steps: int, loss: float) -> None:
        if step == stop_after:
            raise KeyboardInterrupt

    return train(wanted, split, None, lambda done, total: None, on_step)


def same(one: Path, other: Path) -> bool:
    ours, theirs = read_checkpoint(one).state, read_checkpoint(other).state
    return all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "stops", "choices"),
    [(LABELS, (3, 6, 8, 9), 4), pytest.param(SOFT, (2, 4, 5, 8), 4, marks=pytest.mark.long)],
    ids=["labels", "softly with a teacher"],
)
def test_a_run_that_is_taken_up_ends_bit_for_bit_the_same(
    way: dict[str, object],
    stops: tuple[int, ...],
    choices: int,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stopped in each phase, and right before filters are chosen anew."""
    from toolchain.train import filters

    choose, chosen = filters.Masking.choose, []
    monkeypatch.setattr(
        filters.Masking, "choose", lambda *given: chosen.append(choose(*given)) or chosen[-1]
    )
    split = read_split(data, "train")
    whole = run(job(tmp_path / "whole", way), split)
    assert len(chosen) == choices
    for stop_after in stops:
        with pytest.raises(KeyboardInterrupt):
            run(job(tmp_path / "stopped", way), split, stop_after)
        assert read_pickle(tmp_path / "stopped" / "state.pt")["step"] == stop_after
    resumed = run(job(tmp_path / "stopped", way), split)
    assert len(chosen) == 2 * choices
    assert same(whole.weights, resumed.weights)
    assert whole.losses == resumed.losses


@pytest.mark.long
def test_killed_in_training_by_labels_it_goes_on(data: Path, tmp_path: Path) -> None:
    """SIGKILL from outside, by the command line, after a later state than the first."""
    command = [sys.executable, "-m", "toolchain.cli", "train", "eresfd", "--data", str(data)]
    command += ["--threads", "1", "--cache", str(tmp_path / "cache"), "--keep-seconds", "0"]
    for field, value in {**SMALL, **LABELS, "train.choose_every": 3}.items():
        command += ["--set", f"{field}={value}"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*command, "--out", str(whole)], check=True, capture_output=True)
    process = subprocess.Popen([*command, "--out", str(killed)], stderr=subprocess.DEVNULL)
    while _steps(killed / "state.pt") < 7:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "model.safetensors").exists()
    subprocess.run([*command, "--out", str(killed)], check=True, capture_output=True)
    assert same(whole / "model.safetensors", killed / "model.safetensors")


def _steps(path: Path) -> int:
    return int(read_pickle(path)["step"]) if path.exists() else 0


@pytest.mark.long
@pytest.mark.parametrize("way", [LABELS, SOFT], ids=["labels", "teacher"])
def test_bfloat16_is_near_float32(way: dict[str, object], data: Path, tmp_path: Path) -> None:
    """The first loss is that of the same weights; what follows stays near it and finite."""
    split = read_split(data, "train")
    way = {**way, "prune.rate": 0.0} if way is LABELS else way
    states = []
    for half in (False, True):
        wanted = job(tmp_path / str(half), way, half)
        with pytest.raises(KeyboardInterrupt):
            run(wanted, split, 4)
        states.append(read_pickle(wanted.out / "state.pt"))
    precise, rough = (state["losses"] for state in states)
    assert rough[0] == pytest.approx(precise[0], rel=0.03)
    assert rough[0] != precise[0]
    assert rough[3] == pytest.approx(precise[3], rel=0.3)
    assert all(tensor.isfinite().all() for tensor in states[1]["network"].values())
