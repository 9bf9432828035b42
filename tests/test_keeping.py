"""While a network trains it is looked at, but not for most of the time."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn

from toolchain.recipe import default_recipe
from toolchain.train import keeping
from toolchain.train.job import TrainingJob
from toolchain.train.keeping import Keeper
from toolchain.train.state import State

STEPS = 120


class Clock:
    """A clock that goes on by what is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


def looks(clock: Clock, seconds: float, tmp_path: Path) -> list[float]:
    """Take steps of a second each, of which some are looked at for ``seconds``; return those."""

    def score(*_: object) -> dict[str, float]:
        clock.now += seconds
        return {"easy": 0.5}

    student = nn.Linear(1, 1)
    filters = SimpleNamespace(masks=None)
    phases = (("all", STEPS),)
    course = SimpleNamespace(
        student=student, filters=filters, steps=STEPS, phases=phases, rate=lambda step: 0.1
    )
    job = TrainingJob(default_recipe("eresfd"), tmp_path, tmp_path, keep_every_seconds=1e9)
    state = State({}, 0, {}, {}, (), None, (), 0.0)
    sample = SimpleNamespace(score=score)
    keeper = Keeper(job, None, state, course, sample, lambda *_: None)  # type: ignore[arg-type]
    for step in range(1, STEPS + 1):
        clock.now += 1
        keeper.note("all", step, 1.0)
    return [look["step"] for look in keeper.samples]


def test_looks_that_take_long_are_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = [float(step) for step in range(10, 130, 10)]
    for seconds, expected in ((0.1, every), (5.0, [10, 50, 90, 120]), (100.0, [10, 120])):
        clock = Clock()
        monkeypatch.setattr(keeping, "time", clock)
        assert looks(clock, seconds, tmp_path) == expected
