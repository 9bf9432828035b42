"""How far a training is: its loss, its average precision on the way, its zero filters."""

from __future__ import annotations

import math

from toolchain.records.training import TrainingProgress
from toolchain.report import wording
from toolchain.report.document.frame import REFRESH_SECONDS
from toolchain.report.document.model import (
    Beside,
    Code,
    Document,
    Items,
    Paragraph,
    Section,
    Table,
    parts,
)
from toolchain.report.training.losses import losses
from toolchain.report.training.precision import precision
from toolchain.report.training.zeros import zeros


def training_document(progress: TrainingProgress) -> Document:
    """Return the whole document; a browser loads it again until the training is done."""
    asked = progress.settings
    pruned = "widths of its own" if asked.get("widths") else f"rate {asked.get('rate')}"
    share = progress.step / progress.steps if progress.steps else 1.0
    state = "done" if progress.is_done else f"{share:.0%} done, {phase_of(progress)}"
    return Document(
        title=f"{asked.get('model')} at {pruned}: training",
        heading=str(asked.get("model")),
        subject=f"training, {state}",
        lead=(Paragraph(_words(progress)),),
        blocks=parts(
            Beside((losses(progress), precision(progress)), wide=True),
            zeros(progress),
            settings(progress),
            broken(progress),
        ),
        refresh_seconds=None if progress.is_done else REFRESH_SECONDS,
    )


def _words(progress: TrainingProgress) -> str:
    pace, left = progress.images_per_second, seconds_left(progress)
    words = [
        f"{wording.count(progress.step)} of {wording.plural(progress.steps, 'step')}",
        f"{wording.plural(progress.photos, 'photo')} with {wording.plural(progress.faces, 'face')}",
        f"{wording.percentage(progress.zeroed_share)} of the parameters held at zero",
    ]
    if pace is not None:
        words.append(f"{wording.decimal(pace, 1)} crops a second in this run")
    if left is not None:
        words.append(f"at that pace {wording.duration(left)} left")
    return "; ".join(words)


def phase_of(progress: TrainingProgress) -> str:
    """Return the name of the phase that is going on."""
    return next((name for name, last in progress.phases if progress.step < last), "")


def seconds_left(progress: TrainingProgress) -> float | None:
    """Return the time that the rest takes at the pace so far; None: done, or not known."""
    asked, pace = progress.settings, progress.images_per_second
    names = ("teach.batch", "train.batch", "batch")
    batch = next((asked[name] for name in names if name in asked), None)
    if progress.is_done or not pace or not isinstance(batch, int | float):
        return None
    seconds = (progress.steps - progress.step) * batch / pace
    return seconds if math.isfinite(seconds) else None


def settings(progress: TrainingProgress) -> Section:
    """Return the section of what was asked for."""
    rows = tuple((Code(key), str(value)) for key, value in sorted(progress.settings.items()))
    table = Table("What it was asked for", ("setting", "value"), rows)
    return Section("settings", "Settings", (table,))


def broken(progress: TrainingProgress) -> Section | None:
    """Return the section of photos that were left out, if there are some."""
    if not progress.broken:
        return None
    entries = tuple((Code(photo), f": {reason}") for photo, reason in progress.broken)
    return Section("broken", "Photos left out", (Items(entries),))
