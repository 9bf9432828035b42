"""A benchmark of files: size against time against difference."""

from __future__ import annotations

from toolchain.records.timings import Bench, FileTiming
from toolchain.report import wording
from toolchain.report.charts.bars import Segment, stacked
from toolchain.report.document import model as doc

HEAD = ("file", "time, ms", "ratio", "quartiles", "bytes", "peak memory, MB", "differs by")
NUMERIC = (1, 2, 4, 5, 6)


def bench_document(bench: Bench) -> doc.Document:
    """Return the whole document."""
    table = doc.Table("Files side by side", HEAD, tuple(map(_cells, bench.files)), NUMERIC)
    notes = doc.Items(bench.notes) if bench.notes else None
    return doc.Document(
        title=f"{bench.folder}: benchmark",
        heading=bench.folder,
        subject="its files side by side",
        lead=(),
        blocks=(
            doc.Section("picture", "Size against time against difference", _pictures(bench)),
            doc.Section(
                "table", "In numbers", doc.parts(doc.Paragraph(conditions(bench)), notes, table)
            ),
            doc.Section("operators", "Where the time goes", tuple(map(_operators, bench.files))),
        ),
    )


def conditions(bench: Bench) -> str:
    """Return how it was measured, in words."""
    return (
        f"Measured in turn, in random order, {bench.rounds} rounds in {bench.seconds:g} s; input "
        f"{wording.shape(bench.size)}, {bench.input}; {wording.plural(bench.threads, 'thread')}; "
        f"{bench.processor}, {bench.machine}, load {bench.load:g}. Ratios are to {bench.reference} "
        f"in the same round; differences are mean ones from the file that each was made of, as a "
        f"share of the output's range. Times are of this machine, not of a board."
    )


def _cells(file: FileTiming) -> tuple[doc.Words, ...]:
    return (
        doc.Code(file.name),
        wording.decimal(file.median_ms),
        wording.decimal(file.ratio),
        f"{file.ratio_low:.2f} to {file.ratio_high:.2f}",
        wording.count(file.size_bytes),
        wording.decimal(file.peak_bytes / 1e6, 0),
        "" if file.mean_share is None else wording.difference(file.mean_share),
    )


def _pictures(bench: Bench) -> tuple[doc.Figure, ...]:
    slowest = max(file.ratio for file in bench.files)
    largest = max(file.size_bytes for file in bench.files)
    times = [_bar(f, f.ratio / slowest, f"{f.ratio:.2f}") for f in bench.files]
    sizes = [_bar(f, f.size_bytes / largest, f"{f.size_bytes / 1e3:,.0f} kB") for f in bench.files]
    differences = [_bar(f, *_difference(f)) for f in bench.files]
    caption = "Shorter is better in all three; differences on a scale of 0 to 5 % of the range."
    return (
        doc.Figure(title="Time, as a ratio", bars=tuple(times), told=True),
        doc.Figure(title="Size", bars=tuple(sizes), told=True),
        doc.Figure(caption, title="Mean difference", bars=tuple(differences), told=True),
    )


def _bar(file: FileTiming, share: float, value: str) -> doc.Bar:
    drawn = stacked(f"{file.name}: {value}", [Segment("live", share)])
    return doc.Bar(doc.Code(file.name), drawn, value)


def _difference(file: FileTiming) -> tuple[float, str]:
    """Return the share of the scale of 5 %, and the difference in words."""
    if file.mean_share is None:
        return 0.0, ""
    return min(1.0, file.mean_share / 0.05), wording.difference(file.mean_share)


def _operators(file: FileTiming) -> doc.Details:
    rows = tuple(
        (
            doc.Code(cost.type),
            wording.count(cost.count),
            "not told" if cost.ms is None else wording.decimal(cost.ms, 3),
        )
        for cost in file.operators
    )
    table = doc.Table(f"Operators of {file.name}", ("operator", "count", "ms"), rows, (1, 2))
    return doc.Details(file.name, (table,))
