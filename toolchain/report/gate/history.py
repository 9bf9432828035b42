"""Baselines over time as a page: a line for each figure, with where it got worse marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from toolchain.records.verdicts import HistoryPoint
from toolchain.report.charts import figures
from toolchain.report.document.frame import page
from toolchain.report.document.markup import items, name, paragraph, section, text

HEIGHT = 40
MARGIN = 6


def history_html(histories: Mapping[str, Sequence[HistoryPoint]]) -> str:
    """Return the whole page."""
    body = [_baseline(number, *item) for number, item in enumerate(histories.items())]
    return page(
        "History",
        "<h1>History</h1>",
        "\n".join(body),
        definitions=figures.pattern_definitions(),
    )


def _baseline(number: int, title: str, points: Sequence[HistoryPoint]) -> str:
    every = sorted({metric for point in points for metric in point.record.metrics})
    metrics = [metric for metric in every if _moves(metric, points)]
    still = ", ".join(metric for metric in every if metric not in metrics)
    rows = [
        figures.row(name(metric), _line(metric, points), _last(metric, points))
        for metric in metrics
    ]
    first, last = points[0], points[-1]
    return section(
        f"baseline-{number}",
        text(title),
        paragraph(
            f"{len(points)} versions, from {first.date or first.commit} to "
            f"{last.date or last.commit}. Each line has a scale of its own, from its smallest to "
            "its largest figure; a point that is marked got worse by more than its limit."
        ),
        f'<figure><ol class="rows">{"".join(rows)}</ol></figure>' if rows else "",
        paragraph(f"Without a change: {still}.") if still else "",
        items([_words(point) for point in reversed(points)]),
    )


def _moves(metric: str, points: Sequence[HistoryPoint]) -> bool:
    return len({point.record.metrics.get(metric) for point in points}) > 1


def _line(metric: str, points: Sequence[HistoryPoint]) -> str:
    values = [point.record.metrics.get(metric) for point in points]
    known = [value for value in values if value is not None]
    low, span = min(known), (max(known) - min(known)) or 1.0
    places = [
        (
            (index + 0.5) / len(points),
            HEIGHT - MARGIN - (value - low) / span * (HEIGHT - 2 * MARGIN),
        )
        for index, value in enumerate(values)
        if value is not None
    ]
    strokes = "".join(
        f'<line class="trace" x1="{figures.percent(x1)}" y1="{y1:.1f}" x2="{figures.percent(x2)}" '
        f'y2="{y2:.1f}" stroke="currentColor"/>'
        for (x1, y1), (x2, y2) in pairwise(places)
    )
    marks = "".join(
        _mark(metric, point, x, y)
        for point, (x, y) in zip(
            [point for point, value in zip(points, values, strict=True) if value is not None],
            places,
            strict=True,
        )
    )
    return figures.drawing(
        f"{metric}: {known[0]:,.10g} to {known[-1]:,.10g}", HEIGHT, strokes, marks
    )


def _mark(metric: str, point: HistoryPoint, x: float, y: float) -> str:
    worse = any(row.metric == metric and row.status == "worse" for row in point.rows)
    words = f"{point.commit}: {point.record.metrics[metric]:,.10g}{', worse' if worse else ''}"
    shape = (
        f'<rect class="part-removed_live" x="calc({figures.percent(x)} - 5px)" y="{y - 5:.1f}" '
        'width="10" height="10">'
        if worse
        else f'<circle cx="{figures.percent(x)}" cy="{y:.1f}" r="2.5" fill="currentColor">'
    )
    return f"{shape}<title>{text(words)}</title></{'rect' if worse else 'circle'}>"


def _last(metric: str, points: Sequence[HistoryPoint]) -> str:
    value = points[-1].record.metrics.get(metric)
    if value is None:
        return "gone"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def _words(point: HistoryPoint) -> str:
    worse = ", ".join(row.metric for row in point.rows if row.status == "worse")
    why = "; ".join(
        f"{entry.metric} accepted: {entry.why}"
        for entry in point.record.accepted
        if any(row.metric == entry.metric and row.after == entry.after for row in point.rows)
    )
    told = " ".join(
        filter(
            None,
            [f"{point.commit} {point.date} {point.subject}.", worse and f"Worse: {worse}.", why],
        )
    )
    return text(told)
