"""Average precision against cost: a chart of each level, and all of it as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from toolchain.records.accuracy import LEVELS
from toolchain.records.front import Front, FrontPoint
from toolchain.records.recommendation import Level
from toolchain.report import wording
from toolchain.report.accuracy.precision_words import figure
from toolchain.report.charts.scatter import Meaning, Point, marks_legend, scatter
from toolchain.report.document.model import Document, Drawing, Figure, Paragraph, Section, Table

HEAD = ("network", "input", "Easy", "Medium", "Hard", "mean", "M instructions", "beaten by")
NUMERIC = (2, 3, 4, 5, 6)
KINDS = {"eresfd": "EResFD", "extd": "EXTD", "yunet": "YuNet", "peer": "of others"}
Measure = Callable[[FrontPoint], float]


def front_document(front: Front) -> Document:
    """Return the whole document."""
    return Document(
        title="What networks find, and what it costs",
        heading="What networks find, and what it costs",
        subject=front.board,
        lead=(Paragraph(conditions(front)),),
        blocks=(
            Section("front", "Average precision against instructions", tuple(_figures(front))),
            Section("table", "In numbers", (_table(front),)),
        ),
    )


def conditions(front: Front) -> str:
    """Return what the figures are of, in words."""
    return (
        f"Average precision on {wording.plural(front.photos, 'photo')} of WIDER FACE, one pass, "
        f"each fitted into the input; photos were looked at with the weights, from which files "
        f"differ by rounding. Instructions of one inference by {front.runtime} on "
        f"{front.core}, one thread, float32: told from tables of its layers, counted on the "
        f"emulated core (of peers without their permutations)."
    )


def rows(front: Front) -> list[tuple[str, ...]]:
    """Return the cells of every point, as :data:`HEAD` names them."""
    return [_cells(point) for point in front.points]


def picture(front: Front) -> Drawing:
    """Return the chart of the mean of all levels, with its legend: a file of its own."""
    return _drawing(front, "mean", _mean, legend=_marks(front))


def _mean(point: FrontPoint) -> float:
    return point.accuracy.mean


def _cells(point: FrontPoint) -> tuple[str, ...]:
    accuracy, cost = point.accuracy, point.instructions
    levels = (accuracy.easy, accuracy.medium, accuracy.hard, accuracy.mean)
    return (
        point.name,
        f"{point.size[0]}x{point.size[1]}",
        *(figure(round(ap, 4)) for ap in levels),
        "not known" if cost is None else wording.decimal(cost / 1e6, 1),
        point.beaten_by or "",
    )


def _table(front: Front) -> Table:
    return Table("All points", HEAD, tuple(rows(front)), NUMERIC)


def _figures(front: Front) -> list[Figure]:
    drawings = {"mean": _drawing(front, "mean", _mean)}
    for level in LEVELS:
        drawings[level] = _drawing(front, level, partial(_ap, level=level))
    return [
        Figure(
            title=f"AP {level.capitalize()}",
            label=f"AP {level} against instructions",
            drawing=drawing,
            legend=marks_legend(*_marks(front)) if level == "mean" else (),
            legend_label="Marks",
            told=True,
            scrolls=True,
        )
        for level, drawing in drawings.items()
    ]


def _ap(point: FrontPoint, *, level: str) -> float:
    return point.accuracy.at(cast("Level", level))


def _marks(front: Front) -> list[Meaning]:
    """Return what of kind and filling there is on the chart."""
    there = {
        (_kind(each), each.beaten_by is None)
        for each in front.points
        if each.instructions is not None
    }
    return [
        (kind, whole, f"{KINDS[kind]}, {words}")
        for kind in KINDS
        for whole, words in ((True, "beaten by none"), (False, "beaten in all"))
        if (kind, whole) in there
    ]


def _drawing(front: Front, level: str, ap_of: Measure, legend: Sequence[Meaning] = ()) -> Drawing:
    points = [_point(each, ap_of(each)) for each in front.points if each.instructions is not None]
    best = sorted((each for each in points if each.measured), key=lambda each: each.amount or 0)
    line: list[Point] = []
    for point in best:  # at one level some of them find less than a cheaper one
        if not line or point.ap > line[-1].ap:
            line.append(point)
    title = f"AP {level} against instructions of one inference on {front.board}"
    across = f"instructions, {front.runtime.split()[0]}"
    return scatter(title, level, points, across, line, legend)


def _point(point: FrontPoint, ap: float) -> Point:
    beaten = point.beaten_by is not None
    words = f"{point.label}: AP {figure(round(ap, 4))}, {(point.instructions or 0) / 1e6:,.1f} M"
    short = f"{point.name.removeprefix('eresfd-')} {point.size[1]}"
    label = "" if beaten else short
    return Point(_kind(point), not beaten, point.instructions, ap, label, words)


def _kind(point: FrontPoint) -> str:
    return point.model if point.model in KINDS else "peer"
