"""A document as one HTML file that opens offline, its styles and pictures inside.

It is HTML that is well-formed XML as well, so that a strict parser can check it; it runs no
scripts and loads nothing.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from functools import singledispatch

from toolchain.report import wording
from toolchain.report.document import model as doc
from toolchain.report.document.escaping import for_html, piece
from toolchain.report.document.frame import framed


def html(document: doc.Document) -> str:
    """Return the whole page; it ends with a line feed."""
    heading = for_html(document.heading)
    subject = f' <span class="what">{for_html(document.subject)}</span>' if document.subject else ""
    head = f"<h1>{heading}{subject}</h1>\n{blocks(document.lead)}"
    return framed(for_html(document.title), head, blocks(document.blocks), document.refresh_seconds)


def blocks(those: Sequence[doc.Block]) -> str:
    """Return blocks, each on lines of its own."""
    return "\n".join(map(block, those))


# --- words


@singledispatch
def inline(words: doc.Words) -> str:
    """Return words with their markup."""
    return piece(str(words), for_html)


@inline.register
def _code(words: doc.Code) -> str:
    """Return a name as code that may wrap after its dots, slashes and underscores."""
    pieces = re.split(r"(?<=[./:_])", wording.clean(words.words))
    code = "<wbr/>".join(piece(each, for_html) for each in pieces)
    return f"<code>{code}</code>" if code else ""


@inline.register
def _strong(words: doc.Strong) -> str:
    return f"<strong>{inline(words.words)}</strong>"


@inline.register
def _small(words: doc.Small) -> str:
    return f"<small>{inline(words.words)}</small>"


@inline.register
def _link(words: doc.Link) -> str:
    return f'<a href="{for_html(words.target)}">{for_html(words.words)}</a>'


@inline.register
def _several(words: tuple) -> str:  # type: ignore[type-arg]  # what a register is told by
    return "".join(
        piece(each, for_html) if isinstance(each, str) else inline(each) for each in words
    )


# --- blocks


@singledispatch
def block(value: object) -> str:
    """Return a block.

    Raises TypeError for what is none.
    """
    raise TypeError(f"{type(value).__name__} is no block of a document")


@block.register
def _heading(value: doc.Heading) -> str:
    return f"<h3>{inline(value.words)}</h3>"


@block.register
def _paragraph(value: doc.Paragraph) -> str:
    attribute = ' class="muted"' if value.quiet else ""
    return f"<p{attribute}>{inline(value.words)}</p>"


@block.register
def _notice(value: doc.Notice) -> str:
    sign = '<span aria-hidden="true">▲ </span>'
    return f'<p class="warning" role="note">{sign}{inline(value.words)}</p>'


@block.register
def _verdict(value: doc.Verdict) -> str:
    sign, kind = ("✓", "good") if value.good else ("✗", "bad")
    stamp = f'<span aria-hidden="true">{sign} </span>{for_html(value.stamp)}'
    lines = block(doc.Items(value.lines)) if value.lines else ""
    return (
        f'<div class="verdict {kind}"><p><strong class="stamp">{stamp}</strong> '
        f"{inline(value.words)}</p>{lines}</div>"
    )


@block.register
def _items(value: doc.Items) -> str:
    tag = "ol" if value.ordered else "ul"
    return f"<{tag}>{''.join(map(_item, value.entries))}</{tag}>"


def _item(entry: doc.Words | doc.Item) -> str:
    if isinstance(entry, doc.Item):
        return f'<li id="{for_html(entry.identifier)}">{inline(entry.words)}</li>'
    return f"<li>{inline(entry)}</li>"


@block.register
def _code_block(value: doc.CodeBlock) -> str:
    return f"<pre><code>{chr(10).join(map(for_html, value.lines))}</code></pre>"


@block.register
def _table(value: doc.Table) -> str:
    """Return a table that scrolls sideways on its own where the screen is narrow."""
    numbers = value.numeric
    heads = "".join(_cell("th", w, i in numbers, "col") for i, w in enumerate(value.head))
    rows = "\n".join(
        f"<tr>{_cell('th', row[0], 0 in numbers, 'row')}"
        + "".join(_cell("td", cell, i in numbers) for i, cell in enumerate(row[1:], start=1))
        + "</tr>"
        for row in value.rows
    )
    caption = for_html(value.caption)
    return _scrolling(
        value.caption,
        f"<table><caption>{caption}</caption>\n<thead><tr>{heads}</tr></thead>\n"
        f"<tbody>\n{rows}\n</tbody></table>",
    )


def _cell(tag: str, words: doc.Words, numeric: bool, scope: str = "") -> str:
    attributes = (f' scope="{scope}"' if scope else "") + (' class="number"' if numeric else "")
    return f"<{tag}{attributes}>{inline(words)}</{tag}>"


def _scrolling(label: str, content: str) -> str:
    attributes = f'role="region" tabindex="0" aria-label="{for_html(label)}"'
    return f'<div class="scroll" {attributes}>{content}</div>'


@block.register
def _details(value: doc.Details) -> str:
    title = for_html(value.title)
    return f"<details><summary>{title}</summary>\n{blocks(value.blocks)}\n</details>"


@block.register
def _beside(value: doc.Beside) -> str:
    kind = "levels" if value.wide else "beside"
    return f'<div class="{kind}">{blocks(value.blocks)}</div>'


@block.register
def _section(value: doc.Section) -> str:
    name = value.identifier
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">\n'
        f'<h2 id="{name}-title">{for_html(value.title)}</h2>\n{blocks(value.blocks)}\n</section>'
    )


# --- pictures


@block.register
def _figure(value: doc.Figure) -> str:
    named = (("id", value.identifier), ("aria-label", value.label))
    attributes = "".join(f' {key}="{for_html(words)}"' for key, words in named if words)
    drawing = value.drawing
    drawn = "" if drawing is None else drawing.svg
    pieces = (
        f"<h3>{inline(value.title)}</h3>" if value.title else "",
        "" if value.drawing else _legend(value),
        _scrolling(value.label, drawn) if value.scrolls else drawn,
        _rows(value) if value.bars else "",
        _legend(value) if value.drawing else "",
        f"<figcaption>{inline(value.caption)}</figcaption>" if value.caption else "",
    )
    return f"<figure{attributes}>{''.join(pieces)}</figure>"


def _rows(value: doc.Figure) -> str:
    kind = f"rows {value.kind}".strip()
    axis = value.axis
    last = "" if axis is None else f'<li class="axis" aria-hidden="true">{_bar_of("", axis, "")}'
    end = "" if axis is None else "</li>"
    rows = "\n".join(f"<li>{_bar(bar)}</li>" for bar in value.bars)
    return f'<ol class="{kind}">\n{rows}\n{last}{end}</ol>'


def _bar(bar: doc.Bar) -> str:
    return _bar_of(inline(bar.name), bar.drawing, inline(bar.value))


def _bar_of(name: str, drawing: doc.Drawing, value: str) -> str:
    return f'<span class="name">{name}</span>{drawing.svg}<span class="value">{value}</span>'


def _legend(value: doc.Figure) -> str:
    if not value.legend:
        return ""
    kind = "key" if any(entry.value for entry in value.legend) else "legend"
    label = f' aria-label="{for_html(value.legend_label)}"' if value.legend_label else ""
    return f'<ul class="{kind}"{label}>{"".join(map(_entry, value.legend))}</ul>'


def _entry(entry: doc.LegendEntry) -> str:
    value = f"<strong>{for_html(entry.value)}</strong>" if entry.value else ""
    return f"<li>{entry.sample.svg}<span>{inline(entry.words)}</span>{value}</li>"


@block.register
def _photos(value: doc.Photos) -> str:
    panels = "".join(map(_panel, value.panels))
    caption = inline(value.caption)
    return f'<figure class="panels"><div>{panels}</div><figcaption>{caption}</figcaption></figure>'


def _panel(panel: doc.Panel) -> str:
    caption = f"<figcaption>{inline(panel.caption)}</figcaption>"
    if not panel.data:
        return f'<figure><p class="muted">no picture was stored</p>{caption}</figure>'
    kind = "png" if panel.data.startswith(b"\x89PNG") else "jpeg"
    source = f"data:image/{kind};base64,{b64encode(panel.data).decode('ascii')}"
    return f'<figure><img alt="{for_html(panel.alternative)}" src="{source}"/>{caption}</figure>'


@block.register
def _tiles(value: doc.Tiles) -> str:
    several = " several" if any(tile.bars for tile in value.tiles) else ""
    kind = f"tiles scores{several}" if value.large else "tiles"
    tiles = "".join(map(_tile, value.tiles))
    key = f"\n{block(doc.Paragraph(value.key, quiet=True))}" if value.key else ""
    return f'<ul class="{kind}" aria-label="{for_html(value.label)}">{tiles}</ul>{key}'


def _tile(tile: doc.Tile) -> str:
    headline = f'<p class="figure">{for_html(tile.headline)}</p>' if tile.headline else ""
    drawing = "" if tile.drawing is None else tile.drawing.svg
    bars = "".join(
        f'<li><span class="name">{inline(bar.name)}</span><span class="figure">'
        f"{inline(bar.value)}</span>{bar.drawing.svg}</li>"
        for bar in tile.bars
    )
    each = f'<ol class="each">{bars}</ol>' if bars else ""
    return (
        f'<li><h2 class="measure">{for_html(tile.measure)}</h2>{headline}{drawing}{each}'
        f"{blocks(tile.lines)}</li>"
    )
