"""A benchmark of files as Markdown and as an HTML page: size against time against difference."""

from __future__ import annotations

from toolchain.records.timings import Bench, FileTiming
from toolchain.report import wording
from toolchain.report.charts import figures
from toolchain.report.document.frame import page
from toolchain.report.document.marks import plain
from toolchain.report.document.marks import table as markdown_table
from toolchain.report.document.markup import details, items, name, paragraph, section, table, text

HEAD = ["file", "time, ms", "ratio", "quartiles", "bytes", "peak memory, MB", "differs by"]
NUMERIC = (1, 2, 4, 5, 6)


def bench_markdown(bench: Bench) -> str:
    """Return the table with its conditions; it ends with a line feed."""
    rows = [[plain(cell) for cell in _cells(file)] for file in bench.files]
    notes = [f"- {plain(note)}" for note in bench.notes]
    parts = [
        f"# {plain(bench.folder)}: its files side by side",
        plain(conditions(bench)),
        markdown_table(HEAD, rows, numeric=NUMERIC),
        "\n".join(notes),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def conditions(bench: Bench) -> str:
    """Return how it was measured, in words."""
    return (
        f"Measured in turn, in random order, {bench.rounds} rounds in {bench.seconds:g} s; input "
        f"{wording.shape(bench.size)}, {bench.input}; {wording.plural(bench.threads, 'thread')}; "
        f"{bench.processor}, {bench.machine}, load {bench.load:g}. Ratios are to {bench.reference} "
        f"in the same round; differences are mean ones from the file that each was made of, as a "
        f"share of the output's range. Times are of this machine, not of a board."
    )


def _cells(file: FileTiming) -> list[str]:
    return [
        file.name,
        wording.decimal(file.median_ms),
        wording.decimal(file.ratio),
        f"{file.ratio_low:.2f} to {file.ratio_high:.2f}",
        wording.count(file.size_bytes),
        wording.decimal(file.peak_bytes / 1e6, 0),
        "" if file.mean_share is None else wording.difference(file.mean_share),
    ]


def bench_html(bench: Bench) -> str:
    """Return the whole page."""
    rows = [[name(file.name), *map(text, _cells(file)[1:])] for file in bench.files]
    body = [
        section("picture", "Size against time against difference", _picture(bench)),
        section(
            "table",
            "In numbers",
            paragraph(conditions(bench)),
            items([text(note) for note in bench.notes]) if bench.notes else "",
            table("Files side by side", HEAD, rows, NUMERIC),
        ),
        section("operators", "Where the time goes", *map(_operators, bench.files)),
    ]
    heading = f"<h1>{text(bench.folder)} <span class='what'>its files side by side</span></h1>"
    return page(f"{text(bench.folder)}: benchmark", heading, "\n".join(body))


def _picture(bench: Bench) -> str:
    slowest = max(file.ratio for file in bench.files)
    largest = max(file.size_bytes for file in bench.files)
    blocks = []
    for title, share, value in (
        ("Time, as a ratio", lambda f: f.ratio / slowest, lambda f: f"{f.ratio:.2f}"),
        ("Size", lambda f: f.size_bytes / largest, lambda f: f"{f.size_bytes / 1e3:,.0f} kB"),
        ("Mean difference", _difference_share, _difference_words),
    ):
        rows = [
            figures.row(
                name(file.name),
                figures.drawing(
                    f"{file.name}: {value(file)}",
                    14,
                    f'<rect class="part-live" x="0" y="1" height="12" '
                    f'width="{figures.percent(share(file))}"></rect>',
                ),
                text(value(file)),
            )
            for file in bench.files
        ]
        blocks.append(f'<h3>{text(title)}</h3><ol class="rows">{"".join(rows)}</ol>')
    caption = "Shorter is better in all three; differences on a scale of 0 to 5 % of the range."
    return f"<figure>{''.join(blocks)}<figcaption>{caption}</figcaption></figure>"


def _difference_share(file: FileTiming) -> float:
    return min(1.0, (file.mean_share or 0.0) / 0.05)


def _difference_words(file: FileTiming) -> str:
    return "" if file.mean_share is None else wording.difference(file.mean_share)


def _operators(file: FileTiming) -> str:
    rows = [
        [
            name(cost.type),
            wording.count(cost.count),
            "not told" if cost.ms is None else wording.decimal(cost.ms, 3),
        ]
        for cost in file.operators
    ]
    body = table(f"Operators of {file.name}", ["operator", "count", "ms"], rows, (1, 2))
    return details(file.name, body)
