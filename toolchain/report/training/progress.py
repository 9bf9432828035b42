"""The page as a whole: how far the training is, and its sections."""

from __future__ import annotations

import math

from toolchain.records.stages import TrainingProgress
from toolchain.report import wording
from toolchain.report.accuracy import shell
from toolchain.report.document.markup import items, name, paragraph, section, table, text
from toolchain.report.training.losses import losses
from toolchain.report.training.precision import precision
from toolchain.report.training.zeros import zeros


def training_page(progress: TrainingProgress) -> str:
    """Return the whole page; it refreshes itself until the training is done."""
    settings = progress.settings
    pruned = "widths of its own" if settings.get("widths") else f"rate {settings.get('rate')}"
    title = f"{settings.get('model')} at {pruned}: training"
    charts = f'<div class="levels">{losses(progress)}\n{precision(progress)}</div>'
    return shell.page(
        title,
        _head(progress),
        [charts, zeros(progress), _settings(progress), _broken(progress)],
        None if progress.is_done else shell.REFRESH_SECONDS,
    )


def _head(progress: TrainingProgress) -> str:
    share = progress.step / progress.steps if progress.steps else 1.0
    state = "done" if progress.is_done else f"{share:.0%} done, {_phase(progress)}"
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
    return (
        f"<h1>{text(progress.settings.get('model'))} "
        f'<span class="what">training, {text(state)}</span></h1>\n{paragraph("; ".join(words))}'
    )


def _phase(progress: TrainingProgress) -> str:
    return next((name for name, last in progress.phases if progress.step < last), "")


def seconds_left(progress: TrainingProgress) -> float | None:
    """Return the time that the rest takes at the pace so far; None: done, or not known."""
    settings, pace = progress.settings, progress.images_per_second
    batch = settings.get("teach.batch", settings.get("train.batch"))
    if progress.is_done or not pace or not isinstance(batch, int | float):
        return None
    seconds = (progress.steps - progress.step) * batch / pace
    return seconds if math.isfinite(seconds) else None


def _settings(progress: TrainingProgress) -> str:
    rows = [[name(key), text(value)] for key, value in sorted(progress.settings.items())]
    return section(
        "settings", "Settings", table("What it was asked for", ("setting", "value"), rows)
    )


def _broken(progress: TrainingProgress) -> str:
    if not progress.broken:
        return ""
    entries = [f"{name(photo)}: {text(reason)}" for photo, reason in progress.broken]
    return section("broken", "Photos left out", items(entries))
