"""What a coarser file lost, in words: of average precision, or of the recipe's figures."""

from __future__ import annotations

from collections.abc import Iterable

from toolchain.records.certificate import Link


def lost_heading(links: Iterable[Link], points: str = "") -> str:
    """Return the column's heading; ``points`` follows where it is average precision."""
    return "figures" if any(link.scores for link in links) else f"AP lost{points}"


def lost_words(link: Link, points: str = " points") -> str:
    """Return what was lost; nothing where it was not measured."""
    if link.scores is not None:
        return ", ".join(each.words for each in link.scores.figures)
    return "" if link.precision is None else f"{100 * link.precision.lost:.2f}{points}"


def attempt_words(link: Link, lost: float | None) -> str:
    """Return what one of a link's files lost; nothing where it was not measured."""
    if lost is None:
        return ""
    worst = None if link.scores is None else link.scores.worst
    return f"{100 * lost:.2f} points" if worst is None else f"{worst.name} {-lost:+.4g}"
