"""Average precision on the way, over steps."""

from __future__ import annotations

import math

from toolchain.records.accuracy import LEVELS
from toolchain.records.training import TrainingProgress
from toolchain.report import wording
from toolchain.report.accuracy.precision_words import NEVER_OFFICIAL, figure
from toolchain.report.charts.axes import Scale, axes, precision_ticks
from toolchain.report.charts.level_lines import LevelLine, Stop, drawn_lines, level_legend
from toolchain.report.charts.svg import chart
from toolchain.report.document.model import Figure, Paragraph, Section
from toolchain.report.training.steps import (
    FRAME,
    HEIGHT,
    INSIDE,
    WIDTH,
    step_scale,
    step_ticks,
)

UP = Scale(0, 1, FRAME.bottom, FRAME.top)
TITLE = "Average precision on the way"


def precision(progress: TrainingProgress) -> Section:
    """Return the section of average precision: a line for each level, and the latest in words."""
    lines = _lines(progress)
    if not any(line.stops for line in lines):
        return Section("precision", TITLE, (Paragraph(_nothing(progress)),))
    frame = axes(
        FRAME,
        (step_scale(progress), step_ticks(progress.steps), "steps"),
        (UP, precision_ticks(0, 1, 0.25), "average precision"),
    )
    words = _latest_words(progress)
    lines_drawn = drawn_lines(lines, INSIDE)
    shown = Figure(
        drawing=chart("Average precision over steps", words, WIDTH, HEIGHT, frame, lines_drawn),
        legend=level_legend({level: figure(ap) for level, ap in _latest(progress).items()}),
        legend_label="Latest average precision",
    )
    return Section(
        "precision",
        TITLE,
        (shown, Paragraph(words), Paragraph(_sample_words(progress), quiet=True)),
    )


def _lines(progress: TrainingProgress) -> list[LevelLine]:
    across = step_scale(progress)
    return [
        LevelLine(
            level,
            tuple(
                Stop(
                    across.place(sample["step"]),
                    UP.place(sample[level]),
                    f"step {wording.count(int(sample['step']))}: {level} {figure(sample[level])}",
                )
                for sample in progress.samples
                if math.isfinite(sample.get(level, math.nan))
            ),
        )
        for level in LEVELS
    ]


def _latest(progress: TrainingProgress) -> dict[str, float | None]:
    last = progress.samples[-1]
    return {level: last.get(level) for level in LEVELS}


def _latest_words(progress: TrainingProgress) -> str:
    """Return ``After step 300: Easy .8000, ...``, with the best of each level so far."""
    each = []
    for level, ap in _latest(progress).items():
        best = max((sample[level] for sample in progress.samples if level in sample), default=None)
        before = "" if best == ap else f" (best so far {figure(best)})"
        each.append(f"{level.capitalize()} {figure(ap)}{before}")
    step = wording.count(int(progress.samples[-1]["step"]))
    return f"After step {step}: {', '.join(each)}."


def _sample_words(progress: TrainingProgress) -> str:
    photos = wording.plural(progress.sample_photos, "photo")
    return (
        f"Measured on {photos} that nothing is learnt from, protocol single, without the zero "
        "filters. It is a small sample: it tells whether learning goes on, not small differences. "
        f"{NEVER_OFFICIAL}"
    )


def _nothing(progress: TrainingProgress) -> str:
    if not progress.sample_photos:
        return "There are no photos here to look at on the way."
    photos = wording.plural(progress.sample_photos, "photo")
    return f"Not looked at yet; {photos} are there to look at on the way."
