"""The page of the paper's tables and figures, measured again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from toolchain.data.published.reading import comparators, not_found, paper_citation, paper_rows
from toolchain.records.accuracy import Citation, Comparator, Member, PeerMember, Picture
from toolchain.report import wording
from toolchain.report.accuracy import rows as lines
from toolchain.report.accuracy import shell
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
from toolchain.report.accuracy.precision_words import NEVER_OFFICIAL, figure, sample_words
from toolchain.report.accuracy.rows import Row, rows_of
from toolchain.report.accuracy.sizes import FIGURES, MODELS, size_figure
from toolchain.report.document.markup import items, paragraph, section, table, text


def tables_page(
    members: Sequence[Member], peers: Sequence[PeerMember], figures_4_5: Sequence[Picture] = ()
) -> str:
    """Return the page: Tables 1 and 2, Figures 2 to 5, the peers, and every source."""
    on = on_words(members, peers)
    sections = [
        *(_model(model, members, on) for model in lines.models(members)),
        _peers(peers, on),
        _sizes(members, peers, on),
        _pictures(figures_4_5),
        _comparators(),
        _sources(),
    ]
    return shell.page(f"The paper's tables, {on}", _head(members, peers, on), sections)


def _head(members: Sequence[Member], peers: Sequence[PeerMember], on: str) -> str:
    samples = samples_of(members, peers)
    partial = [sample for sample in samples if not sample.is_whole]
    first = [shell.warning(sample_words(sample)) for sample in partial]
    said = {sample_words(sample) for sample in partial}
    rest = [words for words in sentences(members, peers) if words not in said]
    pieces = [
        f'<h1>The paper\u2019s tables <span class="what">{text(on)}</span></h1>',
        *first,
        _verdict(members),
        *(paragraph(words, "muted") for words in rest),
    ]
    return "\n".join(piece for piece in pieces if piece)


def _verdict(members: Sequence[Member]) -> str:
    """Say whether shrinking changed any average precision."""
    verdicts = {member.name: lines.equal(member) for member in members}
    compared = {name: verdict for name, verdict in verdicts.items() if verdict is not None}
    same = sum(member.nothing_removed for member in members)
    if not compared:
        return ""
    changed = [name for name, verdict in compared.items() if not verdict]
    untouched = f" {wording.plural(same, 'network')} had nothing to remove." if same else ""
    if changed:
        sign, word, kind = "✗", "CHANGED", "bad"
        words = f"Shrinking changed the average precision of {', '.join(changed)}.{untouched}"
    else:
        sign, word, kind = "✓", "NOTHING LOST", "good"
        words = (
            f"All {wording.plural(len(compared), 'shrunk network')} have the average precision "
            f"of the network before, to 4 decimals.{untouched}"
        )
    return (
        f'<div class="verdict {kind}"><p><strong class="stamp"><span aria-hidden="true">{sign} '
        f"</span>{word}</strong> {text(words)}</p></div>"
    )


def _model(model: str, members: Sequence[Member], on: str) -> str:
    rows = rows_of(model, members)
    own = [member for member in members if member.model == model]
    title = title_of(model, on)
    measured = f"{wording.plural(len(own), 'checkpoint')} measured." if own else "Not measured."
    sizes = f"Sizes; MACs of one image of {macs_words(own)} pixels" if own else "Sizes"
    return section(
        f"table-{lines.models(members).index(model) + 1}",
        title,
        paragraph(measured, "muted"),
        _table(title, AP_HEAD, rows, ap_cells, range(1, 4)),
        _table(f"{MODELS.get(model, model)}: {sizes}", SIZE_HEAD, rows, size_cells, range(1, 6)),
    )


def _table(
    caption: str,
    head: Sequence[str],
    rows: Sequence[Row],
    cells: Callable[[Row], list[str]],
    numeric: Sequence[int],
) -> str:
    return table(caption, head, [[_cell(cell) for cell in cells(row)] for row in rows], numeric)


def _cell(words: str) -> str:
    """Set what the paper reports, in brackets, apart from what was measured."""
    measured, bracket, paper = words.rpartition(" (")
    if not bracket or not paper.endswith(")"):
        return text(words)
    return f"{text(measured)} <small>({text(paper)}</small>"


def _sizes(members: Sequence[Member], peers: Sequence[PeerMember], on: str) -> str:
    samples = samples_of(members, peers)
    partial = NEVER_OFFICIAL if any(not sample.is_whole for sample in samples) else ""
    words = (
        "Hollow marks are published figures, each under the protocol of its source; filled marks "
        "are measured here. A line joins the two marks of one checkpoint. Figures under different "
        f"protocols do not rank detectors. {partial}"
    )
    drawn = [size_figure(level, members, peers, on) for level in FIGURES]
    return section("sizes", f"Size against accuracy, {on}", paragraph(words), *drawn)


def _peers(peers: Sequence[PeerMember], on: str) -> str:
    if not peers:
        return ""
    caption = f"Peers: average precision {on}"
    rows = [[text(cell) for cell in peer_cells(peer)] for peer in peers]
    return section("peers", caption, table(caption, PEER_HEAD, rows, range(1, 6)))


def _pictures(shown: Sequence[Picture]) -> str:
    if not shown:
        return ""
    return section(
        "figures",
        "Figures 4 and 5: the same photos, network by network",
        paragraph(shell.BOX_COLOURS, "muted"),
        shell.pictures(shown),
    )


def _comparators() -> str:
    numbers = {source: number for number, source in enumerate(sources(), start=1)}
    rows = [_comparator(item, numbers) for item in comparators()]
    head = ["detector", "Easy", "Medium", "Hard", "protocol", "parameters", "AP from", "size from"]
    missing = [f"{text(entry.name)}: {text(entry.missing)}" for entry in not_found()]
    return section(
        "comparators",
        "Published figures of other detectors",
        table("WIDER FACE, validation set; nothing here is measured", head, rows, (1, 2, 3, 5)),
        "<h3>Found in no source, and left out</h3>",
        items(missing),
    )


def _comparator(item: Comparator, numbers: dict[Citation, int]) -> list[str]:
    return [
        text(item.name),
        *(figure(ap) for ap in (item.easy, item.medium, item.hard)),
        text(item.protocol),
        lines.count(item.parameters),
        *(
            "-"
            if source is None
            else f'<a href="#source-{numbers[source]}">[{numbers[source]}]</a>'
            for source in (item.ap_source, item.parameters_source)
        ),
    ]


def sources() -> tuple[Citation, ...]:
    """Return every source of a published figure, the paper first, none twice."""
    cited = [
        source for item in comparators() for source in (item.ap_source, item.parameters_source)
    ]
    return tuple(
        dict.fromkeys([paper_citation(), *(source for source in cited if source is not None)])
    )


def _sources() -> str:
    entries = "".join(
        f'<li id="source-{number}">{text(source.title)}'
        f"{'' if source.year is None else f' ({source.year})'}. {text(source.where)}</li>"
        for number, source in enumerate(sources(), start=1)
    )
    rows = wording.plural(len(paper_rows()), "row")
    return section(
        "sources",
        "Sources",
        paragraph(f"The {rows} of Tables 1 and 2, and what they reproduce, are from [1]."),
        f"<ol>{entries}</ol>",
    )
