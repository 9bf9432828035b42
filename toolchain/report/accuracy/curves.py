"""Precision-recall curves: one chart for each level, one line for each evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.records.accuracy import Curve, Evaluation
from toolchain.report import wording
from toolchain.report.accuracy.precision_words import figure, on_photos
from toolchain.report.charts.axes import Box, Scale, axes, precision_ticks
from toolchain.report.charts.lines import lettered, line_sample, line_style
from toolchain.report.charts.svg import chart
from toolchain.report.document.escaping import for_html
from toolchain.report.document.model import Figure, LegendEntry, Small

WIDTH, HEIGHT = 360, 350
FRAME = Box(34, 26, 350, 306)
"""Where precision and recall from 0 to 1 are drawn."""
ACROSS = Scale(0, 1, FRAME.left, FRAME.right)
UP = Scale(0, 1, FRAME.bottom, FRAME.top)


def level_figure(level: str, evaluations: Sequence[Evaluation]) -> Figure:
    """Return the chart of one level and its legend, best line first."""
    numbered = [
        (number, evaluation, curve)
        for number, evaluation in enumerate(evaluations)
        for curve in evaluation.curves
        if curve.level == level
    ]
    several = len(evaluations) > 1
    lines = [_line(number, item.subject.name, curve) for number, item, curve in numbered]
    signs = [
        _sign(number, place, len(numbered), curve)
        for place, (number, _, curve) in enumerate(numbered)
        if several
    ]
    ticks = precision_ticks(0, 1, 0.25)
    frame = axes(FRAME, (ACROSS, ticks, "recall"), (UP, ticks, "precision"))
    ranked = sorted(numbered, key=lambda entry: -(entry[2].ap or 0.0))
    on = "; ".join(dict.fromkeys(on_photos(item.sample) for _, item, _ in numbered))
    faces = max((curve.faces for _, _, curve in numbered), default=0)
    return Figure(
        drawing=chart(
            f"Precision over recall, {level}, {on}", "", WIDTH, HEIGHT, frame, *lines, *signs
        ),
        legend=tuple(_legend_entry(number, item, curve, several) for number, item, curve in ranked),
        legend_label=f"Average precision, {level}",
        title=(level.capitalize(), " ", Small(wording.plural(faces, "face"))),
    )


def _legend_entry(number: int, item: Evaluation, curve: Curve, several: bool) -> LegendEntry:
    name = wording.clean(item.subject.name)
    value = "no face counts" if curve.ap is None else figure(curve.ap)
    return LegendEntry(line_sample(number, several), name, value)


def points(curve: Curve) -> list[tuple[float, float]]:
    """Return the curve in user units, from its first detection on; no point twice."""
    first = int(np.argmax(curve.precision > 0)) if (curve.precision > 0).any() else None
    if curve.ap is None or first is None:
        return []
    places = [
        (round(ACROSS.place(float(recall)), 1), round(UP.place(float(precision)), 1))
        for recall, precision in zip(curve.recall[first:], curve.precision[first:], strict=True)
    ]
    return list(dict.fromkeys(places))


def _line(number: int, name: str, curve: Curve) -> str:
    places = points(curve)
    if not places:
        return ""
    path = " ".join(f"{x:g},{y:g}" for x, y in places)
    return (
        f'<polyline {line_style(number)} points="{path}">'
        f"<title>{for_html(name)}: {figure(curve.ap)}</title></polyline>"
    )


def _sign(number: int, place: int, lines: int, curve: Curve) -> str:
    """Mark a line with its letter; lines that lie on each other carry theirs side by side."""
    places = points(curve)
    if not places:
        return ""
    reach = places[-1][0] - FRAME.left
    wanted = FRAME.left + reach * (0.2 + 0.7 * (place + 0.5) / lines)
    x, y = min(places, key=lambda point: abs(point[0] - wanted))
    return lettered(number, x, y)
