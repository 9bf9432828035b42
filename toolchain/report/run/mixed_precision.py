"""Layers that int8 keeps in float: what each costs, and what was tried."""

from __future__ import annotations

from collections.abc import Iterator

from toolchain.records.certificate import Attempt, Certificate, LayerNoise, Link, MixedPrecision
from toolchain.report import wording
from toolchain.report.charts.bars import Segment, legend, stacked
from toolchain.report.document.model import (
    Bar,
    Block,
    Code,
    Details,
    Figure,
    Heading,
    Paragraph,
    Strong,
    Table,
    Words,
)
from toolchain.report.run.lost import attempt_words

HEAD = ("layers in float", "bytes", "mean difference", "lost", "verdict")
NUMERIC = (0, 1, 2, 3)
LEGEND = {True: ("removed_live", "stays in float"), False: ("live", "goes to int8")}


def mixed_precision(certificate: Certificate) -> Iterator[Block]:
    """Yield what was tried for every file that keeps layers in float."""
    for link in certificate.links:
        mixed = link.mixed_precision
        if mixed is None:
            continue
        rows = tuple(_row(link, attempt) for attempt in mixed.attempts)
        yield Heading(("Layers of ", Code(link.after), " in float"))
        yield Paragraph(_words(mixed))
        yield Table(f"Files tried for {link.after}", HEAD, rows, NUMERIC)
        yield Paragraph(_kept(mixed))
        yield Details("What each layer alone in int8 costs", (_picture(mixed),))


def _words(mixed: MixedPrecision) -> str:
    return (
        f"All in int8 costs more than the recipe allows. So each of "
        f"{wording.plural(len(mixed.layers), 'layer')} was put into int8 alone, and those that "
        f"cost most stay in float, more of them until the link holds."
    )


def _kept(mixed: MixedPrecision) -> Words:
    names = [Code(layer.layer) for layer in mixed.layers if layer.in_float]
    listed = [piece for name in names for piece in (", ", name)][1:]
    return ("In float, the most costly first: ", *(listed or ["none"]), ".")


def _row(link: Link, attempt: Attempt) -> tuple[Words, ...]:
    return (
        wording.count(attempt.in_float),
        wording.count(attempt.size_bytes),
        wording.NOT_FINITE if attempt.mean is None else wording.difference(attempt.mean),
        attempt_words(link, attempt.lost),
        Strong("FAIL") if attempt.problems else "PASS",
    )


def _picture(mixed: MixedPrecision) -> Figure:
    most = max((layer.noise for layer in mixed.layers), default=0.0) or 1.0
    return Figure(
        "Mean difference of the outputs when this layer alone is in int8, as a share of their "
        "range.",
        bars=tuple(_bar(layer, most) for layer in mixed.layers),
        legend=legend(*LEGEND.values()),
    )


def _bar(layer: LayerNoise, most: float) -> Bar:
    kind, words = LEGEND[layer.in_float]
    cost = wording.difference(layer.noise)
    drawn = stacked(f"{words}, costs {cost}", [Segment(kind, min(1.0, layer.noise / most))])
    return Bar(Code(layer.layer), drawn, cost)
