"""Precision-recall curves: one chart for each level, one line for each evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.records.accuracy import Curve, Evaluation
from toolchain.report import wording
from toolchain.report.accuracy.precision_words import figure, on_photos
from toolchain.report.charts.axes import Box, Scale, axes, chart, precision_ticks, words_at
from toolchain.report.document.markup import text

WIDTH, HEIGHT = 360, 350
FRAME = Box(34, 26, 350, 306)
"""Where precision and recall from 0 to 1 are drawn."""
ACROSS = Scale(0, 1, FRAME.left, FRAME.right)
UP = Scale(0, 1, FRAME.bottom, FRAME.top)

COLOURS = 8
DASHES = ("", "9 4", "2 3", "9 4 2 4", "15 4", "5 3", "9 3 2 3 2 3", "1 5")


def line_style(number: int) -> str:
    """Return the attributes of the line ``number``; its colour and dashes are both its own."""
    dashes = DASHES[(number + number // COLOURS) % len(DASHES)]
    pattern = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'class="curve line-{number % COLOURS}"{pattern}'


def letter(number: int) -> str:
    """Return the sign of the line ``number``: A to Z, then A1..."""
    return chr(ord("A") + number % 26) + (str(number // 26) if number >= 26 else "")


def level_chart(level: str, evaluations: Sequence[Evaluation]) -> str:
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
    drawing = chart(_label(level, numbered), WIDTH, HEIGHT, frame, *lines, *signs)
    ranked = sorted(numbered, key=lambda entry: -(entry[2].ap or 0.0))
    legend = "".join(_legend_entry(number, item, curve, several) for number, item, curve in ranked)
    faces = max((curve.faces for _, _, curve in numbered), default=0)
    return (
        f'<figure class="level"><h3>{text(level.capitalize())} '
        f"<small>{wording.plural(faces, 'face')}</small></h3>\n{drawing}\n"
        f'<ul class="key" aria-label="Average precision, {text(level)}">{legend}</ul></figure>'
    )


def _label(level: str, numbered: Sequence[tuple[int, Evaluation, Curve]]) -> str:
    each = ", ".join(f"{item.subject.name} {figure(curve.ap)}" for _, item, curve in numbered)
    on = "; ".join(dict.fromkeys(on_photos(item.sample) for _, item, _ in numbered))
    return f"Precision over recall, {level}, {on}. Average precision: {each or 'none'}"


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
        f"<title>{text(name)}: {figure(curve.ap)}</title></polyline>"
    )


def _sign(number: int, place: int, lines: int, curve: Curve) -> str:
    """Mark a line with its letter; lines that lie on each other carry theirs side by side."""
    places = points(curve)
    if not places:
        return ""
    reach = places[-1][0] - FRAME.left
    wanted = FRAME.left + reach * (0.2 + 0.7 * (place + 0.5) / lines)
    x, y = min(places, key=lambda point: abs(point[0] - wanted))
    return (
        f'<circle class="sign line-{number % COLOURS}" cx="{x:g}" cy="{y:g}" r="7.5"/>'
        f"{words_at(x, y + 4, letter(number), 'middle', 'letter')}"
    )


def swatch(number: int, several: bool = True) -> str:
    """Return a short piece of the line ``number`` for a legend."""
    sign = (
        f'<circle class="sign line-{number % COLOURS}" cx="22" cy="9" r="7.5"/>'
        f"{words_at(22, 13, letter(number), 'middle', 'letter')}"
        if several
        else ""
    )
    return (
        '<svg aria-hidden="true" width="44" height="18">'
        f'<line {line_style(number)} x1="1" x2="43" y1="9" y2="9"/>{sign}</svg>'
    )


def _legend_entry(number: int, item: Evaluation, curve: Curve, several: bool) -> str:
    words = f"<strong>{figure(curve.ap)}</strong>"
    if curve.ap is None:
        words = "<small>no face counts</small>"
    return f"<li>{swatch(number, several)}<span>{text(item.subject.name)}</span>{words}</li>"
