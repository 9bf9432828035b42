"""A sweep over pruning rates: size against average precision, or agreement, and a table.

It only shows what the records hold; it loads itself again until no member is waiting or running.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from toolchain.records.training import MemberState, Sweep, SweepMember
from toolchain.report import wording
from toolchain.report.accuracy.precision_words import NOTHING, figure
from toolchain.report.accuracy.rows import count, millions
from toolchain.report.charts.axes import Box, Scale, Tick, axes, count_ticks, precision_axis
from toolchain.report.charts.level_lines import LevelLine, Stop, drawn_lines
from toolchain.report.charts.svg import chart
from toolchain.report.document.frame import REFRESH_SECONDS
from toolchain.report.document.model import (
    Beside,
    Block,
    Document,
    Figure,
    Link,
    Notice,
    Paragraph,
    Section,
    Table,
    Words,
)

WIDTH, HEIGHT = 440, 360
FRAME = Box(48, 30, 428, 316)
INSIDE = Box(FRAME.left + 2, FRAME.top + 2, WIDTH - 2, FRAME.bottom - 2)
"""Where labels may lie."""
ROOM = 1.25
"""The axis of sizes goes so many times beyond the smallest and the largest."""
TICK_ROOM = 36
"""Ticks of sizes are at least so many user units apart."""
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
    of: Callable[[SweepMember], int | None]


MEASURES = (
    Measure("parameters", "deployed parameters", lambda member: member.deployed_parameters),
    Measure("bytes", "bytes of the ONNX file", lambda member: member.onnx_bytes),
)


def sweep_document(sweep: Sweep) -> Document:
    """Return the whole document; a browser loads it again until the sweep is finished."""
    found = Counter(member.state for member in sweep.members)
    states = ", ".join(f"{found[state]} {state}" for state in STATES if found[state])
    networks = wording.plural(len(sweep.members), "network")
    return Document(
        title=f"{sweep.model}: sweep of pruned networks",
        heading=sweep.model,
        subject=f"sweep of {networks}, {states}" if states else f"sweep of {networks}",
        lead=_lead(sweep),
        blocks=(_figures(sweep), _table(sweep)),
        refresh_seconds=None if sweep.is_finished else REFRESH_SECONDS,
    )


def _lead(sweep: Sweep) -> tuple[Block, ...]:
    hours = [member.hours for member in sweep.members if member.hours is not None]
    words = [
        f"Filters chosen by {sweep.criterion.upper()}, scope {sweep.scope}",
        f"{sweep.measure} {_on(sweep)}",
    ]
    if hours:
        words.append(f"{wording.decimal(sum(hours), 1)} {_hours(sweep)} in all")
    failed = [
        Notice(f"Rate {member.rate:g} failed: {member.reason or 'the reason is not known'}")
        for member in sweep.members
        if member.state == "failed"
    ]
    return (Paragraph("; ".join(words)), *failed)


def _hours(sweep: Sweep) -> str:
    return "hours of training" if sweep.protocol else "hours"


def _on(sweep: Sweep) -> str:
    if not sweep.protocol:
        return "with the network before, on photos kept out"
    return f"on {wording.plural(sweep.photos, 'photo')}, protocol {sweep.protocol}"


def _figures(sweep: Sweep) -> Section:
    title = f"Size against {sweep.measure}, {_on(sweep)}"
    drawn = tuple(
        _figure(measure, members, sweep)
        for measure in MEASURES
        if (members := measured(sweep.members, measure))
    )
    if not drawn:
        return Section("sizes", title, (Paragraph("No member is measured yet."),))
    words = "The number above a mark is the rate: the share of filters held at zero in training."
    if sweep.protocol:
        words += (
            " Figures on fewer than the 3,226 photos of the validation set are no WIDER FACE "
            "results."
        )
    return Section("sizes", title, (Paragraph(words, quiet=True), Beside(drawn, wide=True)))


def measured(members: Sequence[SweepMember], measure: Measure) -> list[SweepMember]:
    """Return the members that have this size and any figure of accuracy, smallest first."""
    found = [
        (size, member)
        for member in members
        for size in [measure.of(member)]
        if size and _known(member)
    ]
    return [member for _, member in sorted(found, key=lambda entry: entry[0])]


def _ap(member: SweepMember, level: str) -> float | None:
    ap = (member.accuracy or {}).get(level)
    return ap if ap is not None and math.isfinite(ap) else None


def _known(member: SweepMember) -> list[float]:
    """Return the figures of accuracy that there are, as they are drawn: none below 0."""
    found = (_ap(member, level) for level in member.accuracy or {})
    return [max(ap, 0.0) for ap in found if ap is not None]


def _figure(measure: Measure, members: Sequence[SweepMember], sweep: Sweep) -> Figure:
    """Return one chart; ``members`` have the size, smallest first."""
    across = _across([measure.of(member) or 0 for member in members])
    figures = [ap for member in members for ap in _known(member)]
    up, up_ticks = precision_axis(figures, FRAME.bottom, FRAME.top)
    lines = [
        LevelLine(level, _stops(level, measure, members, across, up), sweep.figures)
        for level in sweep.figures
    ]
    frame = axes(
        FRAME,
        (across, _ticks(across), f"{measure.name}, logarithmic"),
        (up, up_ticks, sweep.measure),
    )
    drawing = chart(
        f"{sweep.measure.capitalize()} over {measure.name}",
        _words(measure, members, sweep.figures),
        WIDTH,
        HEIGHT,
        frame,
        drawn_lines(lines, INSIDE, _rates(measure, members, across, up)),
    )
    return Figure(drawing=drawing, identifier=f"size-{measure.key}", told=True)


def _across(sizes: Sequence[int]) -> Scale:
    return Scale(min(sizes) / ROOM, max(sizes) * ROOM, FRAME.left, FRAME.right, logarithmic=True)


def _ticks(across: Scale) -> list[Tick]:
    """Return ticks with room for their words."""
    kept: list[Tick] = []
    for tick in count_ticks(across.low, across.high):
        if not kept or across.place(tick.figure) - across.place(kept[-1].figure) >= TICK_ROOM:
            kept.append(tick)
    return kept


def _stops(
    level: str, measure: Measure, members: Sequence[SweepMember], across: Scale, up: Scale
) -> tuple[Stop, ...]:
    return tuple(
        Stop(
            across.place(size),
            up.place(max(ap, 0.0)),
            f"rate {member.rate:g}: {level} {figure(ap)}, {wording.count(size)} {measure.name}",
        )
        for member in members
        if (ap := _ap(member, level)) is not None and (size := measure.of(member))
    )


def _rates(
    measure: Measure, members: Sequence[SweepMember], across: Scale, up: Scale
) -> list[tuple[float, float, str]]:
    """Return each member's rate, to stand above its highest mark."""
    return [
        (
            across.place(measure.of(member) or 0),
            up.place(max(_known(member))),
            f"{member.rate:g}",
        )
        for member in members
    ]


def _words(measure: Measure, members: Sequence[SweepMember], levels: Sequence[str]) -> str:
    """Return each member's figures, for those who do not see the chart."""
    return "; ".join(
        f"rate {member.rate:g}, {wording.count(measure.of(member) or 0)}: "
        + ", ".join(f"{level} {figure(_ap(member, level))}" for level in levels)
        for member in members
    )


def _table(sweep: Sweep) -> Section:
    caption = f"All members; {sweep.measure} {_on(sweep)}"
    head = (
        *("rate", "state", "deployed parameters", "MACs", "ONNX bytes"),
        *(level.capitalize() for level in sweep.figures),
        *(_hours(sweep), "report"),
    )
    rows = tuple(_row(member, sweep.figures) for member in sweep.members)
    numeric = tuple(range(2, len(head) - 1))
    return Section("members", "Members", (Table(caption, head, rows, numeric),))


def _row(member: SweepMember, levels: Sequence[str]) -> tuple[Words, ...]:
    return (
        f"{member.rate:g}",
        STATES[member.state] + (f": {member.reason}" if member.reason else ""),
        count(member.deployed_parameters),
        NOTHING if member.macs is None else millions(member.macs),
        count(member.onnx_bytes),
        *(figure(_ap(member, level)) for level in levels),
        NOTHING if member.hours is None else wording.decimal(member.hours, 1),
        _link(member),
    )


def _link(member: SweepMember) -> Words:
    """Return a link to the member's report, below the page's folder whatever the name holds."""
    if member.folder is None:
        return NOTHING
    target = quote(f"{member.folder}/report.html", errors="replace")
    return Link(member.folder, f"./{target}")
