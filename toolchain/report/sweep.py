"""The page of a family of pruned networks: size against average precision, and a table of all.

It only shows what the records hold; it loads itself again until no member is waiting or running.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from toolchain.records.accuracy import LEVELS
from toolchain.records.stages import Family, FamilyMember, MemberState
from toolchain.report import wording
from toolchain.report.accuracy import shell
from toolchain.report.accuracy.precision_words import NOTHING, figure
from toolchain.report.accuracy.rows import count, millions
from toolchain.report.charts.axes import (
    Box,
    Scale,
    Tick,
    axes,
    chart,
    count_ticks,
    precision_axis,
)
from toolchain.report.charts.level_lines import LevelLine, Stop, drawn_lines
from toolchain.report.document.markup import paragraph, section, table, text

WIDTH, HEIGHT = 440, 360
FRAME = Box(48, 30, 428, 316)
INSIDE = Box(FRAME.left + 2, FRAME.top + 2, WIDTH - 2, FRAME.bottom - 2)
"""Where labels may lie."""
ROOM = 1.25
"""The axis of sizes goes so many times beyond the smallest and the largest."""
TICK_ROOM = 36
"""Ticks of sizes are at least so many user units apart."""
HEAD = (
    *("rate", "state", "deployed parameters", "MACs", "ONNX bytes"),
    *(level.capitalize() for level in LEVELS),
    *("hours of training", "report"),
)
STATES: dict[MemberState, str] = {
    "done": "✓ done",
    "failed": "✗ failed",
    "running": "running",
    "waiting": "waiting",
}
"""In the order in which they are counted."""


@dataclass(frozen=True)
class Measure:
    """A way to tell how large a network is."""

    key: str
    name: str
    of: Callable[[FamilyMember], int | None]


MEASURES = (
    Measure("parameters", "deployed parameters", lambda member: member.deployed_parameters),
    Measure("bytes", "bytes of the ONNX file", lambda member: member.onnx_bytes),
)


def family_page(family: Family) -> str:
    """Return the whole page; it refreshes itself until the family is finished."""
    return shell.page(
        f"{family.model}: family of pruned networks",
        _head(family),
        [_figures(family), _table(family)],
        None if family.is_finished else shell.REFRESH_SECONDS,
    )


def _head(family: Family) -> str:
    found = Counter(member.state for member in family.members)
    states = ", ".join(f"{found[state]} {state}" for state in STATES if found[state])
    hours = [member.hours for member in family.members if member.hours is not None]
    words = [
        f"Filters chosen by {family.criterion.upper()}, scope {family.scope}",
        f"average precision {_on(family)}",
    ]
    if hours:
        words.append(f"{wording.decimal(sum(hours), 1)} hours of training in all")
    failed = [
        shell.warning(f"Rate {member.rate:g} failed: {member.reason or 'the reason is not known'}")
        for member in family.members
        if member.state == "failed"
    ]
    return "\n".join(
        [
            f'<h1>{text(family.model)} <span class="what">family of '
            f"{wording.plural(len(family.members), 'network')}, {text(states)}</span></h1>",
            paragraph("; ".join(words)),
            *failed,
        ]
    )


def _on(family: Family) -> str:
    return f"on {wording.plural(family.photos, 'photo')}, protocol {family.protocol}"


def _figures(family: Family) -> str:
    title = f"Size against average precision, {_on(family)}"
    drawn = [
        _figure(measure, members)
        for measure in MEASURES
        if (members := measured(family.members, measure))
    ]
    if not drawn:
        return section("sizes", title, paragraph("No member is measured yet."))
    return section(
        "sizes",
        title,
        paragraph(
            "The number above a mark is the rate: the share of filters held at zero in training. "
            "Figures on fewer than the 3,226 photos of the validation set are no WIDER FACE "
            "results.",
            "muted",
        ),
        f'<div class="levels">{"".join(drawn)}</div>',
    )


def measured(members: Sequence[FamilyMember], measure: Measure) -> list[FamilyMember]:
    """Return the members that have this size and any average precision, smallest first."""
    found = [
        (size, member)
        for member in members
        for size in [measure.of(member)]
        if size and any(_ap(member, level) is not None for level in LEVELS)
    ]
    return [member for _, member in sorted(found, key=lambda entry: entry[0])]


def _ap(member: FamilyMember, level: str) -> float | None:
    ap = (member.accuracy or {}).get(level)
    return ap if ap is not None and math.isfinite(ap) else None


def _figure(measure: Measure, members: Sequence[FamilyMember]) -> str:
    """Return one chart; ``members`` have the size, smallest first."""
    across = _across([measure.of(member) or 0 for member in members])
    figures = [ap for m in members for level in LEVELS if (ap := _ap(m, level)) is not None]
    up, up_ticks = precision_axis(figures, FRAME.bottom, FRAME.top)
    lines = [_line(level, measure, members, across, up) for level in LEVELS]
    frame = axes(
        FRAME,
        (across, _ticks(across), f"{measure.name}, logarithmic"),
        (up, up_ticks, "average precision"),
    )
    drawing = chart(
        f"Average precision over {measure.name}. {_words(measure, members)}",
        WIDTH,
        HEIGHT,
        frame,
        drawn_lines(lines, INSIDE, _rates(measure, members, across, up)),
    )
    return f'<figure id="size-{measure.key}">{drawing}</figure>'


def _across(sizes: Sequence[int]) -> Scale:
    return Scale(min(sizes) / ROOM, max(sizes) * ROOM, FRAME.left, FRAME.right, logarithmic=True)


def _ticks(across: Scale) -> list[Tick]:
    """Return ticks with room for their words."""
    kept: list[Tick] = []
    for tick in count_ticks(across.low, across.high):
        if not kept or across.place(tick.figure) - across.place(kept[-1].figure) >= TICK_ROOM:
            kept.append(tick)
    return kept


def _line(
    level: str, measure: Measure, members: Sequence[FamilyMember], across: Scale, up: Scale
) -> LevelLine:
    stops = [
        Stop(
            across.place(size),
            up.place(ap),
            f"rate {member.rate:g}: {level} {figure(ap)}, {wording.count(size)} {measure.name}",
        )
        for member in members
        if (ap := _ap(member, level)) is not None and (size := measure.of(member))
    ]
    return LevelLine(level, tuple(stops))


def _rates(
    measure: Measure, members: Sequence[FamilyMember], across: Scale, up: Scale
) -> list[tuple[float, float, str]]:
    """Return each member's rate, to stand above its highest mark."""
    return [
        (
            across.place(measure.of(member) or 0),
            up.place(max(ap for level in LEVELS if (ap := _ap(member, level)) is not None)),
            f"{member.rate:g}",
        )
        for member in members
    ]


def _words(measure: Measure, members: Sequence[FamilyMember]) -> str:
    """Return each member's figures, for those who do not see the chart."""
    return "; ".join(
        f"rate {member.rate:g}, {wording.count(measure.of(member) or 0)}: "
        + ", ".join(f"{level} {figure(_ap(member, level))}" for level in LEVELS)
        for member in members
    )


def _table(family: Family) -> str:
    rows = [_row(member) for member in family.members]
    caption = f"All members; average precision {_on(family)}"
    return section("members", "Members", table(caption, HEAD, rows, range(2, len(HEAD) - 1)))


def _row(member: FamilyMember) -> list[str]:
    state = STATES[member.state] + (f": {member.reason}" if member.reason else "")
    return [
        f"{member.rate:g}",
        text(state),
        count(member.deployed_parameters),
        NOTHING if member.macs is None else millions(member.macs),
        count(member.onnx_bytes),
        *(figure(_ap(member, level)) for level in LEVELS),
        NOTHING if member.hours is None else wording.decimal(member.hours, 1),
        _link(member),
    ]


def _link(member: FamilyMember) -> str:
    """Return a link to the member's report, below the page's folder whatever the name holds."""
    if member.folder is None:
        return NOTHING
    target = quote(f"{member.folder}/report.html", errors="replace")
    return f'<a href="./{target}">{text(member.folder)}</a>'
