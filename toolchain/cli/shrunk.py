"""What ``shrink`` tells at its end: what went, how it was proved, which files there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from toolchain.recipe.loading import models_with_recipe
from toolchain.records.run_folder import NCNN_FOLDER, ONNX

if TYPE_CHECKING:
    from toolchain.records.certificate import Certificate, Link
    from toolchain.records.cost_tables import CostReport
    from toolchain.records.parity import Parity
    from toolchain.records.stages import Report


def print_slower(report: Report, known: CostReport | None) -> None:
    """Say in one line which widths cost more than wider ones, or that the whole is slower here."""
    from toolchain.report.run.notes import slower_words

    console = Console(highlight=False, soft_wrap=True, emoji=False)
    if known is None:
        if report.latency is not None and report.latency.ratio_low > 1:
            console.print(
                f"Slower than before, on this machine: [bold]toolchain cost {escape(report.model)}"
                f"[/] measures the widths that are not on a board, --round-to auto takes them."
            )
        return
    after = {layer.layer: layer.out_channels_after for layer in report.surgery.layers}
    widths = {
        group_cost.group: after[group_cost.group]
        for group_cost in known.groups
        if 1 <= after.get(group_cost.group, 0) <= group_cost.width
    }
    words = slower_words(known, widths)
    if words:
        console.print(escape(words))


def print_report(report: Report, out: Path, *, verbose: bool) -> None:
    """Print what a reader must know, the figures, the proofs, and the files."""
    from toolchain.report.run.board import board_words
    from toolchain.report.run.notes import LOUD

    console = Console(highlight=False, soft_wrap=True, emoji=False)
    for note in report.notes:
        loud = note.startswith(LOUD)
        console.print(f"[bold yellow]{escape(note)}[/]" if loud else escape(note))
    for each in report.rewrites:
        if each.lacking and verbose:
            console.print(escape(f"rewrite {each.name} does not apply: {each.lacking}"))
    console.print(_comparison(report))
    surgery = report.parity_exact or report.parity_surgery
    console.print(f"proved: {_worst(surgery)}; {_worst(report.parity_onnx)}", markup=False)
    _print_lineage(report, console)
    if report.board is not None:
        console.print(board_words(report.board, report.rate, report.model), markup=False)
    console.print(f"Results are in [bold]{escape(str(out))}[/]; look at report.html.")
    if report.photos or report.model in models_with_recipe():
        best = ONNX if report.board is None else NCNN_FOLDER
        console.print(
            f"Next: copy {escape(str(out / best))} and detect.py beside it to the board, "
            f"run there: [bold]python3 detect.py {best} PHOTO --out found[/]",
        )


def _worst(parity: Parity) -> str:
    """Return the worst place of a comparison, in words."""
    case = parity.worst_case
    assert case is not None
    spot = case.spot(parity.figure)
    return (
        f"{parity.link} differs by {parity.worst or 0.0:.1e} of the range at most "
        f"({spot.place}, on {case.input}; limit {parity.limit:.0e})"
    )


def _print_lineage(report: Report, console: Console) -> None:
    """Print each file for a board with its size and what it costs, and what is missing."""
    from toolchain.report.run.lost import lost_heading, lost_words

    certificate = report.certificate
    if certificate is None:
        return
    made = {file.name for file in certificate.files}
    table = Table(box=None, pad_edge=False)
    lost = lost_heading(certificate.links, ", points")
    for heading in ("file", "bytes", "differs by (of range)", "kept", lost):
        table.add_column(heading, justify="left" if heading == "file" else "right")
    for link in certificate.links:
        if link.after in made and not link.after.startswith("chain/"):
            worst, mean = _added_up(link, certificate)
            table.add_row(
                escape(link.after),
                f"{certificate.size_of(link.after):,}",
                f"{worst:.1e} at most, {mean:.1e} on average",
                _kept(link),
                escape(lost_words(link, "")),
            )
    console.print(table)
    for failure in certificate.failures:
        console.print(f"[bold red]INCOMPLETE: {escape(failure.file)}: {escape(failure.reason)}[/]")


def _kept(link: Link) -> str:
    """Return how many boxes, scores or classes of the file before the link keeps."""
    if link.boxes is not None:
        return f"{link.boxes.both} of {link.boxes.both + link.boxes.missed} boxes"
    worst = max(link.decisions, key=lambda each: each.share, default=None)
    return "" if worst is None else f"{worst.kept} of {worst.made} {worst.words}"


def _added_up(link: Link, certificate: Certificate) -> tuple[float, float]:
    """Return a link's largest and mean difference, those of files in ``chain/`` before it added."""
    made = {each.after: each for each in certificate.links}
    worst, mean = link.worst or 0.0, link.mean or 0.0
    if not link.before.startswith("chain/") or link.before not in made:
        return worst, mean
    before = _added_up(made[link.before], certificate)
    return worst + before[0], mean + before[1]


def _comparison(report: Report) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "before", "after", "change"):
        table.add_column(heading, justify="left" if not heading else "right")
    before, after = report.cost_before, report.cost_after
    size = {item.name: item.size_bytes for item in report.artifacts}[ONNX]
    for name, a, b in (
        ("deployed parameters", before.deployed_parameters, after.deployed_parameters),
        ("multiply-accumulates", before.macs, after.macs),
        ("model.onnx, bytes", report.onnx_before_bytes, size),
    ):
        table.add_row(name, f"{a:,}", f"{b:,}", f"{b / a - 1:+.1%}" if a else "")
    if report.latency is not None:
        latency = report.latency
        table.add_row(
            "time here, ms (1 thread)",
            f"{latency.before_ms:.1f}",
            f"{latency.after_ms:.1f}",
            f"x {latency.ratio:.2f} ({latency.ratio_low:.2f}-{latency.ratio_high:.2f})",
        )
    total = len(report.surgery.filters)
    kept = report.surgery.count("kept")
    table.add_row("zeroed filters", str(total), str(kept), f"{total - kept} removed")
    return table
