"""What stands in the tables: titles, heads, and each row's cells in words, for every rendering."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.data.published.reading import paper_citation
from toolchain.records.accuracy import LEVELS, Member, PeerMember, Sample
from toolchain.report import wording
from toolchain.report.accuracy import rows as lines
from toolchain.report.accuracy.precision_words import (
    NOTHING,
    figure,
    on_photos,
    protocol_words,
    sample_words,
)
from toolchain.report.accuracy.rows import Row
from toolchain.report.accuracy.sizes import MODELS

TABLES = {"extd": 1, "eresfd": 2}
"""Numbers of the paper's tables."""

AP_HEAD = (
    "network",
    *(f"{level.capitalize()} (paper)" for level in LEVELS),
    f"shrunk: {', '.join(level.capitalize() for level in LEVELS)}",
    "equal to 4 decimals",
)
SIZE_HEAD = (
    "network",
    "parameters not zero (paper)",
    "real sparsity (paper)",
    "deployed parameters",
    "MACs",
    "ONNX bytes",
)
PEER_HEAD = ("detector", *(level.capitalize() for level in LEVELS), "parameters", "bytes")


def samples_of(members: Sequence[Member], peers: Sequence[PeerMember]) -> list[Sample]:
    """Return the different samples that the figures are of."""
    evaluations = [*lines.evaluations_of(members), *(peer.evaluation for peer in peers)]
    return list(dict.fromkeys(item.sample for item in evaluations))


def on_words(members: Sequence[Member], peers: Sequence[PeerMember]) -> str:
    """Return the samples for a title."""
    samples = samples_of(members, peers)
    return "; ".join(dict.fromkeys(map(on_photos, samples))) or "nothing is measured yet"


def title_of(model: str, on: str) -> str:
    """Return a table's title, with the sample in it."""
    number = f"Table {TABLES[model]}, " if model in TABLES else ""
    return f"{number}{MODELS.get(model, wording.clean(model))}: average precision {on}"


def sentences(members: Sequence[Member], peers: Sequence[PeerMember]) -> list[str]:
    """Return what must be known of all the figures."""
    evaluations = [*lines.evaluations_of(members), *(peer.evaluation for peer in peers)]
    protocols = dict.fromkeys(protocol_words(item.protocol) for item in evaluations)
    paper = paper_citation()
    return [
        *map(sample_words, samples_of(members, peers)),
        *protocols,
        f"In brackets: what the paper reports ({paper.title}, {paper.where}), on the whole "
        "validation set of WIDER FACE, over several scales.",
        "Parameters not zero are counted as the paper counts them, in the soft network; deployed "
        "parameters are those before and after shrinking, batch norm folded, with the change in "
        "brackets.",
    ]


def ap_cells(row: Row) -> list[str]:
    """Return a row of the table of average precisions, in :data:`AP_HEAD`'s columns."""
    file = row.member.name if row.member is not None and row.published is not None else ""
    return [
        f"{row.label} ({wording.clean(file)})" if file else row.label,
        *(_beside(figure(row.measured(level)), figure(row.paper(level))) for level in LEVELS),
        lines.shrunk_words(row.member),
        lines.equal_words(row.member),
    ]


def size_cells(row: Row) -> list[str]:
    """Return a row of the table of sizes, in :data:`SIZE_HEAD`'s columns."""
    member, published = row.member, row.published
    paper_size = lines.count(published.parameters if published else None)
    paper_share = lines.percent(published.sparsity if published else None)
    if member is None:
        return [
            row.label,
            _beside(NOTHING, paper_size),
            _beside(NOTHING, paper_share),
            *[NOTHING] * 3,
        ]
    return [
        row.label,
        _beside(lines.count(member.nonzero_parameters), paper_size),
        _beside(lines.percent(member.sparsity), paper_share),
        lines.arrow(member.deployed_before, member.deployed_after),
        lines.arrow(member.macs_before, member.macs_after, lines.millions),
        lines.count(member.onnx_bytes),
    ]


def peer_cells(peer: PeerMember) -> list[str]:
    """Return a row of the table of peers, in :data:`PEER_HEAD`'s columns."""
    return [
        wording.clean(peer.evaluation.subject.name),
        *(figure(peer.evaluation.ap(level)) for level in LEVELS),
        lines.count(peer.parameters),
        lines.count(peer.size_bytes),
    ]


def _beside(measured: str, paper: str) -> str:
    return measured if measured == paper == NOTHING else f"{measured} ({paper})"


def macs_words(members: Sequence[Member]) -> str:
    """Return the image that the MACs are of."""
    sizes = dict.fromkeys(member.size_of_macs for member in members)
    return ", ".join(wording.shape(size) for size in sizes)
