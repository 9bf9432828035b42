"""Untrusted text made safe for HTML and for Markdown; the only place where either is escaped."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape

from toolchain.report import wording

_SPECIAL = re.compile(r"[\\`*\[\]<|~&$]|(?<![^\W_])_|_(?![^\W_])")
_BLOCK_START = re.compile(r"^([#>+\-=]|\d+(?=[.)](\s|$)))")


def for_html(value: object) -> str:
    """Return text that is safe between tags and inside quoted attributes, of HTML and of SVG."""
    return escape(wording.clean(value), quote=True)


def for_markdown(value: object) -> str:
    """Return text that Markdown shows as it is, inside a table or not, within a line."""
    return _SPECIAL.sub(lambda special: "\\" + special.group(), wording.clean(value))


def line_start(line: str) -> str:
    """Return a line of Markdown that begins no heading, list or quotation."""
    return _BLOCK_START.sub(_escape_block_start, line)


def _escape_block_start(start: re.Match[str]) -> str:
    text = start.group()
    return text + "\\" if text.isdigit() else "\\" + text


def code_span(value: object) -> str:
    """Return text as code in Markdown; its fence is longer than any backquotes in it."""
    text = wording.clean(value)
    if not text:
        return ""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def piece(text: str, escape_text: Callable[[object], str]) -> str:
    """Return a piece of a line, escaped; a space at either end is kept, unlike in a whole line."""
    words = escape_text(text)
    if not words:
        return " " * bool(text)
    return f"{' ' * text[0].isspace()}{words}{' ' * text[-1].isspace()}"
