"""Verdicts as Markdown, for the page of a job or a comment."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.records.verdicts import Verdict
from toolchain.report.gate import words


def gate_markdown(verdicts: Sequence[Verdict]) -> str:
    """Return a section for each verdict."""
    return "\n\n".join(_section(verdict) for verdict in verdicts) + "\n"


def _section(verdict: Verdict) -> str:
    mark = "✅" if verdict.passed else "❌"
    moved = [row for row in words.shown(verdict) if row.change or row.status != "same"]
    still = [row for row in words.shown(verdict) if row not in moved]
    parts = [f"## {mark} {_escaped(words.headline(verdict))}"]
    parts.append(_table([words.cells(row) for row in moved]) if moved else "No figure moved.")
    reasons = words.reasons(verdict)
    if reasons:
        parts.append("**Why**\n\n" + "\n".join(f"- {_escaped(reason)}" for reason in reasons))
    if still:
        table = _table([words.cells(row) for row in still])
        parts.append(
            f"<details><summary>{len(still)} figures that did not move</summary>\n\n{table}\n\n"
            "</details>"
        )
    parts += [f"> {_escaped(note)}" for note in verdict.notes]
    parts.append(f"<sub>{_escaped(words.conditions(verdict))}</sub>")
    return "\n\n".join(parts)


def _table(rows: Sequence[Sequence[str]]) -> str:
    head = [words.HEADINGS, ["---", *["---:"] * 4, "---", "---"]]
    return "\n".join(f"| {' | '.join(map(_escaped, row))} |" for row in [*head, *rows])


def _escaped(text: str) -> str:
    for sign in ("\\", "|", "<", "`", "*", "_", "["):
        text = text.replace(sign, f"\\{sign}" if sign != "<" else "&lt;")
    return " ".join(text.split())
