"""The tables as CSV: one line per checkpoint and peer, for spreadsheets and scripts."""

from __future__ import annotations

import csv as csv_module
import io
from collections.abc import Sequence

from toolchain.records.accuracy import LEVELS, Member, PeerMember
from toolchain.report import wording
from toolchain.report.accuracy import rows as lines
from toolchain.report.accuracy.precision_words import on_photos
from toolchain.report.accuracy.rows import Row, rows_of

CSV_HEAD = (
    *("table", "network", "file", "measured"),
    *(f"{kind}_{level}" for kind in ("soft", "shrunk", "paper") for level in LEVELS),
    *("nothing_removed", "equal_to_4_decimals"),
    *("parameters", "nonzero_parameters", "sparsity_percent"),
    *("paper_nonzero_parameters", "paper_sparsity_percent"),
    *("deployed_before", "deployed_after", "macs_before", "macs_after"),
    *("macs_height_px", "macs_width_px", "file_bytes"),
)


def csv(members: Sequence[Member], peers: Sequence[PeerMember]) -> str:
    """Return one line per row and peer, numbers in full; empty where there is none."""
    content = io.StringIO()
    writer = csv_module.DictWriter(content, CSV_HEAD, restval="", lineterminator="\n")
    writer.writeheader()
    for model in lines.models(members):
        for row in rows_of(model, members):
            writer.writerow(_csv_row(row))
    for peer in peers:
        writer.writerow(_csv_peer(peer))
    return content.getvalue()


def _csv_row(row: Row) -> dict[str, object]:
    member, published = row.member, row.published
    cells: dict[str, object] = {"table": row.model, "network": row.label}
    cells |= {f"paper_{level}": row.paper(level) for level in LEVELS}
    if published is not None:
        cells["paper_nonzero_parameters"] = published.parameters
        cells["paper_sparsity_percent"] = published.sparsity
    if member is None:
        return {**cells, "measured": "not measured"}
    return cells | _csv_member(member)


def _csv_member(member: Member) -> dict[str, object]:
    verdict = lines.equal(member)
    cells: dict[str, object] = {
        "file": wording.clean(member.name),
        "measured": on_photos(member.soft.sample),
        "nothing_removed": member.nothing_removed,
        "equal_to_4_decimals": "" if verdict is None else verdict,
        "parameters": member.parameters,
        "nonzero_parameters": member.nonzero_parameters,
        "sparsity_percent": round(member.sparsity, 4),
        "deployed_before": member.deployed_before,
        "deployed_after": member.deployed_after,
        "macs_before": member.macs_before,
        "macs_after": member.macs_after,
        "macs_height_px": member.size_of_macs[0],
        "macs_width_px": member.size_of_macs[1],
        "file_bytes": member.onnx_bytes,
    }
    for level in LEVELS:
        cells[f"soft_{level}"] = member.soft.ap(level)
        cells[f"shrunk_{level}"] = None if member.shrunk is None else member.shrunk.ap(level)
    return cells


def _csv_peer(peer: PeerMember) -> dict[str, object]:
    name = wording.clean(peer.evaluation.subject.name)
    return {
        "table": "peers",
        "network": name,
        "file": name,
        "measured": on_photos(peer.evaluation.sample),
        "parameters": peer.parameters,
        "file_bytes": peer.size_bytes,
        **{f"soft_{level}": peer.evaluation.ap(level) for level in LEVELS},
    }
