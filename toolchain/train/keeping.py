"""Keeping a training: its losses, its state on the disk, and the page that shows both."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping

from toolchain.errors import ProofError
from toolchain.files import write_bytes
from toolchain.records import TrainingProgress
from toolchain.report.training import training_page
from toolchain.train.course import Course
from toolchain.train.events import Events, open_events
from toolchain.train.job import TrainingJob
from toolchain.train.masks import zero_filters_of, zeroed_share
from toolchain.train.photos import Photos, faces_of
from toolchain.train.ranks import rank
from toolchain.train.sample import Sample
from toolchain.train.state import State, write_state

STRETCH = 50
"""Steps whose losses are averaged into one figure."""
RUNAWAY = 1000.0
"""A mean loss so many times the lowest of its phase stops the run."""
SAMPLES = 12
"""How often average precision is looked at."""

OnStep = Callable[[str, int, int, float], None]
"""Called with the phase, steps taken, of how many, and the last mean loss."""


class Keeper:
    """Counts steps, watches the loss, and writes the state now and then."""

    def __init__(
        self,
        job: TrainingJob,
        photos: Photos,
        state: State,
        course: Course,
        sample: Sample | None,
        on_step: OnStep,
    ) -> None:
        self.job, self.photos, self.state, self.course = job, photos, state, course
        self.sample, self.on_step, self.step = sample, on_step, state.step
        self.losses, self.recent = list(state.losses), list[float]()
        self.samples: list[Mapping[str, float]] = list(state.samples)
        self.lowest: dict[str, float] = {}
        self.kept = self.started = time.perf_counter()
        self.first, self.aside = state.step, 0.0
        self.events: Events = open_events(job.out if job.events and rank() == 0 else None)

    def note(self, phase: str, step: int, loss: float) -> None:
        """Note that a step was taken; stop where the loss is no number, or runs away."""
        if not math.isfinite(loss):
            raise self._stop(loss, step)
        self.step = step
        self.recent.append(loss)
        if step % STRETCH == 0:
            self._close_stretch(phase, step)
        if step % max(1, self.course.steps // SAMPLES) == 0 or step == self.course.steps:
            self._look(step)
        # Only here, so that the means are the same whether or not the run was stopped.
        if not self.recent and time.perf_counter() - self.kept > self.job.keep_every_seconds:
            self.keep()
        if not self.recent:
            self.on_step(phase, step, self.course.steps, self.losses[-1])

    def _close_stretch(self, phase: str, step: int) -> None:
        self.losses.append(sum(self.recent) / len(self.recent))
        self.recent.clear()
        self.lowest[phase] = min(self.lowest.get(phase, math.inf), self.losses[-1])
        if self.losses[-1] > RUNAWAY * self.lowest[phase]:
            raise self._stop(self.losses[-1], step)
        self.events.add({"loss": self.losses[-1], "rate": self.course.rate(step - 1)}, step)

    def _look(self, step: int) -> None:
        """Look at average precision on the sample."""
        if self.sample is None or rank() > 0:
            return
        start = time.perf_counter()
        found = self.sample.score(self.course.student, self.course.filters.masks)
        self.samples.append({"step": step, **found})
        self.events.add({f"ap/{level}": ap for level, ap in found.items()}, step)
        self.aside += time.perf_counter() - start

    def _stop(self, loss: float, step: int) -> ProofError:
        return ProofError(
            f"the loss is {loss:.3g} after step {step}; the last good state, of step "
            f"{self.state.step}, is kept in {self.job.out / 'state.pt'}: train with another --seed"
        )

    def keep(self) -> State:
        """Write the state as it is now."""
        course, now = self.course, time.perf_counter()
        self.state = State(
            self.state.settings,
            self.step,
            course.student.state_dict(),
            course.optimizer.state_dict(),
            tuple(self.losses),
            course.filters.masks,
            tuple(self.samples),
            self.state.seconds + now - self.kept,
        )
        self.kept = now
        if rank() > 0:
            return self.state
        path = self.job.out / "state.pt"
        write_state(path, self.state)
        with contextlib.suppress(OSError):  # the page is for looking only
            write_bytes(path.with_name("train.html"), training_page(self.progress()).encode())
        return self.state

    def pace(self) -> float | None:
        """Return crops a second in this run, without the time for looking."""
        seconds = time.perf_counter() - self.started - self.aside
        taken = (self.step - self.first) * self.job.batch
        return round(taken / seconds, 2) if taken else None

    def progress(self) -> TrainingProgress:
        """Return how far the training is."""
        photos, masks = self.photos, self.course.filters.masks
        return TrainingProgress(
            settings=dict(self.state.settings),
            phases=self.course.phases,
            step=self.step,
            losses=tuple(self.losses),
            steps_per_loss=STRETCH,
            samples=tuple(self.samples),
            sample_photos=len(self.sample.split.images) if self.sample else 0,
            zeroed_share=zeroed_share(masks) if masks else 0.0,
            zero_filters=zero_filters_of(self.course.student, masks) if masks else {},
            photos=len(photos.photos),
            faces=faces_of(photos.photos),
            broken=photos.broken,
            images_per_second=self.pace(),
        )
