"""Files of many networks side by side, on an emulated board and on this machine."""

from __future__ import annotations

from toolchain.records.timings import ComparedCandidate, Comparison
from toolchain.report import wording
from toolchain.report.charts.bars import Segment, legend, pair
from toolchain.report.document import model as doc

HEAD = (
    "file", "input", "bytes", "instructions", "share", "multiply-adds", "apart", "ms here",
    "time here", "quartiles",
)  # fmt: skip
NUMERIC = (2, 3, 4, 5, 6, 7, 8)


def comparison_document(comparison: Comparison) -> doc.Document:
    """Return the whole document."""
    remarks = tuple(notes(comparison))
    table = doc.Table("Side by side", HEAD, tuple(map(_cells, comparison.candidates)), NUMERIC)
    numbers = doc.parts(
        doc.Paragraph(conditions(comparison)), doc.Items(remarks) if remarks else None, table
    )
    return doc.Document(
        title="Side by side",
        heading="Side by side",
        subject=f"{comparison.name}, and this machine",
        lead=(),
        blocks=(
            doc.Section("picture", "Cost, as a share of the first", (_picture(comparison),)),
            doc.Section("table", "In numbers", numbers),
        ),
    )


def conditions(comparison: Comparison) -> str:
    """Return how it was measured, in words."""
    runtimes = ", ".join(dict.fromkeys(each.runtime for each in comparison.candidates))
    return (
        f"Instructions of one inference on {comparison.name}, {comparison.core} under QEMU, one "
        f"thread, counted exactly; {runtimes}. Time on this machine, {comparison.processor}, "
        f"{comparison.machine}, load {comparison.load:g}, "
        f"{wording.plural(comparison.threads, 'thread')}: all in turn, in random order, "
        f"{comparison.rounds} rounds in {comparison.seconds:g} s, as a ratio "
        f"to {comparison.candidates[0].label} in the same round. Apart: the largest difference of "
        f"the board's outputs from this machine's (of mnn and opencv: from the ONNX file's by "
        f"onnxruntime), as a share of the output's range."
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


def apart(each: ComparedCandidate) -> str:
    """Return the largest difference of the board's outputs, as a share of their range."""
    return "no number" if each.apart is None else f"{each.apart:.1e}"


def _cells(each: ComparedCandidate) -> tuple[doc.Words, ...]:
    return (
        doc.Code(each.label),
        wording.shape(each.size),
        wording.count(each.size_bytes),
        wording.count(each.instructions),
        f"{each.share:.3f}",
        f"{each.multiply_add / each.instructions:.1%}",
        apart(each),
        wording.decimal(each.median_ms),
        f"{each.ratio:.3f}",
        f"{each.ratio_low:.2f} to {each.ratio_high:.2f}",
    )


def _picture(comparison: Comparison) -> doc.Figure:
    most = max(max(each.share, each.ratio) for each in comparison.candidates)
    return doc.Figure(
        f"Instructions on {comparison.name} above, time on this machine below.",
        bars=tuple(
            doc.Bar(doc.Code(each.label), _bars(each, most), f"{each.share:.2f} / {each.ratio:.2f}")
            for each in comparison.candidates
        ),
        legend=legend(
            ("live", "of which multiply-adds"),
            ("dropped", "other instructions"),
            ("carried", "time here"),
        ),
        told=True,
    )


def _bars(each: ComparedCandidate, most: float) -> doc.Drawing:
    useful = each.share * each.multiply_add / each.instructions
    return pair(
        f"{each.label}: {each.share:.3f} of the instructions, {each.ratio:.3f} of the time",
        [Segment("live", useful / most), Segment("dropped", (each.share - useful) / most)],
        [Segment("carried", each.ratio / most)],
    )
