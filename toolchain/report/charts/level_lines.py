"""Average precision as one line for each level, over whatever lies below: steps, or sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from toolchain.records.accuracy import LEVELS
from toolchain.report.charts.axes import Box
from toolchain.report.charts.labels import LINE_HEIGHT, MARK, Placed, around, place_labels
from toolchain.report.charts.lines import COLOURS, line_sample, line_style
from toolchain.report.charts.svg import words_at
from toolchain.report.document.escaping import for_html
from toolchain.report.document.model import LegendEntry

RADIUS = 3.5
"""Of a line's marks."""
SPACING = 6
"""A line keeps labels away by boxes so far apart."""


@dataclass(frozen=True)
class Stop:
    """One mark of a line."""

    x: float
    y: float
    """Where the mark is, in user units."""
    words: str
    """What it is, in full."""


@dataclass(frozen=True)
class LevelLine:
    """The line of one level, from left to right."""

    level: str
    stops: tuple[Stop, ...]
    levels: tuple[str, ...] = LEVELS
    """All levels that there are."""

    @property
    def number(self) -> int:
        """Decides colour and dashes: the same for a level wherever it is drawn."""
        return self.levels.index(self.level)


def drawn_lines(
    lines: Sequence[LevelLine], inside: Box, labels: Sequence[tuple[float, float, str]] = ()
) -> str:
    """Return lines, marks, each level's name at the right end of its line, and more labels.

    ``labels`` are (x, y, words), each centred on x and above y where there is room.
    """
    ends = [
        (line.stops[-1].x, line.stops[-1].y, line.level.capitalize())
        for line in lines
        if line.stops
    ]
    above = [
        (x - len(words) * 6.7 / 2 - MARK - 2, y - MARK - LINE_HEIGHT / 2 - 2, words)
        for x, y, words in labels
    ]
    taken = [box for line in lines for box in _taken(line)]
    placed = place_labels([*ends, *above], taken, inside)
    return "".join([*map(_line, lines), *map(_marks, lines), *map(_label, placed)])


def _taken(line: LevelLine) -> list[Box]:
    """Return what the line covers, in small boxes."""
    boxes = [around(stop.x, stop.y) for stop in line.stops]
    for one, other in pairwise(line.stops):
        pieces = max(1, int(max(abs(other.x - one.x), abs(other.y - one.y)) // SPACING))
        boxes += [
            around(
                one.x + (other.x - one.x) * piece / pieces,
                one.y + (other.y - one.y) * piece / pieces,
                2,
            )
            for piece in range(pieces)
        ]
    return boxes


def _line(line: LevelLine) -> str:
    path = " ".join(f"{stop.x:.1f},{stop.y:.1f}" for stop in line.stops)
    return f'<polyline {line_style(line.number)} points="{path}"/>' if path else ""


def _marks(line: LevelLine) -> str:
    return "".join(
        f'<circle class="sign line-{line.number % COLOURS}" cx="{stop.x:.1f}" cy="{stop.y:.1f}" '
        f'r="{RADIUS}"><title>{for_html(stop.words)}</title></circle>'
        for stop in line.stops
    )


def _label(place: Placed | None) -> str:
    if place is None:
        return ""
    middle = (place.box.left + place.box.right) / 2
    return words_at(middle, place.box.bottom - 2.5, place.words, "middle", "label")


def level_legend(figures: Mapping[str, str]) -> tuple[LegendEntry, ...]:
    """Return each level's line, name and figure."""
    return tuple(
        LegendEntry(line_sample(LEVELS.index(level), several=False), level.capitalize(), figure)
        for level, figure in figures.items()
    )
