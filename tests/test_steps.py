"""Steps within a stage: the surgery tells them, and the command line shows them in time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from toolchain.cli import app
from toolchain.surgery.removing import shrink
from toolchain.system.steps import listening, step


def test_the_surgery_tells_what_it_does_round_by_round() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1))
    with torch.no_grad():
        network[0].weight[:3] = 0
    heard: list[str] = []
    with listening(heard.append):
        shrink(network, torch.zeros(1, 3, 32, 32))
    assert "round 1: what can go" in heard
    assert heard.index("round 1") < heard.index("where channels flow") < heard.index("round 2")


def test_nobody_hears_steps_that_are_taken_outside() -> None:
    heard: list[str] = []
    with listening(heard.append):
        step("within")
    step("outside")
    assert heard == ["within"]


@pytest.mark.parametrize(("silent", "told"), [(0.0, True), (1e9, False)])
def test_a_step_has_a_line_only_where_nothing_was_told_for_a_while(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], silent: float, told: bool
) -> None:
    monkeypatch.setattr(app, "SILENT_SECONDS", silent)
    with app.stage_progress() as on_stage:
        on_stage("shrink")
        step("round [1]")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("] shrink")
    assert [line.partition("] ")[2] for line in lines[1:]] == ["shrink: round [1]"] * told
