"""Bars as wide as the window, a row for each thing that is compared.

Patterns tell parts apart where colours do not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from toolchain.report.charts.svg import drawing, percent, sample
from toolchain.report.document.escaping import for_html
from toolchain.report.document.model import Drawing, LegendEntry, Words

MANY_ROWS, WIDE_FILTERS = 16, 64
"""More rows than this go into two columns, unless one is wider than this: it needs the room."""


@dataclass(frozen=True)
class Segment:
    """A part of a bar; ``kind`` is its pattern: live, kept, carried, folded, dropped, ..."""

    kind: str
    share: float
    """Of the drawing's width."""
    words: str = ""


def stacked(
    words: str, segments: Sequence[Segment], height: int = 14, end: float | None = None
) -> Drawing:
    """Return one bar in its segments, and a line at ``end``, a share of the width."""
    drawn, start = [], 0.0
    for segment in segments:
        drawn.append(_rect(segment, start, 1, height - 2))
        start += segment.share
    if end is not None:
        drawn.append(_upright("end", end, 0, height))
    return drawing(words, height, *drawn)


def pair(words: str, above: Sequence[Segment], below: Sequence[Segment]) -> Drawing:
    """Return two bars on one scale."""
    drawn = []
    for segments, top in ((above, 1), (below, 14)):
        start = 0.0
        for segment in segments:
            drawn.append(_rect(segment, start, top, 11))
            start += segment.share
    return drawing(words, 26, *drawn)


def _rect(segment: Segment, start: float, top: float, height: float) -> str:
    title = f"<title>{for_html(segment.words)}</title>" if segment.words else ""
    return (
        f'<rect class="part-{segment.kind}" x="{percent(start)}" y="{top:g}" height="{height:g}" '
        f'width="{percent(segment.share)}">{title}</rect>'
    )


def _upright(kind: str, at: float, top: float, bottom: float) -> str:
    x = percent(at)
    return f'<line class="{kind}" x1="{x}" x2="{x}" y1="{top:g}" y2="{bottom:g}"/>'


def legend(*parts: tuple[str, Words]) -> tuple[LegendEntry, ...]:
    """Return what patterns mean: (kind, words) each."""
    return tuple(
        LegendEntry(
            sample(30, 14, f'<rect class="part-{kind}" x="1" y="1" width="28" height="12"/>'),
            words,
        )
        for kind, words in parts
    )


def before_after(
    words: str, before: float, after: float, quartiles: tuple[float, float] | None
) -> Drawing:
    """Return two bars, before above after, on one scale that starts at zero.

    ``quartiles`` of ``after`` are a bracket across its bar.
    """
    low, high = quartiles if quartiles and all(map(math.isfinite, quartiles)) else (0.0, 0.0)
    after = after if math.isfinite(after) else 0.0
    longest = max(before, after, high) or 1.0
    drawn = [
        f'<rect class="before" width="{percent(before / longest)}" y="0" height="9"/>',
        f'<rect class="after" width="{percent(after / longest)}" y="12" height="13"/>',
    ]
    if high:
        first, last = percent(low / longest), percent(high / longest)
        drawn.append(f'<line class="quartiles" x1="{first}" x2="{last}" y1="18.5" y2="18.5"/>')
        drawn += [_upright("quartiles", at / longest, 14, 23) for at in (low, high)]
    return drawing(words, 25, *drawn)


def share_bar(share: float) -> Drawing:
    """Return a thin bar of a share that stands beside it in words."""
    shown = percent(min(max(share, 0.0), 1.0))
    svg = (
        '<svg aria-hidden="true" width="100%" height="6">'
        '<rect class="whole" width="100%" height="6"/>'
        f'<rect class="after" width="{shown}" height="6"/></svg>'
    )
    return Drawing(svg, "")


def from_middle(words: str, kind: str, share: float, limit: float) -> Drawing:
    """Return a bar from the middle to either side.

    ``share`` is from -1 to 1; lines stand at zero and at ``limit`` on both sides.
    """
    start = 0.5 + min(share, 0) / 2
    lines = [_upright("end", x, 0, 14) for x in (0.5, 0.5 - limit / 2, 0.5 + limit / 2)]
    return drawing(words, 14, _rect(Segment(kind, abs(share) / 2), start, 2, 10), *lines)


def stairs(words: str, steps: Sequence[tuple[str, float, str]], height: int = 44) -> Drawing:
    """Return upright bars side by side: (kind, share of the height, words) each."""
    count = len(steps)
    return drawing(
        words,
        height,
        *(
            f'<rect class="part-{kind}" x="{percent(index / count)}" '
            f'y="{height * (1 - share):.1f}" width="{percent(0.9 / count)}" '
            f'height="{height * share:.1f}"><title>{for_html(told)}</title></rect>'
            for index, (kind, share, told) in enumerate(steps)
        ),
    )


FILLED = 0.86
"""Share of a cell that is filled, so that neighbours can be told apart."""


def cells(words: str, filled: Mapping[int, str], width: int | None, widest: int) -> Drawing:
    """Return a strip of ``width`` cells, those in ``filled`` marked, on a scale of ``widest``.

    Without a width there is no frame around them.
    """
    height = 14
    drawn = [
        f'<rect class="after" x="{percent((index + (1 - FILLED) / 2) / widest)}" y="2" '
        f'width="{percent(FILLED / widest)}" height="{height - 4}">'
        f"<title>{for_html(told)}</title></rect>"
        for index, told in filled.items()
    ]
    if width is not None:
        frame = f'<rect class="frame" width="{percent(width / widest)}" height="{height}"/>'
        drawn.insert(0, frame)
    return drawing(words, height, *drawn)


@dataclass(frozen=True)
class TracePoint:
    """A figure of a trace; None where there is none."""

    figure: float | None
    words: str
    marked: bool = False


def trace(words: str, points: Sequence[TracePoint]) -> Drawing:
    """Return figures from left to right on a scale of their own, from the smallest to the largest.

    Marked ones are squares with a pattern.
    """
    height, margin = 40, 6
    known = [point.figure for point in points if point.figure is not None]
    low, span = min(known), (max(known) - min(known)) or 1.0
    places = [
        (
            point,
            (index + 0.5) / len(points),
            height - margin - (point.figure - low) / span * (height - 2 * margin),
        )
        for index, point in enumerate(points)
        if point.figure is not None
    ]
    strokes = [
        f'<line class="trace" x1="{percent(x1)}" y1="{y1:.1f}" x2="{percent(x2)}" '
        f'y2="{y2:.1f}" stroke="currentColor"/>'
        for (_, x1, y1), (_, x2, y2) in pairwise(places)
    ]
    return drawing(words, height, *strokes, *(_trace_mark(*place) for place in places))


def _trace_mark(point: TracePoint, x: float, y: float) -> str:
    title = f"<title>{for_html(point.words)}</title>"
    if point.marked:
        return (
            f'<svg x="{percent(x)}" y="{y:.1f}" overflow="visible"><rect '
            f'class="part-removed_live" x="-5" y="-5" width="10" height="10">{title}</rect></svg>'
        )
    return f'<circle cx="{percent(x)}" cy="{y:.1f}" r="2.5" fill="currentColor">{title}</circle>'
