"""Figures by a recipe's own evaluation: one network or file, or several side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from toolchain.records.figures import FiguresOf
from toolchain.report import wording
from toolchain.report.document.model import (
    Code,
    Details,
    Document,
    Paragraph,
    Section,
    Table,
    Tile,
    Tiles,
    parts,
)

TILES = 6
"""At most so many figures are shown large."""


def figure(value: float) -> str:
    """Return a figure with four places, or four digits where it is large or small."""
    return f"{value:.4f}" if 1e-3 <= abs(value) < 10 or value == 0 else f"{value:.4g}"


def names_of(found: Sequence[FiguresOf]) -> list[str]:
    """Return the names of all figures, in the order of the first result."""
    return list(dict.fromkeys(name for each in found for name in each.figures.values))


def cells(each: FiguresOf, names: Sequence[str]) -> list[str]:
    """Return a result's figures; a dash for what it does not have."""
    values = each.figures.values
    return [figure(values[name]) if name in values else "-" for name in names]


def figures_document(
    found: Sequence[FiguresOf], versions: Mapping[str, str], command: str
) -> Document:
    """Return the whole document; raises ValueError if there is no result."""
    if not found:
        raise ValueError("a document needs at least one result")
    function = found[0].figures.function
    subject = ", ".join(each.name for each in found)
    several = wording.plural(len(found), "model")
    return Document(
        title=f"{subject}: {function}",
        heading=found[0].name if len(found) == 1 else several,
        subject=f"evaluated by {function}",
        lead=parts(_tiles(found[0]), Paragraph(f"On {found[0].figures.data.words}.")),
        blocks=parts(_table(found), _broken(found), _origin(found, versions, command)),
    )


def _tiles(first: FiguresOf) -> Tiles:
    values = list(first.figures.values.items())[:TILES]
    return Tiles("Figures", tuple(Tile(name, figure(value)) for name, value in values))


def _table(found: Sequence[FiguresOf]) -> Section:
    names = names_of(found)
    rows = tuple((Code(each.name), each.kind, *cells(each, names)) for each in found)
    table = Table("Figures", ("model", "kind", *names), rows, tuple(range(2, len(names) + 2)))
    return Section("figures", "Figures", (table,))


def _broken(found: Sequence[FiguresOf]) -> Section | None:
    broken = dict.fromkeys(photo for each in found for photo in each.figures.broken)
    if not broken:
        return None
    title = "Photos that cannot be read"
    rows = tuple((Code(photo.name), photo.reason) for photo in broken)
    words = Paragraph(f"{wording.plural(len(rows), 'photo')} counted as wrong.")
    return Section("broken", title, (words, Table(title, ("photo", "reason"), rows)))


def _origin(found: Sequence[FiguresOf], versions: Mapping[str, str], command: str) -> Section:
    rows = tuple(
        (
            Code(each.name),
            each.model,
            Code(wording.short_hash(each.sha256)),
            wording.count(each.figures.data.samples),
            wording.count(each.figures.resumed),
            wording.decimal(each.figures.seconds, 1),
        )
        for each in found
    )
    head = ("model", "network", "SHA-256, first digits", "samples", "done before", "seconds")
    return Section(
        "origin",
        "How it was made",
        parts(
            Paragraph(("Command: ", Code(command))) if command else None,
            Table("What was evaluated", head, rows, (3, 4, 5)),
            Details(
                "Versions", (Table("Versions", ("package", "version"), tuple(versions.items())),)
            ),
        ),
    )
