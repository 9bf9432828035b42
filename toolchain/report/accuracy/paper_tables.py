"""The paper's tables and figures, measured again, beside what it and others report."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.data.published.reading import comparators, not_found, paper_citation, paper_rows
from toolchain.records.accuracy import Citation, Comparator, Member, PeerMember, Picture
from toolchain.report import wording
from toolchain.report.accuracy import rows as lines
from toolchain.report.accuracy.cells import (
    AP_HEAD,
    PEER_HEAD,
    SIZE_HEAD,
    ap_cells,
    macs_words,
    on_words,
    peer_cells,
    samples_of,
    sentences,
    size_cells,
    title_of,
)
from toolchain.report.accuracy.precision_words import (
    BOX_COLOURS,
    NEVER_OFFICIAL,
    figure,
    sample_words,
)
from toolchain.report.accuracy.rows import rows_of
from toolchain.report.accuracy.series import photo_series
from toolchain.report.accuracy.sizes import FIGURES, MODELS, size_figures
from toolchain.report.document.model import (
    Block,
    Document,
    Heading,
    Item,
    Items,
    Link,
    Notice,
    Paragraph,
    Section,
    Small,
    Table,
    Verdict,
    Words,
    parts,
)


def paper_document(
    members: Sequence[Member], peers: Sequence[PeerMember], figures_4_5: Sequence[Picture] = ()
) -> Document:
    """Return Tables 1 and 2, Figures 2 to 5, the peers, and every source."""
    on = on_words(members, peers)
    return Document(
        title=f"The paper's tables, {on}",
        heading="The paper\u2019s tables, measured",
        subject=on,
        lead=_lead(members, peers),
        blocks=parts(
            *(_model(model, members, on) for model in lines.models(members)),
            _peers(peers, on),
            _sizes(members, peers, on),
            _pictures(figures_4_5),
            _comparators(),
            _sources(),
        ),
    )


def _lead(members: Sequence[Member], peers: Sequence[PeerMember]) -> tuple[Block, ...]:
    partial = [sample for sample in samples_of(members, peers) if not sample.is_whole]
    first = [sample_words(sample) for sample in partial]
    rest = [words for words in sentences(members, peers) if words not in first]
    return parts(
        *map(Notice, first), _verdict(members), *(Paragraph(words, quiet=True) for words in rest)
    )


def _verdict(members: Sequence[Member]) -> Verdict | None:
    """Say whether shrinking changed any average precision."""
    verdicts = {member.name: lines.equal(member) for member in members}
    compared = {name: verdict for name, verdict in verdicts.items() if verdict is not None}
    same = sum(member.nothing_removed for member in members)
    if not compared:
        return None
    changed = [name for name, verdict in compared.items() if not verdict]
    untouched = f" {wording.plural(same, 'network')} had nothing to remove." if same else ""
    if changed:
        words = f"Shrinking changed the average precision of {', '.join(changed)}.{untouched}"
        return Verdict(False, "CHANGED", words)
    words = (
        f"All {wording.plural(len(compared), 'shrunk network')} have the average precision "
        f"of the network before, to 4 decimals.{untouched}"
    )
    return Verdict(True, "NOTHING LOST", words)


def _model(model: str, members: Sequence[Member], on: str) -> Section:
    rows = rows_of(model, members)
    own = [member for member in members if member.model == model]
    title = title_of(model, on)
    measured = f"{wording.plural(len(own), 'checkpoint')} measured." if own else "Not measured."
    sizes = f"Sizes; MACs of one image of {macs_words(own)} pixels" if own else "Sizes"
    precisions = tuple(tuple(map(_cell, ap_cells(row))) for row in rows)
    costs = tuple(tuple(map(_cell, size_cells(row))) for row in rows)
    return Section(
        f"table-{lines.models(members).index(model) + 1}",
        title,
        (
            Paragraph(measured, quiet=True),
            Table(title, AP_HEAD, precisions, (1, 2, 3)),
            Table(f"{MODELS.get(model, model)}: {sizes}", SIZE_HEAD, costs, tuple(range(1, 6))),
        ),
    )


def _cell(words: str) -> Words:
    """Set what the paper reports, in brackets, apart from what was measured."""
    measured, bracket, paper = words.rpartition(" (")
    if not bracket or not paper.endswith(")"):
        return words
    return (measured, " ", Small(f"({paper}"))


def _peers(peers: Sequence[PeerMember], on: str) -> Section | None:
    if not peers:
        return None
    caption = f"Peers: average precision {on}"
    rows = tuple(tuple(peer_cells(peer)) for peer in peers)
    return Section("peers", caption, (Table(caption, PEER_HEAD, rows, tuple(range(1, 6))),))


def _sizes(members: Sequence[Member], peers: Sequence[PeerMember], on: str) -> Section:
    samples = samples_of(members, peers)
    partial = f" {NEVER_OFFICIAL}" if any(not sample.is_whole for sample in samples) else ""
    words = (
        "Hollow marks are published figures, each under the protocol of its source; filled marks "
        "are measured here. A line joins the two marks of one checkpoint. Figures under different "
        f"protocols do not rank detectors.{partial}"
    )
    drawn = [each for level in FIGURES for each in size_figures(level, members, peers, on)]
    return Section("sizes", f"Size against accuracy, {on}", (Paragraph(words), *drawn))


def _pictures(shown: Sequence[Picture]) -> Section | None:
    if not shown:
        return None
    title = "Figures 4 and 5: the same photos, network by network"
    colours = Paragraph(BOX_COLOURS, quiet=True)
    return Section("figures", title, (colours, *map(photo_series, shown)))


def _comparators() -> Section:
    numbers = {source: number for number, source in enumerate(sources(), start=1)}
    rows = tuple(_comparator(item, numbers) for item in comparators())
    head = ("detector", "Easy", "Medium", "Hard", "protocol", "parameters", "AP from", "size from")
    return Section(
        "comparators",
        "Published figures of other detectors",
        (
            Table("WIDER FACE, validation set; nothing here is measured", head, rows, (1, 2, 3, 5)),
            Heading("Found in no source, and left out"),
            Items(tuple(f"{entry.name}: {entry.missing}" for entry in not_found())),
        ),
    )


def _comparator(item: Comparator, numbers: dict[Citation, int]) -> tuple[Words, ...]:
    cited = (item.ap_source, item.parameters_source)
    return (
        item.name,
        *(figure(ap) for ap in (item.easy, item.medium, item.hard)),
        item.protocol,
        lines.count(item.parameters),
        *("-" if source is None else _reference(numbers[source]) for source in cited),
    )


def _reference(number: int) -> Link:
    return Link(f"[{number}]", f"#source-{number}")


def sources() -> tuple[Citation, ...]:
    """Return every source of a published figure, the paper first, none twice."""
    cited = [
        source for item in comparators() for source in (item.ap_source, item.parameters_source)
    ]
    return tuple(
        dict.fromkeys([paper_citation(), *(source for source in cited if source is not None)])
    )


def _sources() -> Section:
    rows = wording.plural(len(paper_rows()), "row")
    entries = tuple(
        Item(_source(source), f"source-{number}")
        for number, source in enumerate(sources(), start=1)
    )
    words = f"The {rows} of Tables 1 and 2, and what they reproduce, are from [1]."
    return Section("sources", "Sources", (Paragraph(words), Items(entries, ordered=True)))


def _source(source: Citation) -> str:
    year = "" if source.year is None else f" ({source.year})"
    return f"{source.title}{year}. {source.where}"
