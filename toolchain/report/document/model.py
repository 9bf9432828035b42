"""What a document says, apart from how it is written: built once, rendered as HTML and Markdown.

All words are untrusted and unescaped; the renderers clean and escape them. Only
:class:`Drawing` holds ready SVG, made by ``toolchain.report.charts``.

Both renderings hold the same facts. A picture is the exception: in Markdown its figures stand in a
table beside it (:attr:`Figure.told`), or else its words are written out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, Union

# --- words


@dataclass(frozen=True)
class Code:
    """A name, a command or a digest, which must be told letter by letter."""

    words: str


@dataclass(frozen=True)
class Strong:
    """Words that must not be overlooked."""

    words: Words


@dataclass(frozen=True)
class Small:
    """Words beside the matter, set smaller where that can be."""

    words: Words


@dataclass(frozen=True)
class Link:
    """Words that lead to another file, or to an :class:`Item` of the same document."""

    words: str
    target: str
    """A relative path, quoted, or ``#identifier``."""


Words: TypeAlias = Union[str, Code, Strong, Small, Link, "tuple[Words, ...]"]
"""Words of a line; a tuple is read without a gap."""


# --- blocks


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    words: Words


@dataclass(frozen=True)
class Paragraph:
    """Some sentences; quiet ones are conditions and footnotes."""

    words: Words
    quiet: bool = False


@dataclass(frozen=True)
class Notice:
    """A warning that nobody may miss."""

    words: Words


@dataclass(frozen=True)
class Verdict:
    """What the document comes to, in one stamp: ``PROVED``, ``FAILED``."""

    good: bool
    stamp: str
    words: Words
    lines: tuple[Words, ...] = ()


@dataclass(frozen=True)
class Item:
    """An entry of a list that links may lead to."""

    words: Words
    identifier: str


@dataclass(frozen=True)
class Items:
    """A list, an item in a line."""

    entries: tuple[Words | Item, ...]
    ordered: bool = False


@dataclass(frozen=True)
class CodeBlock:
    """Lines to be copied as they are."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row names it. Columns in ``numeric`` are set to the right."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Words, ...], ...]
    numeric: tuple[int, ...] = ()


@dataclass(frozen=True)
class Details:
    """Blocks that are folded away until asked for."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Beside:
    """Blocks side by side where there is room; ``wide`` ones share the whole width."""

    blocks: tuple[Block, ...]
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """Blocks under a heading; ``identifier`` is unique in the document."""

    identifier: str
    title: str
    blocks: tuple[Block, ...]


# --- pictures


@dataclass(frozen=True)
class Drawing:
    """Ready SVG that loads and runs nothing, and all that it shows in words."""

    svg: str
    words: str


@dataclass(frozen=True)
class Bar:
    """A row of a figure: a name, a drawing as wide as there is room, and a value."""

    name: Words
    drawing: Drawing
    value: Words = ""


@dataclass(frozen=True)
class LegendEntry:
    """What a pattern or a line of a figure means, and its figure if it has one."""

    sample: Drawing
    words: Words
    value: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture: one drawing, or a row for each thing that is compared."""

    caption: Words = ""
    drawing: Drawing | None = None
    bars: tuple[Bar, ...] = ()
    axis: Drawing | None = None
    """Below the bars."""
    legend: tuple[LegendEntry, ...] = ()
    legend_label: str = ""
    title: Words = ""
    label: str = ""
    """What it is, for those who hear it."""
    identifier: str = ""
    kind: str = ""
    """How its rows are set: ``widths``, ``widths columns`` or ``parity``."""
    told: bool = False
    """Whether its figures stand in a table of the document as well: Markdown leaves it out."""
    scrolls: bool = False
    """Whether it keeps its width on a narrow screen and is moved sideways."""


@dataclass(frozen=True)
class Panel:
    """A photo of a series; without data it says that none was stored."""

    caption: Words
    alternative: str
    data: bytes


@dataclass(frozen=True)
class Photos:
    """Photos side by side; Markdown has their caption."""

    panels: tuple[Panel, ...]
    caption: Words


@dataclass(frozen=True)
class Tile:
    """One measure in large type."""

    measure: str
    headline: str = ""
    lines: tuple[Paragraph, ...] = ()
    drawing: Drawing | None = None
    bars: tuple[Bar, ...] = ()
    """In place of one headline: each thing's."""


@dataclass(frozen=True)
class Tiles:
    """What matters most, side by side; Markdown has a list."""

    label: str
    tiles: tuple[Tile, ...]
    large: bool = False
    key: str = ""
    """How to read their drawings."""


Block: TypeAlias = (
    Heading
    | Paragraph
    | Notice
    | Verdict
    | Items
    | CodeBlock
    | Table
    | Details
    | Beside
    | Section
    | Figure
    | Photos
    | Tiles
)


@dataclass(frozen=True)
class Document:
    """A document: what renderers turn into HTML or Markdown."""

    title: str
    """What a browser's tab shows."""
    heading: str
    subject: str
    """What the heading is about, set apart from it."""
    lead: tuple[Block, ...]
    """What is said before the first section."""
    blocks: tuple[Block, ...]
    refresh_seconds: int | None = None
    """How often a browser loads it again; None: it does not change any more."""


def parts(*blocks: Block | None) -> tuple[Block, ...]:
    """Return the blocks that there are."""
    return tuple(block for block in blocks if block is not None)
