"""What was compared: every input's difference, and the same photos before and after."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.records.parity import Parity
from toolchain.records.stages import Detections, PhotoComparison
from toolchain.report import wording
from toolchain.report.charts.limit_marks import LogScale, limit_axis, limit_mark
from toolchain.report.document.model import (
    Bar,
    Block,
    Code,
    Figure,
    Heading,
    Panel,
    Paragraph,
    Photos,
    Section,
    Small,
    Strong,
    Table,
    Words,
)
from toolchain.report.run import facts


def parity(links: Sequence[Parity]) -> Section:
    """Return every comparison: a picture and a table for each."""
    return Section("parity", "Parity", tuple(block for link in links for block in _link(link)))


def _link(link: Parity) -> tuple[Block, ...]:
    heading = Heading(link.link)
    if not link.cases:
        return (heading, Paragraph((Strong("FAIL"), f": {facts.parity_words(link)}.")))
    verdict: Words = "PASS" if link.passed else Strong("FAIL")
    rows = tuple(_row(facts.parity_row(link, case)) for case in link.cases)
    caption = f"{link.link}: limit {facts.limit_words(link)}"
    return (
        heading,
        Paragraph((verdict, f": {facts.parity_words(link)}.")),
        parity_figure(link),
        Table(caption, facts.PARITY_HEAD, rows, facts.PARITY_NUMERIC),
    )


def _row(words: tuple[str, ...]) -> tuple[Words, ...]:
    *figures, verdict = words
    return (*figures, verdict if verdict == "within" else Strong(verdict))


def parity_figure(link: Parity) -> Figure:
    """Return each case's difference as a mark on a logarithmic scale that shows the limit."""
    figures = [facts.case_figure(link, case) for case in link.cases]
    scale = LogScale.around([*figures, link.limit])
    bars = []
    for case, figure in zip(link.cases, figures, strict=True):
        verdict = facts.case_words(link, case)
        number = "" if verdict == wording.NOT_FINITE else f"{wording.difference(figure)} "
        bars.append(
            Bar(
                (Code(case.input), " ", Small(wording.shape(case.shape))),
                limit_mark(scale, figure, link.limit, verdict),
                (number, Small(verdict)),
            )
        )
    return Figure(
        "Each input's difference as a share of its channel's range, on a logarithmic scale; "
        "● within, ✗ over the limit or not finite, hatched: beyond the limit.",
        bars=tuple(bars),
        axis=limit_axis(scale, link.limit),
        label="Largest difference of every input against the limit",
        kind="parity",
        told=True,
    )


def photos(shown: Sequence[PhotoComparison]) -> Section | None:
    """Return every photo before and after, side by side."""
    if not shown:
        return None
    return Section("photos", "The same photo, before and after", tuple(map(_photo, shown)))


def _photo(photo: PhotoComparison) -> Photos:
    caption = (
        f"{photo.name}: {wording.count(len(photo.before.boxes))} faces before, "
        f"{wording.count(len(photo.after.boxes))} after; largest difference of a box: "
        f"{facts.box_words(photo)}."
    )
    panels = (
        _panel(photo.name, "before", photo.before, photo.before_png),
        _panel(photo.name, "after", photo.after, photo.after_png),
    )
    return Photos(panels, caption)


def _panel(photo: str, when: str, found: Detections, png: bytes) -> Panel:
    boxes = wording.plural(len(found.boxes), "box", "boxes")
    alternative = f"{photo} through the network {when}: {boxes} drawn"
    return Panel((Strong(when), f" {boxes}"), alternative, png)
