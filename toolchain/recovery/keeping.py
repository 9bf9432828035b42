"""Keeping a recovery: its state on the disk, and the page that shows how it goes."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from toolchain.records.training import RecoveryProgress, TrainingProgress
from toolchain.recovery.course import RecoveryCourse
from toolchain.recovery.looking import Look
from toolchain.report.document.html import html
from toolchain.report.recovery.progress import recovery_document
from toolchain.system.files import write_bytes
from toolchain.train.events import open_events
from toolchain.train.keeping import OnStep, StateKeeper, filters_of
from toolchain.train.masks import zero_filters_of
from toolchain.train.ranks import rank
from toolchain.train.state import State


@dataclass(frozen=True)
class Photos:
    """What is said of the photos that are learnt from."""

    count: int
    broken: tuple[tuple[str, str], ...]
    """Those that were left out, and why."""


class RecoveryKeeper(StateKeeper):
    """Keeps the state of a recovery, and writes its page beside it."""

    remedy = "other images, a lower rate"

    def __init__(
        self,
        out: Path | None,
        keep_every_seconds: float,
        state: State,
        course: RecoveryCourse,
        look: Look,
        on_step: OnStep,
        photos: Photos,
    ) -> None:
        super().__init__(out, keep_every_seconds, state, course, look, on_step, open_events(None))
        self.recovery, self.look, self.photos = course, look, photos
        if out is not None and rank() == 0:
            self.show(out)

    def show(self, out: Path) -> None:
        """Write the page."""
        progress = RecoveryProgress(self._training(), self.recovery.losses_by_block)
        with contextlib.suppress(OSError):  # the page is for looking only
            out.mkdir(parents=True, exist_ok=True)
            write_bytes(out / "recover.html", html(recovery_document(progress)).encode())

    def _training(self) -> TrainingProgress:
        """Return how far it is, as a training has it."""
        student, masks = self.course.student, self.course.filters.masks or {}
        zeros = sum(int((~mask).sum()) for mask in masks.values())
        seconds = time.perf_counter() - self.started - self.aside
        batch = self.state.settings.get("batch", 1)
        return TrainingProgress(
            settings=dict(self.state.settings),
            phases=self.course.phases,
            step=self.step,
            losses=tuple(self.losses),
            steps_per_loss=self.stretch,
            samples=tuple(self.samples),
            sample_photos=self.look.images,
            zero_filters=zero_filters_of(student, masks),
            zeroed_share=zeros / sum(each.numel() for each in student.parameters()),
            photos=self.photos.count,
            faces=0,
            broken=self.photos.broken,
            images_per_second=(self.step - self.first) * batch / seconds or None,
            filters=filters_of(student),
        )

    def _look(self, step: int) -> None:
        self.look.step = step
        super()._look(step)
