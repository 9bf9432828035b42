"""The lineage of the files: every link, what it costs, and what is missing."""

from __future__ import annotations

from toolchain.records.certificate import Certificate, Link
from toolchain.records.run_folder import BOARD_SUFFIXES
from toolchain.records.stages import Report
from toolchain.report import wording
from toolchain.report.charts.bars import Segment, stacked
from toolchain.report.document.model import (
    Bar,
    Code,
    Figure,
    Items,
    Paragraph,
    Section,
    Strong,
    Table,
    Words,
    parts,
)
from toolchain.report.run.lost import lost_heading, lost_words
from toolchain.report.run.mixed_precision import mixed_precision

HEAD = [
    "link",
    "largest difference",
    "mean difference",
    "worst in",
    "limit",
    "decisions",
    "",
    "verdict",
]
"""Of the table; what was lost has its heading by what was measured."""
LOST = 6
NUMERIC = (1, 2, 4, 6)


def lineage(report: Report) -> Section | None:
    """Return the section; None without a certificate."""
    certificate = report.certificate
    if certificate is None:
        return None
    missing = tuple(
        Strong(f"INCOMPLETE: {each.file}: {each.reason}") for each in certificate.failures
    )
    return Section(
        "lineage",
        "The lineage of the files",
        parts(
            Paragraph(_introduction(certificate)),
            _rewrites(report),
            Items(missing) if missing else None,
            _picture(certificate),
            Table(
                "Links, differences as shares of their channels' ranges",
                (*HEAD[:LOST], lost_heading(certificate.links), *HEAD[LOST + 1 :]),
                tuple(map(_cells, certificate.links)),
                NUMERIC,
            ),
            *mixed_precision(certificate),
        ),
    )


def _cells(link: Link) -> tuple[Words, ...]:
    """Return a link in words, as :data:`HEAD` names them."""
    return (
        Code(link.name),
        _share(link.worst),
        _share(link.mean),
        _place(link),
        f"{link.parity.limit:.0e} ({link.parity.figure})",
        _boxes(link) or _decisions(link),
        lost_words(link),
        "PASS" if link.passed else Strong("FAIL"),
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


def _introduction(certificate: Certificate) -> str:
    words = (
        "Every file is tied to the one before it by a difference measured in this run, as a share "
        "of the range of the channels that it is in; toolchain verify runs them all again."
    )
    scores = next((link.scores for link in certificate.links if link.scores), None)
    if scores is not None:
        words += f" Figures are by {scores.function}, on {scores.data}."
    facts = certificate.calibration
    if facts is None:
        return words
    on = "photos" if facts.kind == "photos" else "synthetic shapes, not photos"
    return f"{words} int8 was calibrated on {facts.inputs} {on}."


def _rewrites(report: Report) -> Paragraph | None:
    """Say which rewrites were done, and why others were not."""
    if not report.rewrites:
        return None
    done = ", ".join(f"{each.name} ({each.changed})" for each in report.rewrites if each.changed)
    lacking = [f"{each.name}: {each.lacking}" for each in report.rewrites if each.lacking]
    words = f"Rewritten for speed, with the number of operators that changed: {done or 'nothing'}."
    return Paragraph(f"{words} Not applied: {'; '.join(lacking)}." if lacking else words)


def _picture(certificate: Certificate) -> Figure | None:
    """Return a bar for the size of every file that goes to a board."""
    files = [
        (file.name, certificate.size_of(file.name))
        for file in certificate.files
        if file.name.endswith(BOARD_SUFFIXES)
    ]
    shown = [(name, size) for name, size in files if not name.startswith("chain/")]
    largest = max((size for _, size in shown), default=1)
    bars = tuple(
        Bar(
            Code(name),
            stacked(
                f"{wording.count(size)} bytes",
                [Segment("live", size / largest)],
            ),
            f"{size / 1000:,.0f} kB",
        )
        for name, size in shown
    )
    caption = "Size of every file that goes to a board."
    return Figure(caption, bars=bars, label="Size of every file") if bars else None
