"""The loss over steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

from toolchain.records.training import TrainingProgress
from toolchain.report import wording
from toolchain.report.accuracy.precision_words import NOTHING
from toolchain.report.charts.axes import Scale, Tick, axes
from toolchain.report.charts.lines import line_sample, line_style
from toolchain.report.charts.svg import chart
from toolchain.report.document.model import Figure, LegendEntry, Paragraph, Section, Small
from toolchain.report.training.steps import FRAME, HEIGHT, WIDTH, borders, step_scale, step_ticks


def losses(progress: TrainingProgress) -> Section:
    """Return the section of the loss: a line for each phase on a logarithmic scale."""
    shown = [loss for loss in progress.losses if math.isfinite(loss) and loss > 0]
    if len(shown) < 2:
        return Section("loss", "Loss", (Paragraph("There are not enough steps yet to draw."),))
    low, high = _decade(min(shown)), _decade(max(shown)) + 1
    across = step_scale(progress)
    up = Scale(10.0**low, 10.0**high, FRAME.bottom, FRAME.top, logarithmic=True)
    every = math.ceil((high - low) / 10)
    ticks = [Tick(10.0**e, f"{10.0**e:g}") for e in range(low, high + 1, every)]
    frame = axes(
        FRAME,
        (across, step_ticks(progress.steps), "steps"),
        (up, ticks, "loss, logarithmic"),
    )
    lines = phase_losses(progress)
    drawing = chart(
        "Loss over steps",
        f"{shown[0]:.3g} at first, {shown[-1]:.3g} now",
        WIDTH,
        HEIGHT,
        frame,
        borders(progress),
        *(_line(line, across, up) for line in lines if line.points),
    )
    note = "Each phase has a loss of its own: figures of different phases do not compare."
    figure = Figure(
        drawing=drawing,
        legend=tuple(map(_entry, lines)),
        legend_label="Latest loss of each phase",
    )
    return Section("loss", "Loss", (figure, Paragraph(note, quiet=True)))


def _decade(figure: float) -> int:
    return math.floor(math.log10(figure))


@dataclass(frozen=True)
class PhaseLosses:
    """The losses of one phase."""

    number: int
    phase: str
    last: int
    """Its last step."""
    points: tuple[tuple[float, float], ...]
    """(step, loss), each in the middle of its steps."""


def phase_losses(progress: TrainingProgress) -> list[PhaseLosses]:
    """Return the losses that can be drawn, by phase; phases without a step are left out."""
    points = [
        ((index + 0.5) * progress.steps_per_loss, loss)
        for index, loss in enumerate(progress.losses)
        if math.isfinite(loss) and loss > 0
    ]
    starts = [0, *(last for _, last in progress.phases)]
    return [
        PhaseLosses(
            number, phase, last, tuple(point for point in points if start <= point[0] < last)
        )
        for number, ((phase, last), start) in enumerate(
            zip(progress.phases, starts[:-1], strict=True)
        )
        if last > start
    ]


def _line(line: PhaseLosses, across: Scale, up: Scale) -> str:
    path = " ".join(f"{across.place(step):.1f},{up.place(loss):.1f}" for step, loss in line.points)
    return f'<polyline {line_style(line.number)} points="{path}"/>'


def _entry(line: PhaseLosses) -> LegendEntry:
    """Return a phase's line, name, last step and latest loss."""
    latest = f"{line.points[-1][1]:.3g}" if line.points else NOTHING
    words = (line.phase, " ", Small(f"to step {wording.count(line.last)}"))
    return LegendEntry(line_sample(line.number, several=False), words, latest)
