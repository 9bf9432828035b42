"""Place labels beside marks so that none lies on another, on a mark, or outside of the drawing.

Each label takes, in turn, the free place nearest to its mark: greedy, plain, and the same on
every run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.report.charts.axes import Box

LETTER_WIDTH, LINE_HEIGHT = 6.7, 12.0
"""About a letter of 11 user units, measured generously."""
MARK = 5.5
"""Half the side of the square that a mark keeps free around it."""
REACH = 190
"""A label lies at most so far from its mark."""
STEP = 4


@dataclass(frozen=True)
class Placed:
    """A label and its box; ``far`` if it needs a line to its mark."""

    words: str
    box: Box
    far: bool


def _offsets() -> tuple[tuple[int, int], ...]:
    span = range(-REACH, REACH + 1, STEP)
    near = [(x, y) for x in span for y in span if math.hypot(x, y) <= REACH]
    return tuple(sorted(near, key=lambda offset: (math.hypot(*offset), -offset[0], offset[1])))


_OFFSETS = _offsets()


def around(x: float, y: float, half: float = MARK) -> Box:
    """Return the square around a mark."""
    return Box(x - half, y - half, x + half, y + half)


def place_labels(
    labels: Sequence[tuple[float, float, str]], taken: Sequence[Box], inside: Box
) -> list[Placed | None]:
    """Return a place for each label (x, y, words), in order; None where there is no room left."""
    occupied = list(taken)
    placed: list[Placed | None] = []
    for x, y, words in labels:
        box = _free(x, y, len(words) * LETTER_WIDTH, occupied, inside)
        if box is None:
            placed.append(None)
            continue
        occupied.append(box)
        placed.append(Placed(words, box, _gap(box, x, y) > 2 * MARK))
    return placed


def _free(x: float, y: float, width: float, taken: Sequence[Box], inside: Box) -> Box | None:
    """Try right of the mark, then left, above, below; then all around, ever further."""
    beside = MARK + 2
    low = y - LINE_HEIGHT / 2
    starts = [(x + beside, low), (x - beside - width, low)]
    starts += [(x - width / 2, y - beside - LINE_HEIGHT), (x - width / 2, y + beside)]
    starts += [(x + dx - (width if dx < 0 else 0), low + dy) for dx, dy in _OFFSETS]
    for left, top in starts:
        box = Box(left, top, left + width, top + LINE_HEIGHT)
        if inside.holds(box) and not any(box.overlaps(other) for other in taken):
            return box
    return None


def _gap(box: Box, x: float, y: float) -> float:
    across = max(box.left - x, 0.0, x - box.right)
    down = max(box.top - y, 0.0, y - box.bottom)
    return math.hypot(across, down)
