"""Average precision on the way, over steps."""

from __future__ import annotations

import math

from toolchain.records.accuracy import LEVELS
from toolchain.records.stages import TrainingProgress
from toolchain.report import wording
from toolchain.report.accuracy.precision_words import NEVER_OFFICIAL, figure
from toolchain.report.charts.axes import Scale, axes, chart, precision_ticks
from toolchain.report.charts.level_lines import LevelLine, Stop, drawn_lines, level_key
from toolchain.report.document.markup import paragraph, section
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


def precision(progress: TrainingProgress) -> str:
    """Return the section of average precision: a line for each level, and the latest in words."""
    lines = _lines(progress)
    if not any(line.stops for line in lines):
        return section("precision", TITLE, paragraph(_nothing(progress)))
    frame = axes(
        FRAME,
        (step_scale(progress), step_ticks(progress.steps), "steps"),
        (UP, precision_ticks(0, 1, 0.25), "average precision"),
    )
    words = _latest_words(progress)
    label = f"Average precision over steps. {words}"
    drawing = chart(label, WIDTH, HEIGHT, frame, drawn_lines(lines, INSIDE))
    return section(
        "precision",
        TITLE,
        drawing,
        level_key("Latest average precision", _latest(progress)),
        paragraph(words),
        paragraph(_sample_words(progress), "muted"),
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
