"""Processes under ``torchrun`` recover what one does, and only the first writes and prints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from recoveries import FACTORY, network, pictures_in
from test_ranks import children, printed, torchrun

import toolchain as tc
from toolchain.library import recovering
from toolchain.models.layouts import read_checkpoint
from toolchain.models.reading import read_pickle

RECOVER = ["-m", "toolchain.cli", "recover", "mynet:build", "--ckpt", "best.pth"]
RECOVER += "--rate 0.3 --images photos --scale 1/64 --mean 2 --batch 4 --steps 10".split()
RECOVER += "--outputs 0=logits --threads 1 --cache cache --keep-seconds 0".split()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network of one's own, its weights, and photos."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT / 'tests'}:{ROOT}")
    (tmp_path / "mynet.py").write_text(FACTORY)
    torch.save(network().state_dict(), tmp_path / "best.pth")
    (tmp_path / "photos").mkdir()
    pictures_in(tmp_path / "photos")
    return tmp_path


def losses(out: Path) -> list[float]:
    found: list[float] = read_pickle(out / "state.pt")["losses"]
    return found


def weights(out: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(out / "model.safetensors").state


@pytest.mark.long
def test_two_processes_recover_what_one_does(home: Path) -> None:
    subprocess.run(
        [sys.executable, *RECOVER, "--out", "one"], check=True, capture_output=True, cwd=home
    )
    assert torchrun([*RECOVER, "--out", "two"], home / "logs").wait() == 0
    assert any("Weights are in" in line for line in printed(home / "logs", 0))
    assert printed(home / "logs", 1) == []
    ours, theirs = weights(home / "one"), weights(home / "two")
    start = network().state_dict()
    for name, tensor in ours.items():
        largest = float(tensor.double().abs().max())
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=1e-3 * largest + 1e-6)
    assert any(not torch.allclose(ours[name], start[name], atol=1e-2) for name in ours)
    one, two = (json.loads((home / each / "recover.json").read_text()) for each in ("one", "two"))
    assert two["recovered"] == pytest.approx(one["recovered"], abs=2e-3)
    assert two["processes"] == 2
    assert losses(home / "two") == pytest.approx(losses(home / "one"), rel=1e-3)
    assert {path.name for path in (home / "two").iterdir()} == {
        path.name for path in (home / "one").iterdir()
    }
    goes_on_exactly(home, theirs)


def goes_on_exactly(home: Path, whole: dict[str, torch.Tensor]) -> None:
    """A killed process ends all, and the same command ends with the same weights."""
    command = [*RECOVER, "--out", "parts"]
    started = torchrun(command, home / "first")
    while not (home / "parts" / "state.pt").exists():
        assert started.poll() is None
        time.sleep(0.01)
    os.kill(children(started.pid)[1], signal.SIGKILL)
    assert started.wait() != 0
    assert not (home / "parts" / "model.safetensors").exists()
    assert torchrun(command, home / "second").wait() == 0
    parts = weights(home / "parts")
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_refused(home: Path) -> None:
    command = [*RECOVER, "--batch", "3", "--out", "out"]
    assert torchrun(command, home / "logs").wait() != 0
    assert "cannot be shared evenly by 2 processes" in str([printed(home / "logs", 0),
                                                            printed(home / "logs", 1)])  # fmt: skip
    assert not (home / "out").exists()


def test_a_call_among_processes_that_train_together_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recovering, "ranks", lambda: 2)
    with pytest.raises(tc.InputError, match="recover computes in one process"):
        tc.recover(network(), torch.zeros(1, 3, 16, 16), images=torch.zeros(4, 3, 16, 16), rate=0.3)
