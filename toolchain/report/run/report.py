"""The report of a run of ``shrink``."""

from __future__ import annotations

from toolchain.records.stages import Report
from toolchain.report import wording
from toolchain.report.charts.bars import before_after
from toolchain.report.document.model import (
    Block,
    Code,
    Document,
    Items,
    Notice,
    Paragraph,
    Section,
    Strong,
    Table,
    Tile,
    Tiles,
    Verdict,
    Words,
    parts,
)
from toolchain.report.run import facts
from toolchain.report.run.board import board_words
from toolchain.report.run.lineage import lineage
from toolchain.report.run.origin import files, origin
from toolchain.report.run.proof import parity, photos
from toolchain.report.run.surgery import widths, zeroed_filters


def run_report(report: Report) -> Document:
    """Return the whole report."""
    before, after = report.cost_before, report.cost_after
    proved = facts.proved(report)
    change = (
        f"{wording.count(before.deployed_parameters)} → "
        f"{wording.count(after.deployed_parameters)} parameters"
    )
    outcome = "and proved" if proved else "but NOT PROVED"
    return Document(
        title=f"{report.model}: {'proved' if proved else 'FAILED'}, {change}",
        heading=report.model,
        subject=f"pruned, shrunk, exported, {outcome}",
        lead=_lead(report),
        blocks=parts(
            _notes(report),
            widths(report.surgery),
            photos(report.photos),
            _next_steps(report),
            _before_and_after(report),
            parity(facts.links(report)),
            lineage(report),
            zeroed_filters(report.surgery),
            files(report),
            origin(report),
        ),
    )


def _lead(report: Report) -> tuple[Block, ...]:
    trained = report.source.trained
    about = f"{facts.pruning_words(report)}; weights {facts.source_words(report)}"
    return parts(
        None if trained else Notice(f"UNTRAINED. {facts.untrained_words(report)}"),
        Paragraph(about, quiet=True),
        _verdict(report),
        _tiles(report),
        None
        if report.board is None
        else Paragraph(board_words(report.board, report.rate, report.model)),
    )


def _verdict(report: Report) -> Verdict:
    proved = facts.proved(report)
    links: tuple[Words, ...] = tuple(
        (Strong("PASS" if link.passed else "FAIL"), f" {facts.parity_words(link)}")
        for link in facts.links(report)
    )
    stamp = "PROVED" if proved else "FAILED"
    return Verdict(proved, stamp, facts.verdict_words(report), links)


def _tiles(report: Report) -> Tiles:
    tiles = [_tile(each) for each in facts.comparisons(report)]
    if report.latency is None:
        missing = Paragraph("not measured in this run", quiet=True)
        tiles.append(Tile("Time per image", lines=(missing,)))
    bracket = "" if report.latency is None else "; its bracket spans the quartiles"
    key = f"Upper bar: before. Lower bar: after{bracket}."
    return Tiles("Before and after", tuple(tiles), key=key)


def _tile(each: facts.Comparison) -> Tile:
    words = f"before {each.before_words}, after {each.after_words}"
    return Tile(
        each.measure,
        each.headline,
        (
            Paragraph(f"{each.before_words} → {each.after_words}", quiet=True),
            Paragraph(Strong(each.change_words)),
            Paragraph(each.detail, quiet=True),
        ),
        before_after(words, each.before, each.after, each.quartiles),
    )


def _notes(report: Report) -> Section | None:
    return Section("notes", "Notes", (Items(report.notes),)) if report.notes else None


def _next_steps(report: Report) -> Section:
    steps = tuple(_step(step) for step in facts.next_steps(report))
    return Section("next", "What to do next", (Items(steps, ordered=True),))


def _step(step: facts.Step) -> Words:
    """Return a step, its names set as code."""
    first, *rest = step.words.split("{}")
    named = zip(map(Code, step.names), rest, strict=True)
    return (first, *(piece for pair in named for piece in pair))


def _before_and_after(report: Report) -> Section:
    table = Table(
        "What the network costs, before and after",
        ("measure", "before", "after", "change", "conditions"),
        tuple(
            (row.measure, row.before_words, row.after_words, row.change_words, row.detail)
            for row in facts.comparisons(report)
        ),
        (1, 2),
    )
    uncounted = facts.uncounted_words(report)
    return Section(
        "before-after",
        "Before and after",
        parts(
            table,
            Notice(uncounted) if uncounted else None,
            Paragraph("Time was not measured in this run.") if report.latency is None else None,
        ),
    )
