"""Baselines over time: a line for each figure, with where it got worse marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from toolchain.records.verdicts import HistoryPoint
from toolchain.report.charts.bars import TracePoint, trace
from toolchain.report.document.model import (
    Bar,
    Code,
    Document,
    Figure,
    Items,
    Paragraph,
    Section,
    parts,
)


def history_document(histories: Mapping[str, Sequence[HistoryPoint]]) -> Document:
    """Return the document of all baselines, a section for each."""
    sections = (_baseline(number, *item) for number, item in enumerate(histories.items()))
    return Document("History", "History", "", (), tuple(sections))


def _baseline(number: int, title: str, points: Sequence[HistoryPoint]) -> Section:
    every = sorted({metric for point in points for metric in point.record.metrics})
    metrics = [metric for metric in every if _moves(metric, points)]
    still = ", ".join(metric for metric in every if metric not in metrics)
    bars = tuple(_bar(metric, points) for metric in metrics)
    first, last = points[0], points[-1]
    return Section(
        f"baseline-{number}",
        title,
        parts(
            Paragraph(
                f"{len(points)} versions, from {first.date or first.commit} to "
                f"{last.date or last.commit}. Each line has a scale of its own, from its smallest "
                "to its largest figure; a point that is marked got worse by more than its limit."
            ),
            Figure(bars=bars) if bars else None,
            Paragraph(f"Without a change: {still}.") if still else None,
            Items(tuple(_words(point) for point in reversed(points))),
        ),
    )


def _moves(metric: str, points: Sequence[HistoryPoint]) -> bool:
    return len({point.record.metrics.get(metric) for point in points}) > 1


def _bar(metric: str, points: Sequence[HistoryPoint]) -> Bar:
    values = [point.record.metrics.get(metric) for point in points]
    shown = [
        TracePoint(value, _told(metric, point), _is_worse(metric, point))
        for point, value in zip(points, values, strict=True)
    ]
    told = "; ".join(point.words for point in shown if point.figure is not None)
    return Bar(Code(metric), trace(told, shown), _last(values[-1]))


def _told(metric: str, point: HistoryPoint) -> str:
    value = point.record.metrics.get(metric)
    figure = "gone" if value is None else f"{value:,.10g}"
    return f"{point.commit}: {figure}{', worse' if _is_worse(metric, point) else ''}"


def _is_worse(metric: str, point: HistoryPoint) -> bool:
    return any(row.metric == metric and row.status == "worse" for row in point.rows)


def _last(value: float | None) -> str:
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
    told = (f"{point.commit} {point.date} {point.subject}.", worse and f"Worse: {worse}.", why)
    return " ".join(filter(None, told))
