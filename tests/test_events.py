"""TensorBoard events: real ones where the package is there, one clear line where it is not."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest
import torch
from widerface import make_wider

from toolchain import cli
from toolchain.models.registry import build
from toolchain.system.installation import how_to_get
from toolchain.train import keeping
from toolchain.train.events import open_events

ROOT = Path(__file__).resolve().parents[1]
SMALL = ("--images", "160", "--set", "teach.batch=8", "--set", "crops.side=96", "--threads", "1")


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What trains for 20 steps, with the loss looked at every two."""
    monkeypatch.setattr(keeping, "STRETCH", 2)
    monkeypatch.chdir(tmp_path)
    data = make_wider(tmp_path / "wider", 3, train=4)
    torch.save(build("eresfd", 9).state_dict(), tmp_path / "teacher.pth")
    options = ["--data", str(data), "--teacher", "teacher.pth", "--rate", "0.25", "--sample", "3"]
    return ["train", "eresfd", "--out", "run", *options, *SMALL]


def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("tensorboard", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.slow
def test_events_that_were_written_are_read_back(arguments: list[str]) -> None:
    pytest.importorskip(
        "tensorboard",
        reason="the extra is not installed: pip install 'edge-toolchain[tensorboard]'",
    )
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert cli.run([*arguments, "--tensorboard"]) == 0
    (file,) = Path("run").glob("events.out.tfevents.*")
    found = EventAccumulator(str(file)).Reload()
    losses = found.Scalars("loss")
    assert [event.step for event in losses] == list(range(2, 22, 2))
    assert all(event.value > 0 for event in losses)
    assert len(found.Scalars("rate")) == len(losses)
    for level in ("easy", "medium", "hard"):
        assert found.Scalars(f"ap/{level}")[-1].step == 20


@pytest.mark.slow
def test_without_the_package_one_line_names_an_extra_that_exists(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent(monkeypatch)
    assert cli.run([*arguments, "--tensorboard"]) == 2
    (line,) = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("toolchain: ")
    ]
    assert "--tensorboard" in line
    assert line.endswith(f"run {how_to_get('tensorboard')}")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (needed,) = project["optional-dependencies"]["tensorboard"]
    assert needed.startswith("tensorboard>=")


def test_nobody_needs_the_package_who_does_not_ask_for_events(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    absent(monkeypatch)
    open_events(None).add({"loss": 1.0}, 1)
    assert list(tmp_path.iterdir()) == []
