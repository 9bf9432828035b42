"""The chain of files in both pages: every link, what it costs, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.records.certificate import Certificate, Link
from toolchain.records.stages import Report
from toolchain.report import wording
from toolchain.report.charts import figures
from toolchain.report.document.marks import plain
from toolchain.report.document.marks import table as markdown_table
from toolchain.report.document.markup import items, name, paragraph, section, table, text
from toolchain.report.run.mixed_precision import mixing_html, mixing_markdown

HEAD = [
    "link",
    "largest difference",
    "mean difference",
    "worst in",
    "limit",
    "decisions",
    "AP lost",
    "verdict",
]
NUMERIC = (1, 2, 4, 6)


@dataclass(frozen=True)
class Row:
    """A link in words; differences are shares of the output's range."""

    link: Link
    largest: str
    mean: str
    worst_in: str
    """Where the difference that the limit speaks of is largest."""
    limit: str
    decisions: str
    lost: str
    verdict: str


def rows(certificate: Certificate) -> list[Row]:
    """Return every link in words."""
    return [_row(link) for link in certificate.links]


def _row(link: Link) -> Row:
    return Row(
        link,
        _share(link.worst),
        _share(link.mean),
        _place(link),
        f"{link.parity.limit:.0e} ({link.parity.figure})",
        _boxes(link) or _decisions(link),
        "" if link.precision is None else f"{100 * link.precision.lost:.2f} points",
        "PASS" if link.passed else "FAIL",
    )


def _share(value: float | None) -> str:
    return wording.NOT_FINITE if value is None else wording.difference(value)


def _place(link: Link) -> str:
    case = link.parity.worst_case
    return "" if case is None else f"{case.spot(link.parity.figure).place}, on {case.input}"


def _decisions(link: Link) -> str:
    return "; ".join(
        f"{wording.count(each.kept)} of {wording.count(each.made)} {each.words} kept, on "
        f"{wording.plural(each.inputs, 'input')}"
        for each in link.decisions
    )


def _boxes(link: Link) -> str:
    boxes = link.boxes
    if boxes is None:
        return ""
    overlap = "" if boxes.mean_iou is None else f", overlap {boxes.mean_iou:.3f}"
    return (
        f"{boxes.both} by both, {boxes.missed} missed, {boxes.added} added on "
        f"{wording.plural(boxes.photos, 'photo')}{overlap}"
    )


def _cells(row: Row) -> list[str]:
    """Return a row's words, as :data:`HEAD` names them."""
    return [
        row.link.name,
        row.largest,
        row.mean,
        row.worst_in,
        row.limit,
        row.decisions,
        row.lost,
        row.verdict,
    ]


def _introduction(certificate: Certificate) -> str:
    words = (
        "Every file is tied to the one before it by a difference measured in this run, as a share "
        "of the range of the channels that it is in; toolchain verify runs them all again."
    )
    facts = certificate.calibration
    if facts is None:
        return words
    on = "photos" if facts.kind == "photos" else "synthetic shapes, not photos"
    return f"{words} int8 was calibrated on {facts.inputs} {on}."


def _rewrites(report: Report) -> list[str]:
    """Say which rewrites were done, and why others were not."""
    if not report.rewrites:
        return []
    done = ", ".join(f"{each.name} ({each.changed})" for each in report.rewrites if each.changed)
    lacking = [f"{each.name}: {each.lacking}" for each in report.rewrites if each.lacking]
    words = f"Rewritten for speed, with the number of operators that changed: {done or 'nothing'}."
    return [" ".join([words, *(["Not applied: " + "; ".join(lacking) + "."] if lacking else [])])]


def _missing(certificate: Certificate) -> list[str]:
    return [f"INCOMPLETE: {each.file}: {each.reason}" for each in certificate.failures]


def chain_markdown(report: Report) -> str:
    """Return the section, empty without a certificate."""
    certificate = report.certificate
    if certificate is None:
        return ""
    cells = [[plain(cell) for cell in _cells(row)] for row in rows(certificate)]
    missing = [f"**{plain(line)}**" for line in _missing(certificate)]
    return "\n\n".join(
        [
            "## The chain of files",
            _introduction(certificate),
            *_rewrites(report),
            *missing,
            markdown_table(HEAD, cells, numeric=NUMERIC),
            *filter(None, [mixing_markdown(certificate)]),
        ]
    )


def chain_html(report: Report) -> str:
    """Return the section, empty without a certificate."""
    certificate = report.certificate
    if certificate is None:
        return ""
    cells = [[name(row.link.name), *map(text, _cells(row)[1:])] for row in rows(certificate)]
    missing = _missing(certificate)
    return section(
        "chain",
        "The chain of files",
        paragraph(_introduction(certificate)),
        *map(paragraph, _rewrites(report)),
        items([f"<strong>{text(line)}</strong>" for line in missing]) if missing else "",
        _picture(certificate),
        table("Links, differences as shares of their channels' ranges", HEAD, cells, NUMERIC),
        mixing_html(certificate),
    )


def _picture(certificate: Certificate) -> str:
    """Return a bar for the size of every file that goes to a board."""
    files = [file for file in certificate.files if file.name.endswith((".onnx", ".tflite"))]
    shown = [file for file in files if not file.name.startswith("chain/")]
    largest = max((file.size_bytes for file in shown), default=1)
    drawn = []
    for file in shown:
        words = f"{wording.count(file.size_bytes)} bytes"
        bar = (
            f'<rect class="part-live" x="0" y="1" height="12" '
            f'width="{figures.percent(file.size_bytes / largest)}"></rect>'
        )
        value = f"{file.size_bytes / 1000:,.0f} kB"
        drawn.append(figures.row(name(file.name), figures.drawing(words, 14, bar), value))
    return (
        f'<figure aria-label="Size of every file"><ol class="rows">{"".join(drawn)}</ol>'
        f"<figcaption>Size of every file that goes to a board.</figcaption></figure>"
    )
