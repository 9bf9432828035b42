"""A scatter chart of a size or a cost against average precision, with hollow and filled marks.

Marks whose size is not known stand in a strip of their own beside the axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from toolchain.report.charts.axes import Box, Scale, Tick, axes, count_ticks, precision_axis
from toolchain.report.charts.labels import Placed, around, place_labels
from toolchain.report.charts.svg import chart, sample, words_at
from toolchain.report.document.escaping import for_html
from toolchain.report.document.model import Drawing, LegendEntry

WIDTH, HEIGHT = 900, 470
STRIP = 130
"""Width of the strip for marks without a size."""
SHAPES = {
    "extd": "M-4.5,-4.5 h9 v9 h-9 z",
    "eresfd": "M0,-6 l6,6 -6,6 -6,-6 z",
    "yunet": "M-3,-5.2 h6 l3,5.2 -3,5.2 h-6 l-3,-5.2 z",
    "peer": "M0,-6 l5.5,10 h-11 z",
    "other": "M-4.5,0 a4.5,4.5 0 1 0 9,0 a4.5,4.5 0 1 0 -9,0 z",
}
"""Square, diamond, hexagon, triangle, circle: paths around a mark's middle."""
LONGEST_LABEL = 26
LEGEND_ROW = 22
Meaning = tuple[str, bool, str]
"""What a mark stands for: its kind, whether it is filled, and the words."""


@dataclass(frozen=True)
class Point:
    """One mark, in the data's own units."""

    kind: str
    """``extd``, ``eresfd``, ``yunet``, ``peer`` or ``other``: its shape and colour."""
    measured: bool
    """Filled; others, as published figures, are hollow."""
    amount: int | None
    """What is drawn across: parameters, or instructions; None where it is not known."""
    ap: float
    label: str
    """What stands beside it; empty: nothing."""
    words: str
    """What it is, in full."""
    pair: str = ""
    """Marks of the same checkpoint, published and measured, are joined by a line."""


@dataclass(frozen=True)
class Plane:
    """Where marks lie."""

    box: Box
    across: Scale
    up: Scale
    up_ticks: Sequence[Tick]
    strip: float | None
    """Middle of the strip for marks without a size; None: there is no strip."""

    def place(self, point: Point) -> tuple[float, float]:
        """Return a mark's middle in user units."""
        strip = self.strip if self.strip is not None else self.box.right
        x = strip if point.amount is None else self.across.place(point.amount)
        return x, self.up.place(point.ap)


def plane_of(points: Sequence[Point]) -> Plane:
    """Return a plane that holds all points, with room on every side."""
    sizes = [point.amount for point in points if point.amount] or [1_000, 1_000_000]
    strip = any(point.amount is None for point in points)
    box = Box(48, 30, WIDTH - 12 - (STRIP + 8 if strip else 0), HEIGHT - 42)
    up, ticks = precision_axis([point.ap for point in points], box.bottom, box.top)
    return Plane(
        box,
        Scale(min(sizes) / 1.25, max(sizes) * 1.25, box.left, box.right, logarithmic=True),
        up,
        ticks,
        box.right + 22 if strip else None,
    )


PARAMETERS = "parameters, logarithmic"


def scatter(
    title: str,
    level: str,
    points: Sequence[Point],
    across: str = PARAMETERS,
    front: Sequence[Point] = (),
    legend: Sequence[Meaning] = (),
) -> Drawing:
    """Return the chart; ``title`` tells in words what it shows, ``across`` its lower axis.

    A line runs through ``front``. A ``legend`` stands below the axis, where no page tells it.
    """
    plane = plane_of(points)
    ticks = count_ticks(plane.across.low, plane.across.high)
    frame = axes(
        plane.box,
        (plane.across, ticks, across),
        (plane.up, plane.up_ticks, f"AP {level.capitalize()}"),
    )
    places = [plane.place(point) for point in points]
    return chart(
        title,
        "",
        WIDTH,
        HEIGHT + (LEGEND_ROW if legend else 0),
        frame,
        _strip(plane),
        _line([plane.place(point) for point in front]),
        _stems(points, places),
        _labels(plane, points, places),
        *(
            mark(point, x, y)
            for measured in (False, True)
            for point, (x, y) in zip(points, places, strict=True)
            if point.measured is measured
        ),
        *_legend_row(legend),
    )


def _legend_row(legend: Sequence[Meaning]) -> Iterator[str]:
    step = WIDTH / max(1, len(legend))
    for index, (kind, measured, words) in enumerate(legend):
        x, y = index * step + 14, HEIGHT + LEGEND_ROW / 2
        yield mark(Point(kind, measured, None, 0, "", words), x, y)
        yield words_at(x + 11, y + 4, words)


def marks_legend(*entries: Meaning) -> tuple[LegendEntry, ...]:
    """Return what shapes and fillings mean, for the page that the chart stands on."""
    return tuple(
        LegendEntry(sample(16, 16, mark(Point(kind, measured, None, 0, "", words), 8, 8)), words)
        for kind, measured, words in entries
    )


def mark(point: Point, x: float, y: float) -> str:
    """Return one mark, hollow or filled."""
    state = "measured" if point.measured else "published"
    return (
        f'<path class="mark {point.kind} {state}" transform="translate({x:.1f} {y:.1f})" '
        f'd="{SHAPES[point.kind]}"><title>{for_html(point.words)}</title></path>'
    )


def _strip(plane: Plane) -> str:
    if plane.strip is None:
        return ""
    box = Box(plane.box.right + 8, plane.box.top, WIDTH - 12, plane.box.bottom)
    return (
        f'<rect class="strip" x="{box.left:g}" y="{box.top:g}" width="{box.right - box.left:g}" '
        f'height="{box.bottom - box.top:g}"/>'
        + words_at((box.left + box.right) / 2, box.bottom + 15, "size not given", "middle")
    )


def _line(places: Sequence[tuple[float, float]]) -> str:
    if len(places) < 2:
        return ""
    pairs = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline class="front" points="{pairs}"/>'


def _stems(points: Sequence[Point], places: Sequence[tuple[float, float]]) -> str:
    """Join the published and the measured mark of each checkpoint, if both have a size."""
    published = {
        point.pair: place
        for point, place in zip(points, places, strict=True)
        if point.pair and not point.measured and point.amount is not None
    }
    pairs = [
        (published[point.pair], place)
        for point, place in zip(points, places, strict=True)
        if point.measured and point.amount is not None and point.pair in published
    ]
    return "".join(
        f'<line class="stem" x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}"/>'
        for a, b in pairs
    )


def _labels(plane: Plane, points: Sequence[Point], places: Sequence[tuple[float, float]]) -> str:
    marks = [around(x, y) for x, y in places]
    inside = Box(plane.box.left + 2, plane.box.top + 2, plane.box.right - 2, plane.box.bottom - 2)
    beside = Box(plane.box.right + 10, plane.box.top + 2, WIDTH - 14, plane.box.bottom - 2)
    pieces = []
    for known, room in ((True, inside), (False, beside)):
        wanted = [
            (x, y, shortened(point.label))
            for point, (x, y) in zip(points, places, strict=True)
            if point.label and (point.amount is not None) is known
        ]
        wanted.sort(key=lambda label: (label[1], label[0]))
        found = place_labels(wanted, marks, room)
        pieces += [
            _label(place, x, y)
            for place, (x, y, _) in zip(found, wanted, strict=True)
            if place is not None
        ]
    return "".join(pieces)


def shortened(words: str) -> str:
    """Return a label that is not too long for the drawing; the mark's title has all of it."""
    return words if len(words) <= LONGEST_LABEL else f"{words[: LONGEST_LABEL - 1]}…"


def _label(place: Placed, x: float, y: float) -> str:
    line = ""
    if place.far:
        end_x = min(max(x, place.box.left), place.box.right)
        end_y = min(max(y, place.box.top + 1), place.box.bottom - 1)
        line = f'<line class="leader" x1="{x:.1f}" y1="{y:.1f}" x2="{end_x:.1f}" y2="{end_y:.1f}"/>'
    left = place.box.right <= x
    edge = place.box.right if left else place.box.left
    anchor = "end" if left else "start"
    return line + words_at(edge, place.box.bottom - 2.5, place.words, anchor, "label")
