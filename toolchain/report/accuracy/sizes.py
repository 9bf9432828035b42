"""The paper's Figures 2 and 3 with measured marks beside the published ones."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.data.published.reading import comparators, paper_rows
from toolchain.records.accuracy import Comparator, Member, PeerMember, PublishedRow
from toolchain.report import wording
from toolchain.report.accuracy.precision_words import figure
from toolchain.report.charts.scatter import SHAPES, Point, marks_legend, scatter
from toolchain.report.document.model import Figure

MODELS = {"extd": "EXTD", "eresfd": "EResFD"}
FIGURES = {"easy": 2, "hard": 3}
"""The levels that the paper draws, and the numbers of its figures."""
CROWDED = 250_000
"""Below so many parameters the paper's own networks lie so close that they get a chart alone."""


def row_label(row: PublishedRow | Member) -> str:
    """Return a checkpoint in words: ``FPGM 10 %``, ``reproduced``."""
    if row.criterion is None or row.rate is None:
        return row.variant
    return f"{row.criterion.upper()} {row.rate:g} %"


def _pair(row: PublishedRow | Member, model: str = "") -> str:
    return f"{model or row.model} {row_label(row)}"


def paper_points(level: str, measured: Sequence[Member] = (), labelled: bool = True) -> list[Point]:
    """Return a hollow mark for every row of the paper; where a measured mark stands at the
    same size, that one bears the label.
    """
    named = {_pair(member) for member in measured}
    points = []
    for row in paper_rows():
        ap = row.ap(level)
        if ap is None:
            continue
        alone = row.parameters is None or _pair(row) not in named
        name = _pair(row, MODELS[row.model]) if row.parameters is None else row_label(row)
        label = name if labelled and alone else ""
        size = "size not given" if row.parameters is None else _size(row.parameters)
        words = f"{MODELS[row.model]} {row_label(row)}, published: AP {level} {figure(ap)}, {size}"
        points.append(Point(row.model, False, row.parameters, ap, label, words, _pair(row)))
    return points


def comparator_points(level: str) -> list[Point]:
    """Return a hollow mark for every detector that the paper compares with."""
    points = []
    for item in comparators():
        ap = item.ap(level)
        if ap is not None:
            kind = item.family.lower() if item.family in MODELS.values() else "other"
            points.append(
                Point(kind, False, item.parameters, ap, item.name, comparator_words(item, level))
            )
    return points


def comparator_words(item: Comparator, level: str) -> str:
    """Return a comparator's published figures in words."""
    size = "size not found" if item.parameters is None else _size(item.parameters)
    return f"{item.name}, published: AP {level} {figure(item.ap(level))}, {size} ({item.protocol})"


def member_points(level: str, members: Sequence[Member], labelled: bool = True) -> list[Point]:
    """Return a filled mark for every soft network, at the parameters that the paper counts."""
    points = []
    for member in members:
        ap = member.soft.ap(level)
        if ap is None:
            continue
        kind = member.model if member.model in SHAPES else "other"
        own = member.published is None
        label = wording.clean(member.name) if own else row_label(member)
        size = _size(member.nonzero_parameters)
        words = f"{member.name}, measured: AP {level} {figure(ap)}, {size}"
        points.append(
            Point(
                kind,
                True,
                member.nonzero_parameters,
                ap,
                label if labelled else "",
                words,
                "" if own else _pair(member),
            )
        )
    return points


def peer_points(level: str, peers: Sequence[PeerMember]) -> list[Point]:
    """Return a filled mark for every detector made elsewhere."""
    points = []
    for peer in peers:
        ap, name = peer.evaluation.ap(level), wording.clean(peer.evaluation.subject.name)
        if ap is not None:
            size = "size not known" if peer.parameters is None else _size(peer.parameters)
            words = f"{name}, measured: AP {level} {figure(ap)}, {size}"
            points.append(Point("peer", True, peer.parameters, ap, name, words))
    return points


def _size(parameters: int) -> str:
    return wording.plural(parameters, "parameter")


MARKS = (
    ("extd", False, "EXTD, published"),
    ("extd", True, "EXTD, measured"),
    ("eresfd", False, "EResFD, published"),
    ("eresfd", True, "EResFD, measured"),
    ("other", False, "other detectors, published"),
    ("peer", True, "peers, measured"),
)
"""Kind, whether measured, and what such a mark is."""


def size_figures(
    level: str, members: Sequence[Member], peers: Sequence[PeerMember], on: str
) -> tuple[Figure, Figure]:
    """Return the figure of one level: all detectors, then the paper's own networks enlarged."""
    title = f"Size against AP {level.capitalize()}, measured marks {on}"
    near = [member for member in members if member.nonzero_parameters <= CROWDED]
    far = [member for member in members if member.nonzero_parameters > CROWDED]
    everything = [
        *comparator_points(level),
        *[point for point in paper_points(level, labelled=False) if point.amount is not None],
        *member_points(level, near, labelled=False),
        *member_points(level, far),
        *peer_points(level, peers),
    ]
    enlarged = [*paper_points(level, near), *member_points(level, near)]
    return (
        _figure(f"Figure {FIGURES[level]}: {title}", f"{title}: all detectors", level, everything),
        _figure("The same for EXTD and EResFD alone", f"{title}: EXTD and EResFD", level, enlarged),
    )


def _figure(title: str, label: str, level: str, points: Sequence[Point]) -> Figure:
    return Figure(
        title=title,
        label=label,
        drawing=scatter(label, level, points),
        legend=marks_legend(*MARKS),
        legend_label="Marks",
        told=True,
        scrolls=True,
    )
