"""Crops a second while a network learns from a teacher, and where the time goes.

``python -m tests.benchmarks.training [--data WIDER] [--model eresfd] [--side 480]``

Without ``--data`` the photos are drawn. Each way to draw crops runs in turn, several rounds, one
thread of PyTorch throughout; the figures are medians over rounds, with lowest and highest.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from toolchain.train.processor import keep_gradients_right

keep_gradients_right()

import torch  # noqa: E402
from torch import nn  # noqa: E402
from widerface import make_wider  # noqa: E402

from toolchain.data.wider import read_split  # noqa: E402
from toolchain.models.registry import build  # noqa: E402
from toolchain.recipe import default_recipe, override  # noqa: E402
from toolchain.train import distillation_trainer  # noqa: E402
from toolchain.train.batches import batches  # noqa: E402
from toolchain.train.distillation_trainer import DistillationTrainer  # noqa: E402
from toolchain.train.job import TrainingJob  # noqa: E402
from toolchain.train.setup import Setup, new_course, prepare  # noqa: E402

STEPS, ROUNDS = 30, 3
PHOTOS = 60


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--model", default="eresfd", choices=("eresfd", "extd"))
    parser.add_argument("--side", type=int, default=480)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        setup = _setup(Path(folder), wanted)
        course = new_course(setup, 1000)
        assert isinstance(course, DistillationTrainer)
        print(
            f"{wanted.model}, crops of {wanted.side} pixels, {setup.job.batch} in a step, 1 thread"
        )
        for workers in (0, 1, 2):
            for name, first in (("block by block", 0), ("end to end", course.plan.local_steps)):
                paces = [_pace(setup, course, first, workers) for _ in range(ROUNDS)]
                middle = statistics.median(paces)
                print(
                    f"workers {workers}, {name:>14}: {middle:5.1f} crops a second "
                    f"({min(paces):.1f} to {max(paces):.1f})"
                )
        _shares(setup, course)


def _setup(folder: Path, wanted: argparse.Namespace) -> Setup:
    data = wanted.data or make_wider(folder / "wider", 1, train=PHOTOS)
    network = build(wanted.model, 9)
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 128, 128) * 60)
    torch.save(network.state_dict(), folder / "teacher.pth")
    recipe = override(default_recipe(wanted.model), {"crops.side": wanted.side})
    job = TrainingJob(
        recipe, folder, folder / "cache", folder / "teacher.pth", images=1000, threads=1
    )
    return prepare(job, read_split(data, "train").spread(PHOTOS), lambda done, total: None)


def _pace(setup: Setup, course: DistillationTrainer, first: int, workers: int) -> float:
    course.enter(first)
    drawn = batches(setup.crops, setup.job.batch, 0, STEPS + 1, workers)
    course.take(first, next(drawn))
    start = time.perf_counter()
    for batch in drawn:
        course.take(first + 1, batch)
    return STEPS * setup.job.batch / (time.perf_counter() - start)


def _shares(setup: Setup, course: DistillationTrainer) -> None:
    """Time the parts of end-to-end steps."""
    spent: dict[str, float] = {}
    first = course.plan.local_steps
    course.enter(first)
    started = time.perf_counter()
    drawn = list(batches(setup.crops, setup.job.batch, 0, STEPS, 0))
    spent["drawing crops"] = time.perf_counter() - started
    started = time.perf_counter()
    with (
        _timed(spent, "the teacher", distillation_trainer, "teacher_outputs"),
        _timed(spent, "the student forward", course.student, "forward"),
        _timed(spent, "matching labels", course, "label_loss"),
        _timed(spent, "backward", torch.Tensor, "backward"),
        _timed(spent, "the optimiser", course.optimizer, "step"),
    ):
        for batch in drawn:
            course.take(first + 1, batch)
    spent["all else"] = time.perf_counter() - started - sum(list(spent.values())[1:])
    for name, seconds in spent.items():
        print(f"{name:>20}: {1000 * seconds / STEPS:6.1f} ms a step")


@contextmanager
def _timed(spent: dict[str, float], name: str, owner: object, key: str) -> Iterator[None]:
    """Add up the time that calls of ``owner.key`` take."""
    called: Callable[..., object] = getattr(owner, key)
    had = key in vars(owner)

    def timed(*arguments: object, **named: object) -> object:
        start = time.perf_counter()
        try:
            return called(*arguments, **named)
        finally:
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - start

    setattr(owner, key, timed)
    try:
        yield
    finally:
        setattr(owner, key, called) if had or not isinstance(owner, nn.Module) else delattr(
            owner, key
        )


if __name__ == "__main__":
    main()
