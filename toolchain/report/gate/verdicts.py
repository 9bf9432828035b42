"""Verdicts of the gate: what moved against its limit, and why."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.records.verdicts import MetricRow, Verdict
from toolchain.report.charts.bars import from_middle
from toolchain.report.document.model import (
    Bar,
    Block,
    Code,
    Details,
    Document,
    Drawing,
    Figure,
    Heading,
    Items,
    Paragraph,
    Section,
    Table,
    Words,
    parts,
)
from toolchain.report.gate import words

NUMERIC = (1, 2, 3, 4)
MOST_LIMITS = 3.0
"""Limits to either side that the picture shows; what is beyond ends there."""


def gate_document(verdicts: Sequence[Verdict]) -> Document:
    """Return the document of all verdicts, a section for each."""
    outcome = "passed" if all(verdict.passed for verdict in verdicts) else "REGRESSION"
    sections = tuple(_verdict(number, verdict) for number, verdict in enumerate(verdicts))
    return Document(f"Gate: {outcome}", "Gate", outcome, (), sections)


def _verdict(number: int, verdict: Verdict) -> Section:
    mark = "✅" if verdict.passed else "❌"
    reasons = tuple(words.reasons(verdict))
    moved = [row for row in words.shown(verdict) if row.change or row.status != "same"]
    still = [row for row in words.shown(verdict) if row not in moved]
    return Section(
        f"verdict-{number}",
        f"{mark} {words.headline(verdict)}",
        parts(
            *_moved(moved),
            *((Heading("Why"), Items(reasons)) if reasons else ()),
            _still(still) if still else None,
            *map(Paragraph, (*words.ways(verdict), *verdict.notes)),
            Paragraph(words.conditions(verdict), quiet=True),
        ),
    )


def _moved(rows: Sequence[MetricRow]) -> tuple[Block, ...]:
    if not rows:
        return (Paragraph("No figure moved."),)
    changed = [row for row in rows if row.change]
    return parts(
        _picture(changed) if changed else None,
        _table("Figures that moved", rows),
    )


def _still(rows: Sequence[MetricRow]) -> Details:
    title = f"{len(rows)} figures that did not move"
    return Details(title, (_table(title, rows),))


def _table(caption: str, rows: Sequence[MetricRow]) -> Table:
    cells = tuple(map(_cells, rows))
    return Table(caption, words.HEADINGS, cells, NUMERIC)


def _cells(row: MetricRow) -> tuple[Words, ...]:
    metric, *rest = words.cells(row)
    return (Code(metric), *rest)


def _picture(rows: Sequence[MetricRow]) -> Figure:
    """Draw each figure that moved: the change in limits, worse to the right."""
    return Figure(
        f"Changes, worse to the right and better to the left; the lines are the limits, and what "
        f"is over {MOST_LIMITS:.0f} limits is cut off.",
        bars=tuple(Bar(Code(row.metric), _bar(row), words.short_change(row)) for row in rows),
        told=True,
    )


def _bar(row: MetricRow) -> Drawing:
    beyond = MOST_LIMITS if row.worsening > 0 else -MOST_LIMITS
    limits = row.worsening / row.allowed if row.allowed else beyond
    share = max(-MOST_LIMITS, min(MOST_LIMITS, limits)) / MOST_LIMITS
    kind = {"worse": "removed_live", "better": "dropped"}.get(row.status, "live")
    told = f"{row.metric}: {words.change(row)}, {row.status}"
    return from_middle(told, kind, share, 1 / MOST_LIMITS)
