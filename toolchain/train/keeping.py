"""Keeping a training: its losses, its state on the disk, and the page that shows both."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path

from toolchain.errors import ProofError
from toolchain.files import write_bytes
from toolchain.records import TrainingProgress
from toolchain.report.training import training_page
from toolchain.train.masks import zeroed_share
from toolchain.train.photos import Photos, faces_of
from toolchain.train.state import State, write_state
from toolchain.train.teaching import Teaching

STRETCH = 50
"""Steps whose losses are averaged into one figure."""
RUNAWAY = 1000.0
"""A mean loss so many times the lowest of its phase stops the run."""

OnStep = Callable[[str, int, int, float], None]
"""Called with the phase, steps taken, of how many, and the last mean loss."""


class Keeper:
    """Counts steps, watches the loss, and writes the state now and then."""

    def __init__(
        self,
        path: Path,
        every_seconds: float,
        photos: Photos,
        state: State,
        teaching: Teaching,
        on_step: OnStep,
    ) -> None:
        self.path, self.every_seconds, self.photos = path, every_seconds, photos
        self.state, self.teaching = state, teaching
        self.on_step, self.step = on_step, state.step
        self.losses, self.recent = list(state.losses), list[float]()
        self.lowest: dict[str, float] = {}
        self.kept = self.started = time.perf_counter()
        self.first = state.step

    def note(self, phase: str, step: int, loss: float) -> None:
        """Note that a step was taken; stop where the loss is no number, or runs away."""
        if not math.isfinite(loss):
            raise self._stop(loss, step)
        self.step = step
        self.recent.append(loss)
        if step % STRETCH == 0:
            self.losses.append(sum(self.recent) / len(self.recent))
            self.recent.clear()
            self.lowest[phase] = min(self.lowest.get(phase, math.inf), self.losses[-1])
            if self.losses[-1] > RUNAWAY * self.lowest[phase]:
                raise self._stop(self.losses[-1], step)
            # Only here, so that the means are the same whether or not the run was stopped.
            if time.perf_counter() - self.kept > self.every_seconds:
                self.keep()
            self.on_step(phase, step, self.teaching.plan.steps, self.losses[-1])

    def _stop(self, loss: float, step: int) -> ProofError:
        return ProofError(
            f"the loss is {loss:.3g} after step {step}; the last good state, of step "
            f"{self.state.step}, is kept in {self.path}: train with another --seed"
        )

    def keep(self) -> State:
        """Write the state as it is now."""
        teaching = self.teaching
        self.state = State(
            self.state.settings,
            self.step,
            teaching.student.state_dict(),
            teaching.optimizer.state_dict(),
            tuple(self.losses),
        )
        write_state(self.path, self.state)
        self.kept = time.perf_counter()
        with contextlib.suppress(OSError):  # the page is for looking only
            write_bytes(self.path.with_name("train.html"), training_page(self.progress()).encode())
        return self.state

    def progress(self) -> TrainingProgress:
        """Return how far the training is."""
        seconds, photos = time.perf_counter() - self.started, self.photos
        taken = (self.step - self.first) * int(self.state.settings["batch"])
        return TrainingProgress(
            settings=dict(self.state.settings),
            phases=self.teaching.plan.phases,
            step=self.step,
            losses=tuple(self.losses),
            steps_per_loss=STRETCH,
            zeroed_share=zeroed_share(self.teaching.masks),
            photos=len(photos.photos),
            faces=faces_of(photos.photos),
            broken=photos.broken,
            images_per_second=taken / seconds if taken else None,
        )
