"""Agreement with the network before pruning, over steps."""

from __future__ import annotations

import math

from toolchain.records.training import TrainingProgress
from toolchain.report import wording
from toolchain.report.charts.axes import Scale, axes, precision_ticks
from toolchain.report.charts.lines import line_sample, line_style
from toolchain.report.charts.svg import chart
from toolchain.report.document.model import Code, Figure, LegendEntry, Paragraph, Section
from toolchain.report.training.steps import FRAME, HEIGHT, WIDTH, borders, step_scale, step_ticks

TITLE = "Agreement with the network before"
UP = Scale(0, 1, FRAME.bottom, FRAME.top)


def agreement(progress: TrainingProgress) -> Section:
    """Return the section of agreement: a line for each figure, and the latest."""
    names = list(dict.fromkeys(key for each in progress.samples for key in each if key != "step"))
    if not names:
        return Section("agreement", TITLE, (Paragraph("Not looked at yet."),))
    frame = axes(
        FRAME,
        (step_scale(progress), step_ticks(progress.steps), "steps"),
        (UP, precision_ticks(0, 1, 0.25), "agreement"),
    )
    lines = [_line(progress, number, name) for number, name in enumerate(names)]
    latest = {name: _latest(progress, name) for name in names}
    words = ", ".join(f"{name} {figure}" for name, figure in latest.items())
    figure = Figure(
        drawing=chart(
            "Agreement over steps", words, WIDTH, HEIGHT, frame, borders(progress), *lines
        ),
        legend=tuple(
            LegendEntry(line_sample(number, several=False), Code(name), latest[name])
            for number, name in enumerate(names)
        ),
        legend_label="Latest agreement",
    )
    note = (
        f"On {wording.plural(progress.sample_photos, 'photo')} that nothing is learnt from. 1 is "
        "all that an output tells, 0 what a constant tells; less is drawn at 0. It is no accuracy."
    )
    return Section("agreement", TITLE, (figure, Paragraph(note, quiet=True)))


def _line(progress: TrainingProgress, number: int, name: str) -> str:
    across = step_scale(progress)
    points = " ".join(
        f"{across.place(each['step']):.1f},{UP.place(min(1.0, max(0.0, each[name]))):.1f}"
        for each in progress.samples
        if math.isfinite(each.get(name, math.nan))
    )
    return f'<polyline {line_style(number)} points="{points}"/>' if points else ""


def _latest(progress: TrainingProgress, name: str) -> str:
    return next(f"{each[name]:.4f}" for each in reversed(progress.samples) if name in each)
