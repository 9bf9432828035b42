"""The few Markdown building blocks; the only place where untrusted text is escaped for it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from toolchain.report import wording

_SPECIAL = re.compile(r"[\\`*\[\]<|~&$]|(?<![^\W_])_|_(?![^\W_])")
_BLOCK_START = re.compile(r"^([#>+\-=]|\d+(?=[.)](\s|$)))")


def plain(value: object) -> str:
    """Return untrusted text so that Markdown shows it as it is, inside a table or not."""
    escaped = _SPECIAL.sub(lambda special: "\\" + special.group(), wording.clean(value))
    return _BLOCK_START.sub(_escape_block_start, escaped)


def _escape_block_start(start: re.Match[str]) -> str:
    text = start.group()
    return text + "\\" if text.isdigit() else "\\" + text


def code(value: object) -> str:
    """Return untrusted text as a code span; its fence is longer than any backquotes in it."""
    text = wording.clean(value)
    if not text:
        return ""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def name(value: object) -> str:
    """Return a name for a table's cell: code, unless a bar in it would end the cell."""
    return plain(value) if "|" in str(value) else code(value)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """Return a table of ready cells; the columns in ``numeric`` are set to the right."""
    rule = ["---:" if column in numeric else "---" for column in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *rows])
