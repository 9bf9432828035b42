"""How far a command is, on standard error: bars in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from toolchain.cli.app import messages

LINE_EVERY_SECONDS = 10.0
"""How often progress is told where there is no terminal."""


def is_first() -> bool:
    """Tell whether this is the process that prints, of those that ``torchrun`` started."""
    return int(os.environ.get("RANK", "0")) == 0


@contextlib.contextmanager
def training_progress() -> Iterator[
    tuple[Callable[[int, int], None], Callable[[str, int, int, float], None]]
]:
    """Show photos prepared, then steps, the loss and the time left."""
    if not is_first():
        yield _unseen, _unseen
        return
    if not messages.is_terminal:
        yield _lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.1f} %"))
    with Progress(*columns, TimeRemainingColumn(), console=messages) as progress:
        tasks: dict[str, TaskID] = {}

        def show(kind: str, words: str, done: int, total: int) -> None:
            if kind not in tasks:
                tasks[kind] = progress.add_task(words, total=total)
            progress.update(tasks[kind], description=words, completed=done)

        yield (
            lambda done, total: show("photos", "photos", done, total),
            lambda phase, step, steps, loss: show(
                "steps", f"{phase}{_with_loss(loss)}", step, steps
            ),
        )


def _with_loss(loss: float) -> str:
    return f", loss {loss:.4g}" if math.isfinite(loss) else ""


def _unseen(*_: object) -> None:
    """Take progress that nobody sees."""


def _lines() -> tuple[Callable[[int, int], None], Callable[[str, int, int, float], None]]:
    told = {"at": time.perf_counter()}
    start: dict[str, float] = {}

    def due() -> bool:
        now = time.perf_counter()
        if now - told["at"] < LINE_EVERY_SECONDS:
            return False
        told["at"] = now
        return True

    def on_photo(done: int, total: int) -> None:
        if due():
            messages.print(f"photos: {done} of {total}", markup=False)

    def on_step(phase: str, step: int, steps: int, loss: float) -> None:
        if math.isfinite(loss):  # else no step was taken yet
            start.setdefault("step", step)
            start.setdefault("at", time.perf_counter())
        if due() or step == steps:
            took = time.perf_counter() - start.get("at", math.inf)
            pace = (step - start.get("step", step)) / max(took, 1e-9)
            left = f", {(steps - step) / pace / 60:.1f} min left" if pace and step < steps else ""
            told_loss = f"{_with_loss(loss)}{left}"
            messages.print(f"{phase}: step {step} of {steps}{told_loss}", markup=False)

    return on_photo, on_step
