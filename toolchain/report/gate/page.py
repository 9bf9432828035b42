"""Verdicts as a page: what moved as bars against the limit, and why."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.records.verdicts import MetricRow, Verdict
from toolchain.report.charts import figures
from toolchain.report.document.frame import page
from toolchain.report.document.markup import items, name, paragraph, section, table, text
from toolchain.report.gate import words

NUMERIC = (1, 2, 3, 4)
MOST_LIMITS = 3.0
"""Limits to either side that the picture shows; what is beyond ends there."""


def gate_html(verdicts: Sequence[Verdict]) -> str:
    """Return the whole page."""
    passed = all(verdict.passed for verdict in verdicts)
    outcome = "passed" if passed else "REGRESSION"
    body = "\n".join(_verdict(number, verdict) for number, verdict in enumerate(verdicts))
    return page(
        f"Gate: {outcome}",
        f"<h1>Gate <span class='what'>{outcome}</span></h1>",
        body,
        definitions=figures.pattern_definitions(),
    )


def _verdict(number: int, verdict: Verdict) -> str:
    reasons = words.reasons(verdict)
    rows = [
        [name(first), *map(text, rest)] for first, *rest in map(words.cells, words.shown(verdict))
    ]
    return section(
        f"verdict-{number}",
        text(words.headline(verdict)),
        _picture(verdict),
        f"<h3>Why</h3>{items([text(reason) for reason in reasons])}" if reasons else "",
        table("All figures", [text(heading) for heading in words.HEADINGS], rows, NUMERIC),
        *(paragraph(note) for note in verdict.notes),
        paragraph(words.conditions(verdict)),
    )


def _picture(verdict: Verdict) -> str:
    """Draw each figure that moved: the change in limits, worse to the right."""
    moved = [row for row in words.shown(verdict) if row.change]
    if not moved:
        return paragraph("No figure moved.")
    rows = [
        figures.row(name(row.metric), _bar(row), text(words.short_change(row))) for row in moved
    ]
    return (
        f'<figure><ol class="rows">{"".join(rows)}</ol><figcaption>Changes, worse to the right and '
        f"better to the left; the lines are the limits, and what is over {MOST_LIMITS:.0f} limits "
        "is cut off.</figcaption></figure>"
    )


def _bar(row: MetricRow) -> str:
    beyond = MOST_LIMITS if row.worsening > 0 else -MOST_LIMITS
    share = row.worsening / row.allowed if row.allowed else beyond
    share = max(-MOST_LIMITS, min(MOST_LIMITS, share))
    place = 0.5 + min(share, 0) / (2 * MOST_LIMITS)
    kind = {"worse": "removed_live", "better": "dropped", "same": "live"}[row.status]
    lines = "".join(
        f'<line class="end" x1="{figures.percent(x)}" x2="{figures.percent(x)}" y1="0" y2="14"/>'
        for x in (0.5, 0.5 - 0.5 / MOST_LIMITS, 0.5 + 0.5 / MOST_LIMITS)
    )
    bar = (
        f'<rect class="part-{kind}" x="{figures.percent(place)}" y="2" height="10" '
        f'width="{figures.percent(abs(share) / (2 * MOST_LIMITS))}"/>'
    )
    return figures.drawing(f"{row.metric}: {words.change(row)}, {row.status}", 14, bar, lines)
