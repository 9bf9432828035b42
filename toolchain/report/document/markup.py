"""The few HTML building blocks of the page; the only place where untrusted text is escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from toolchain.report import wording


def text(value: object) -> str:
    """Return untrusted text, safe between tags and inside quoted attributes."""
    return escape(wording.clean(value), quote=True)


def name(value: object) -> str:
    """Return an untrusted name as code that may wrap after its dots, slashes and underscores."""
    pieces = re.split(r"(?<=[./:_])", wording.clean(value))
    return f"<code>{'<wbr/>'.join(escape(piece, quote=True) for piece in pieces)}</code>"


def section(identifier: str, title: str, *body: str) -> str:
    """Return a section under a heading of the second level; ``body`` is ready HTML."""
    content = "\n".join(piece for piece in body if piece)
    return (
        f'<section id="{identifier}" aria-labelledby="{identifier}-title">\n'
        f'<h2 id="{identifier}-title">{text(title)}</h2>\n{content}\n</section>'
    )


def paragraph(value: object, kind: str = "") -> str:
    """Return a paragraph of untrusted text."""
    attribute = f' class="{kind}"' if kind else ""
    return f"<p{attribute}>{text(value)}</p>"


def items(entries: Sequence[str], ordered: bool = False) -> str:
    """Return a list of ready HTML."""
    tag = "ol" if ordered else "ul"
    return f"<{tag}>{''.join(f'<li>{entry}</li>' for entry in entries)}</{tag}>"


def details(title: str, body: str) -> str:
    """Return ready HTML that is folded away until asked for."""
    return f"<details><summary>{text(title)}</summary>\n{body}\n</details>"


def table(
    caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = ()
) -> str:
    """Return a table of ready cells; the first cell of a row names it.

    It scrolls sideways on its own where the screen is narrow. Columns in ``numeric`` are set to
    the right.
    """
    heads = "".join(_cell("th", text(title), i in numeric, "col") for i, title in enumerate(head))
    body = "\n".join(
        f"<tr>{_cell('th', row[0], 0 in numeric, 'row')}"
        + "".join(_cell("td", cell, i in numeric) for i, cell in enumerate(row[1:], start=1))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text(caption)}"><table>'
        f"<caption>{text(caption)}</caption>\n<thead><tr>{heads}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(tag: str, content: str, numeric: bool, scope: str = "") -> str:
    attributes = (f' scope="{scope}"' if scope else "") + (' class="number"' if numeric else "")
    return f"<{tag}{attributes}>{content}</{tag}>"
