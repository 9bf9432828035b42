"""Files of many networks side by side, as Markdown and as an HTML page."""

from __future__ import annotations

from toolchain.records.timings import ComparedCandidate, Comparison
from toolchain.report import wording
from toolchain.report.charts import figures
from toolchain.report.document.frame import page
from toolchain.report.document.marks import plain
from toolchain.report.document.marks import table as markdown_table
from toolchain.report.document.markup import items, name, paragraph, section, table, text

HEAD = [
    "file", "input", "bytes", "instructions", "share", "multiply-adds", "ms here", "time here",
    "quartiles",
]  # fmt: skip
NUMERIC = (2, 3, 4, 5, 6, 7)


def comparison_markdown(comparison: Comparison) -> str:
    """Return the table with its conditions; it ends with a line feed."""
    rows = [[plain(cell) for cell in _cells(each)] for each in comparison.candidates]
    parts = [
        f"# Side by side: {plain(comparison.name)}, and this machine",
        plain(conditions(comparison)),
        markdown_table(HEAD, rows, numeric=NUMERIC),
        "\n".join(f"- {plain(note)}" for note in notes(comparison)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def comparison_html(comparison: Comparison) -> str:
    """Return the whole page."""
    rows = [[name(each.label), *map(text, _cells(each)[1:])] for each in comparison.candidates]
    remarks = [text(note) for note in notes(comparison)]
    body = [
        section("picture", "Cost, as a share of the first", _picture(comparison)),
        section(
            "table", "In numbers", paragraph(text(conditions(comparison))),
            items(remarks) if remarks else "", table("Side by side", HEAD, rows, NUMERIC),
        ),
    ]  # fmt: skip
    title = f"{text(comparison.name)}, and this machine"
    heading = f"<h1>Side by side <span class='what'>{title}</span></h1>"
    definitions = figures.pattern_definitions()
    return page("Side by side", heading, "\n".join(body), definitions=definitions)


def conditions(comparison: Comparison) -> str:
    """Return how it was measured, in words."""
    runtimes = ", ".join(dict.fromkeys(each.runtime for each in comparison.candidates))
    return (
        f"Instructions of one inference on {comparison.name}, {comparison.core} under QEMU, one "
        f"thread, counted exactly; {runtimes}. Time on this machine, {comparison.processor}, "
        f"{comparison.machine}, load {comparison.load:g}, "
        f"{wording.plural(comparison.threads, 'thread')}: all in turn, in random order, "
        f"{comparison.rounds} rounds in {comparison.seconds:g} s, as a ratio "
        f"to {comparison.candidates[0].label} in the same round."
    )


def notes(comparison: Comparison) -> list[str]:
    """Return what is to be known of the figures."""
    sizes = {each.size for each in comparison.candidates}
    differ = [each.label for each in comparison.candidates if not each.parity]
    found = list(comparison.notes)
    if len(sizes) > 1:
        found.append("The files have inputs of different sizes: shares are not of the same work.")
    if differ:
        found.append(f"Not the same on the board as here: {', '.join(differ)}.")
    return found


def _cells(each: ComparedCandidate) -> list[str]:
    return [
        each.label,
        wording.shape(each.size),
        wording.count(each.size_bytes),
        wording.count(each.instructions),
        f"{each.share:.3f}",
        f"{each.multiply_add / each.instructions:.1%}",
        wording.decimal(each.median_ms),
        f"{each.ratio:.3f}",
        f"{each.ratio_low:.2f} to {each.ratio_high:.2f}",
    ]


def _picture(comparison: Comparison) -> str:
    most = max(max(each.share, each.ratio) for each in comparison.candidates)
    rows = "".join(
        figures.row(name(each.label), _bars(each, most), f"{each.share:.2f} / {each.ratio:.2f}")
        for each in comparison.candidates
    )
    legend = (
        '<ul class="legend"><li><svg aria-hidden="true" width="30" height="14"><rect '
        'class="part-live" x="1" y="1" width="28" height="12"/></svg> <span>of which '
        "multiply-adds</span></li><li><svg aria-hidden='true' width='30' height='14'><rect "
        'class="part-dropped" x="1" y="1" width="28" height="12"/></svg> <span>other '
        "instructions</span></li><li><svg aria-hidden='true' width='30' height='14'><rect "
        'class="part-carried" x="1" y="1" width="28" height="12"/></svg> <span>time here</span>'
        "</li></ul>"
    )
    caption = f"Instructions on {text(comparison.name)} above, time on this machine below."
    return (
        f'{legend}<figure><ol class="rows">{rows}</ol><figcaption>{caption}</figcaption></figure>'
    )


def _bars(each: ComparedCandidate, most: float) -> str:
    useful = each.share * each.multiply_add / each.instructions
    return figures.drawing(
        f"{each.label}: {each.share:.3f} of the instructions, {each.ratio:.3f} of the time",
        26,
        f'<rect class="part-live" x="0" y="1" height="11" '
        f'width="{figures.percent(useful / most)}"/>',
        f'<rect class="part-dropped" x="{figures.percent(useful / most)}" y="1" height="11" '
        f'width="{figures.percent((each.share - useful) / most)}"/>',
        f'<rect class="part-carried" x="0" y="14" height="11" '
        f'width="{figures.percent(each.ratio / most)}"/>',
    )
