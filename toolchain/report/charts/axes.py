"""Axes, scales and frames that the charts share: pure functions from numbers to SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.report import wording
from toolchain.report.charts.svg import words_at


@dataclass(frozen=True)
class Scale:
    """From figures to user units of the drawing, linearly or by logarithm."""

    low: float
    high: float
    start: float
    """Where ``low`` lies."""
    end: float
    """Where ``high`` lies."""
    logarithmic: bool = False

    def place(self, figure: float) -> float:
        """Return where a figure lies; outside of the range the end is prolonged."""
        low, high, value = self.low, self.high, figure
        if self.logarithmic:
            low, high, value = map(math.log10, (low, high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)


@dataclass(frozen=True)
class Box:
    """A rectangle in user units."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        """Return whether the two share more than an edge."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def holds(self, other: Box) -> bool:
        """Return whether ``other`` lies inside."""
        return (
            self.left <= other.left
            and self.top <= other.top
            and self.right >= other.right
            and self.bottom >= other.bottom
        )


@dataclass(frozen=True)
class Tick:
    """A mark on an axis, and what stands beside it."""

    figure: float
    words: str


def axes(
    box: Box, across: tuple[Scale, Sequence[Tick], str], up: tuple[Scale, Sequence[Tick], str]
) -> str:
    """Return frame, grid, ticks and titles; each axis is (scale, ticks, title)."""
    pieces = [
        f'<rect class="frame" x="{box.left:g}" y="{box.top:g}" '
        f'width="{box.right - box.left:g}" height="{box.bottom - box.top:g}"/>'
    ]
    for tick in across[1]:
        x = across[0].place(tick.figure)
        pieces.append(_line(x, box.top, x, box.bottom))
        pieces.append(words_at(x, box.bottom + 15, tick.words, "middle"))
    for tick in up[1]:
        y = up[0].place(tick.figure)
        pieces.append(_line(box.left, y, box.right, y))
        pieces.append(words_at(box.left - 6, y + 4, tick.words, "end"))
    middle = (box.left + box.right) / 2
    pieces.append(words_at(middle, box.bottom + 32, across[2], "middle", "title"))
    pieces.append(words_at(box.left, box.top - 8, up[2], "start", "title"))
    return "".join(pieces)


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="grid" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def precision_ticks(low: float, high: float, step: float) -> list[Tick]:
    """Return ticks of an axis of precisions, recalls or AP."""
    first, last = round(low / step), round(high / step)
    return [Tick(n * step, _short(n * step)) for n in range(first, last + 1)]


def precision_axis(figures: Sequence[float], start: float, end: float) -> tuple[Scale, list[Tick]]:
    """Return an axis of AP that holds ``figures`` with a little room, and its ticks."""
    low = math.floor(min(figures) * 20 - 0.2) / 20 if figures else 0.0
    high = math.ceil(max(figures) * 20 + 0.2) / 20 if figures else 1.0
    scale = Scale(max(low, 0.0), min(high, 1.0), start, end)
    step = 0.05 if scale.high - scale.low <= 0.5 else 0.1
    return scale, precision_ticks(scale.low, scale.high, step)


def _short(figure: float) -> str:
    if figure in (0.0, 1.0):
        return f"{figure:.0f}"
    return f"{figure:.2f}".removeprefix("0")


def count_ticks(low: float, high: float) -> list[Tick]:
    """Return ticks of a logarithmic axis of counts: 1, 2 and 5 in every decade, more if short."""
    factors = (1, 2, 5) if high / low > 10 else (1, 1.5, 2, 3, 4, 5, 6, 7, 8)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    figures = [factor * 10**decade for decade in decades for factor in factors]
    return [Tick(figure, count_words(figure)) for figure in figures if low <= figure <= high]


def count_words(figure: float) -> str:
    """Return a count in thousands or millions: ``50 k``, ``2 M``."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if figure >= unit:
            return f"{figure / unit:g} {name}"
    return wording.decimal(figure, 0)
