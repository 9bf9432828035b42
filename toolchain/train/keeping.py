"""Keeping a training: its losses, its state on the disk, and the page that shows both."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from toolchain.errors import ProofError
from toolchain.records.training import TrainingProgress
from toolchain.report.document.html import html
from toolchain.report.training.progress import training_document
from toolchain.system.files import write_bytes
from toolchain.train.course import Course, DetectorCourse
from toolchain.train.events import Events, open_events
from toolchain.train.job import TrainingJob
from toolchain.train.masks import Masks, zero_filters_of, zeroed_share
from toolchain.train.photos import Photos, faces_of
from toolchain.train.ranks import rank
from toolchain.train.sample import Sample
from toolchain.train.state import STATE, State, write_state

STRETCH, FIGURES = 50, 10
"""Steps whose losses are averaged into one figure; fewer where a run has not so many figures."""
RUNAWAY, SMALL = 1000.0, 0.1
"""A mean loss so many times the lowest of its phase stops the run; the lowest counts as ``SMALL``
at least, because a loss may well be zero where there is no face."""
SAMPLES, LOOKING = 12, 0.1
"""How often average precision is looked at; left out, but at the end, while looking has taken more
than that share of the time: of a wide network it takes minutes."""

OnStep = Callable[[str, int, int, float], None]
"""Called with the phase, steps taken, of how many, and the last mean loss (NaN before any)."""


class Sampled(Protocol):
    """What a network is looked at on, while it learns."""

    def score(self, network: nn.Module, masks: Masks | None) -> Mapping[str, float]:
        """Return figures of ``network``, with what is masked at zero."""
        ...


class StateKeeper:
    """Counts steps, watches the loss, and keeps the state, on the disk if it has a place there."""

    remedy = "a lower learning rate"
    """What to try where the loss runs away."""
    look_name = "look"
    """What figures of a look are called in TensorBoard."""

    def __init__(
        self,
        out: Path | None,
        keep_every_seconds: float,
        state: State,
        course: Course[Any],
        sample: Sampled | None,
        on_step: OnStep,
        events: Events,
    ) -> None:
        self.out, self.every, self.state, self.course = out, keep_every_seconds, state, course
        self.sample, self.on_step, self.step = sample, on_step, state.step
        self.losses, self.recent = list(state.losses), list[float]()
        self.samples: list[Mapping[str, float]] = list(state.samples)
        self.stretch = max(1, min(STRETCH, course.steps // FIGURES))
        self.lowest: dict[str, float] = {}
        for number, mean in enumerate(self.losses, start=1):
            self._check(self._phase_of(number * self.stretch), mean, number * self.stretch)
        self.kept = self.started = time.perf_counter()
        self.first, self.aside = state.step, 0.0
        self.events = events

    def note(self, phase: str, step: int, loss: float) -> None:
        """Note that a step was taken; stop where the loss is no number, or runs away."""
        if not math.isfinite(loss):
            raise self._stop(f"the loss is {loss:.3g}", step)
        self.step = step
        self.recent.append(loss)
        if step % self.stretch == 0:
            self._close_stretch(phase, step)
        if step % max(1, self.course.steps // SAMPLES) == 0 or step == self.course.steps:
            self._look(step)
        # Only here, so that the means are the same whether or not the run was stopped.
        if not self.recent and time.perf_counter() - self.kept > self.every:
            self.keep()
        if not self.recent:
            self.on_step(phase, step, self.course.steps, self.losses[-1])
        elif step == self.course.steps:  # a stretch that stays short
            mean = sum(self.recent) / len(self.recent)
            self._check(phase, mean, step)
            self.on_step(phase, step, step, mean)

    def _close_stretch(self, phase: str, step: int) -> None:
        mean = sum(self.recent) / len(self.recent)
        self._check(phase, mean, step)
        self.losses.append(mean)
        self.recent.clear()
        self.events.add({"loss": self.losses[-1], "rate": self.course.rate(step - 1)}, step)

    def _check(self, phase: str, mean: float, step: int) -> None:
        """Stop where a mean loss is far above the lowest of its phase."""
        lowest = self.lowest[phase] = min(self.lowest.get(phase, math.inf), max(mean, SMALL))
        if mean > RUNAWAY * lowest:
            raise self._stop(f"the loss is {mean:.3g}, and was {lowest:.3g} before,", step)

    def _phase_of(self, step: int) -> str:
        """Return the phase that the step before ``step`` belongs to."""
        return next(name for name, last in self.course.phases if step <= last)

    def _look(self, step: int) -> None:
        """Look at the network on the sample."""
        start = time.perf_counter()
        busy = self.aside > LOOKING * (start - self.started) and step < self.course.steps
        if self.sample is None or rank() > 0 or busy:
            return
        found = self.sample.score(self.course.student, self.course.filters.masks)
        self.samples.append({"step": step, **found})
        self.events.add({f"{self.look_name}/{key}": value for key, value in found.items()}, step)
        self.aside += time.perf_counter() - start

    def _stop(self, what: str, step: int) -> ProofError:
        if self.out is None:
            return ProofError(f"{what} after step {step}; learn with {self.remedy}")
        return ProofError(
            f"{what} after step {step}; the last good state, of step {self.state.step}, is kept in "
            f"{self.out / 'state.pt'}: train with {self.remedy} or another --seed, and another "
            f"--out"
        )

    def keep(self) -> State:
        """Write the state as it is now; one with what is no number is not kept."""
        for name, tensor in self.course.student.state_dict().items():
            if not bool(tensor.isfinite().all()):
                raise self._stop(f"{name} is not finite", self.step)
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
        if rank() == 0 and self.out is not None:
            write_state(self.out / STATE, self.state)
            self.show(self.out)
        return self.state

    def show(self, out: Path) -> None:
        """Write beside the state what is for looking."""


class Keeper(StateKeeper):
    """The same for a detector of faces, with a page."""

    look_name = "ap"

    def __init__(
        self,
        job: TrainingJob,
        photos: Photos,
        state: State,
        course: DetectorCourse,
        sample: Sample | None,
        on_step: OnStep,
    ) -> None:
        self.job, self.photos, self.looked = job, photos, sample
        events = open_events(job.out if job.events and rank() == 0 else None)
        every = job.keep_every_seconds
        super().__init__(job.out, every, state, course, sample, on_step, events)

    def show(self, out: Path) -> None:
        """Write the page."""
        with contextlib.suppress(OSError):  # the page is for looking only
            page = html(training_document(self.progress()))
            write_bytes(out / "train.html", page.encode())

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
            steps_per_loss=self.stretch,
            samples=tuple(self.samples),
            sample_photos=len(self.looked.split.images) if self.looked else 0,
            zeroed_share=zeroed_share(masks) if masks else 0.0,
            zero_filters=zero_filters_of(self.course.student, masks) if masks else {},
            filters=filters_of(self.course.student),
            photos=len(photos.photos),
            faces=faces_of(photos.photos),
            broken=photos.broken,
            images_per_second=self.pace(),
        )


def filters_of(network: nn.Module) -> dict[str, int]:
    """Return, by convolution, how many filters it has."""
    return {
        name: module.out_channels
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    }
