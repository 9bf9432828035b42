"""The paper's tables, measured again: as Markdown, as CSV, and as a page with its figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from toolchain.records.accuracy import Member, PeerMember
from toolchain.report.accuracy import rows as lines
from toolchain.report.accuracy.cells import (
    AP_HEAD,
    PEER_HEAD,
    SIZE_HEAD,
    ap_cells,
    macs_words,
    on_words,
    peer_cells,
    sentences,
    size_cells,
    title_of,
)
from toolchain.report.accuracy.listing import csv
from toolchain.report.accuracy.paper_page import tables_page
from toolchain.report.accuracy.rows import Row, rows_of
from toolchain.report.document import marks

__all__ = ["csv", "markdown", "tables_page"]


def markdown(members: Sequence[Member], peers: Sequence[PeerMember]) -> str:
    """Return the tables as Markdown; it ends with a line feed."""
    on = on_words(members, peers)
    parts = [f"# The paper's tables, measured {marks.plain(on)}"]
    parts.append("\n".join(f"- {marks.plain(words)}" for words in sentences(members, peers)))
    for model in lines.models(members):
        rows = rows_of(model, members)
        own = [member for member in members if member.model == model]
        parts.append(f"## {marks.plain(title_of(model, on))}")
        parts.append(_markdown_table(AP_HEAD, rows, ap_cells, range(1, 5)))
        parts.append(f"Sizes; MACs of one image of {macs_words(own) or '-'} pixels.")
        parts.append(_markdown_table(SIZE_HEAD, rows, size_cells, range(1, 6)))
    if peers:
        parts.append(f"## {marks.plain(f'Peers: average precision {on}')}")
        cells = [[marks.plain(cell) for cell in peer_cells(peer)] for peer in peers]
        parts.append(marks.table(PEER_HEAD, cells, range(1, 6)))
    return "\n\n".join(parts) + "\n"


def _markdown_table(
    head: Sequence[str],
    rows: Sequence[Row],
    cells: Callable[[Row], list[str]],
    numeric: Sequence[int],
) -> str:
    return marks.table(head, [[_plain(cell) for cell in cells(row)] for row in rows], numeric)


def _plain(cell: str) -> str:
    return cell if cell == "-" else marks.plain(cell)
