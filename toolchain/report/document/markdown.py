"""A document as Markdown, to read in a terminal or where GitHub shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import singledispatch

from toolchain.report import wording
from toolchain.report.document import model as doc
from toolchain.report.document.escaping import code_span, for_html, for_markdown, line_start, piece


def markdown(document: doc.Document) -> str:
    """Return the whole page; it ends with a line feed."""
    heading = ": ".join(filter(None, [document.heading, document.subject]))
    body = [f"# {for_markdown(heading)}", *_pieces([*document.lead, *document.blocks])]
    return "\n\n".join(body) + "\n"


def blocks(those: Sequence[doc.Block]) -> str:
    """Return blocks with an empty line between them."""
    return "\n\n".join(_pieces(those))


def _pieces(those: Iterable[doc.Block]) -> list[str]:
    return [each for each in map(block, those) if each]


# --- words


@singledispatch
def inline(words: doc.Words) -> str:
    """Return words with their markup, safe inside of a table as well."""
    return piece(str(words), for_markdown)


@inline.register
def _code(words: doc.Code) -> str:
    """Return code, unless a bar in it would end a table's cell."""
    return for_markdown(words.words) if "|" in words.words else code_span(words.words)


@inline.register
def _strong(words: doc.Strong) -> str:
    return f"**{inline(words.words)}**"


@inline.register
def _small(words: doc.Small) -> str:
    return inline(words.words)


@inline.register
def _link(words: doc.Link) -> str:
    """Return a link; what leads to a place in the document is told by its words alone."""
    shown = for_markdown(words.words)
    return shown if words.target.startswith("#") else f"[{shown}]({words.target})"


@inline.register
def _several(words: tuple) -> str:  # type: ignore[type-arg]  # what a register is told by
    return "".join(
        piece(each, for_markdown) if isinstance(each, str) else inline(each) for each in words
    )


def _line(words: doc.Words) -> str:
    """Return words as a line of their own."""
    line = inline(words)
    return line if isinstance(words, doc.Code | doc.Strong) else line_start(line)


# --- blocks


@singledispatch
def block(value: object) -> str:
    """Return a block; nothing for a picture whose figures stand elsewhere.

    Raises TypeError for what is no block.
    """
    raise TypeError(f"{type(value).__name__} is no block of a document")


@block.register
def _heading(value: doc.Heading) -> str:
    return f"### {inline(value.words)}"


@block.register
def _paragraph(value: doc.Paragraph) -> str:
    return _line(value.words)


@block.register
def _notice(value: doc.Notice) -> str:
    return f"> **{inline(value.words)}**"


@block.register
def _verdict(value: doc.Verdict) -> str:
    words = f"**{for_markdown(value.stamp)}.** {inline(value.words)}"
    return "\n\n".join([words, _list(value.lines)] if value.lines else [words])


@block.register
def _items(value: doc.Items) -> str:
    entries = [entry.words if isinstance(entry, doc.Item) else entry for entry in value.entries]
    if value.ordered:
        return "\n".join(f"{number}. {_line(words)}" for number, words in enumerate(entries, 1))
    return _list(entries)


def _list(entries: Iterable[doc.Words]) -> str:
    return "\n".join(f"- {_line(words)}" for words in entries)


@block.register
def _code_block(value: doc.CodeBlock) -> str:
    lines = "\n".join(map(wording.clean, value.lines))
    fence = "````" if "```" in lines else "```"
    return f"{fence}text\n{lines}\n{fence}"


@block.register
def _table(value: doc.Table) -> str:
    rule = ["---:" if column in value.numeric else "---" for column in range(len(value.head))]
    lines = [map(inline, value.head), rule, *(map(inline, row) for row in value.rows)]
    rows = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{_line(value.caption)}:\n\n{rows}"


@block.register
def _details(value: doc.Details) -> str:
    summary = f"<details><summary>{for_html(value.title)}</summary>"
    return "\n\n".join([summary, *_pieces(value.blocks), "</details>"])


@block.register
def _beside(value: doc.Beside) -> str:
    return blocks(value.blocks)


@block.register
def _section(value: doc.Section) -> str:
    pieces = _pieces(value.blocks)
    return "\n\n".join([f"## {for_markdown(value.title)}", *pieces]) if pieces else ""


# --- pictures


@block.register
def _figure(value: doc.Figure) -> str:
    """Return what the picture shows, in words."""
    if value.told:
        return ""
    drawing = value.drawing
    figures: list[doc.Words] = [(entry.words, ": ", entry.value) for entry in value.legend]
    figures = figures if any(entry.value for entry in value.legend) else []
    pieces = [
        f"### {inline(value.title)}" if value.title else "",
        "" if drawing is None else _line(drawing.words),
        _list([*map(_bar, value.bars), *figures]),
        _line(value.caption) if value.caption else "",
    ]
    return "\n\n".join(filter(None, pieces))


def _bar(bar: doc.Bar) -> doc.Words:
    shown = bar.drawing.words
    return (bar.name, f": {shown}", *((" (", bar.value, ")") if bar.value else ()))


@block.register
def _photos(value: doc.Photos) -> str:
    return f"- {_line(value.caption)}"


@block.register
def _tiles(value: doc.Tiles) -> str:
    return f"{_line(value.label)}:\n\n{_list(map(_tile, value.tiles))}"


def _tile(tile: doc.Tile) -> doc.Words:
    told: list[doc.Words] = [line.words for line in tile.lines]
    told += [(bar.name, " ", bar.value) for bar in tile.bars]
    each: list[doc.Words] = [each for words in told for each in ("; ", words)][1:]
    if not tile.headline:
        return (doc.Strong(tile.measure), ": ", *each)
    return (doc.Strong(tile.measure), f": {tile.headline}", *((" (", *each, ")") if each else ()))
