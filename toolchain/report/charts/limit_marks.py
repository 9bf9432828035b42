"""Differences as marks on a logarithmic scale that shows the limit: dots within, crosses over."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.report import wording
from toolchain.report.charts.svg import drawing, percent
from toolchain.report.document.model import Drawing


@dataclass(frozen=True)
class LogScale:
    """A logarithmic scale over whole decades."""

    low_exponent: int
    high_exponent: int

    @classmethod
    def around(cls, figures: Sequence[float]) -> LogScale:
        """Return a scale that holds all positive finite figures, with room on both sides."""
        exponents = [math.log10(x) for x in figures if x > 0 and math.isfinite(x)] or [-6.0]
        return cls(math.floor(min(exponents)) - 1, math.ceil(max(exponents)) + 1)

    def share(self, figure: float) -> float:
        """Return where ``figure`` lies, from 0 (and for zero) to 1 (and for what is not finite)."""
        if not math.isfinite(figure):
            return 1.0
        if figure <= 0:
            return 0.0
        place = math.log10(figure) - self.low_exponent
        return min(max(place / (self.high_exponent - self.low_exponent), 0.0), 1.0)


def limit_mark(scale: LogScale, figure: float, limit: float, verdict: str) -> Drawing:
    """Return a dot for a figure whose verdict is ``within``, a cross for any other."""
    place, edge = percent(scale.share(figure)), percent(scale.share(limit))
    if verdict == "within":
        mark = f'<circle class="within" cx="{place}" cy="11" r="5"/>'
    else:
        mark = (
            f'<svg x="{place}" y="11" overflow="visible">'
            '<path class="over" d="M-5,-5 l10,10 M-5,5 l10,-10"/></svg>'
        )
    rest = percent(1 - scale.share(limit))
    words = f"difference {wording.difference(figure)}, limit {wording.difference(limit)}: {verdict}"
    return drawing(
        words,
        22,
        f'<rect class="part-beyond" x="{edge}" width="{rest}" height="22"/>',
        f'<line class="track" x1="0" x2="{place}" y1="11" y2="11"/>',
        f'<line class="limit" x1="{edge}" x2="{edge}" y1="0" y2="22"/>',
        mark,
    )


def limit_axis(scale: LogScale, limit: float) -> Drawing:
    """Return the scale's decades, and where the limit is."""
    decades = range(scale.low_exponent, scale.high_exponent + 1)
    step = math.ceil(len(decades) / 6)
    ticks = [
        f'<text x="{percent(scale.share(10.0**exponent))}" y="12" '
        f'text-anchor="{_anchor(exponent, scale)}">1e{exponent:+03d}</text>'
        for exponent in decades[::step]
    ]
    edge = percent(scale.share(limit))
    note = f'<text class="limit" x="{edge}" y="27" text-anchor="middle">limit</text>'
    return drawing("scale", 30, *ticks, note)


def _anchor(exponent: int, scale: LogScale) -> str:
    if exponent == scale.low_exponent:
        return "start"
    return "end" if exponent == scale.high_exponent else "middle"
