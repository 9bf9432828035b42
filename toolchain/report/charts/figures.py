"""Figures as rows of inline SVG: pure functions from records to strings.

Every row is ordinary HTML (a name, a drawing, a number), so that names wrap and numbers keep
their size on a phone; only the drawing in the middle is SVG. Lengths inside it are percentages of
its width. What a drawing shows is also in its label, in words, and patterns tell parts apart
where colours do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.records.parity import Parity
from toolchain.records.stages import LayerChange
from toolchain.report import wording
from toolchain.report.document.markup import name, text
from toolchain.report.run import facts, filters

_STROKES = {
    "kept": "M-2,2 l4,-4 M0,8 l8,-8 M6,10 l4,-4",
    "carried": "M0,2 h8 M0,6 h8",
    "folded": "M2,2 h.01 M6,6 h.01",
    "dropped": "M4,4 h.01",
    "removed_live": "M0,0 l8,8 M8,0 l-8,8",
    "beyond": "M-2,6 l4,4 M0,0 l8,8 M6,-2 l4,4",
}
"""What is drawn on a tile of 8 by 8 pixels, by part; live filters are plain."""


MANY_LAYERS, WIDE_FILTERS = 16, 64
"""More layers than this go into two columns, unless one is wider than this: it needs the room."""


def pattern_definitions() -> str:
    """Return the patterns that all figures of a page refer to; once per page."""
    tiles = "".join(
        f'<pattern id="part-{key}" class="part-{key}" width="8" height="8" '
        f'patternUnits="userSpaceOnUse"><rect class="ground" width="8" height="8"/>'
        f'<path class="stroke" d="{path}"/></pattern>'
        for key, path in _STROKES.items()
    )
    attributes = 'class="definitions" width="0" height="0" aria-hidden="true"'
    return f"<svg {attributes}><defs>{tiles}</defs></svg>"


def percent(share: float) -> str:
    """Return a length inside a drawing."""
    return f"{share * 100:.4f}%"


def drawing(label: str, height: int, *content: str) -> str:
    """Return an SVG as wide as its place, ``height`` pixels high; ``label`` says it in words."""
    return (
        f'<svg role="img" aria-label="{text(label)}" width="100%" height="{height}">'
        f"{''.join(content)}</svg>"
    )


def row(title: str, picture: str, value: str) -> str:
    """Return one row of a figure from ready HTML."""
    return f'<li><span class="name">{title}</span>{picture}<span class="value">{value}</span></li>'


def width_bar(layer: LayerChange, widest: int) -> str:
    """Return a bar as long as the layer's width before, out of ``widest`` filters, in its parts."""
    bars, start = [], 0
    counts = filters.parts(layer)
    for part in filters.PARTS:
        if counts[part.key]:
            words = f"{layer.layer}: {wording.count(counts[part.key])} {part.label}"
            bars.append(
                f'<rect class="part-{part.key}" data-filters="{counts[part.key]}" '
                f'x="{percent(start / widest)}" y="1" height="12" '
                f'width="{percent(counts[part.key] / widest)}"><title>{text(words)}</title></rect>'
            )
        start += counts[part.key]
    end = percent(layer.out_channels_after / widest)
    if layer.out_channels_after != layer.out_channels_before:
        bars.append(f'<line class="end" x1="{end}" x2="{end}" y1="0" y2="14"/>')
    label = ", ".join(
        f"{counts[part.key]} {part.label}" for part in filters.PARTS if counts[part.key]
    )
    return drawing(label, 14, *bars)


def widths(layers: Sequence[LayerChange]) -> str:
    """Return the network's width before and after, a row for each layer, with its legend."""
    widest = max((layer.out_channels_before for layer in layers), default=1)
    rows = "\n".join(
        row(name(layer.layer), width_bar(layer, widest), width_words(layer)) for layer in layers
    )
    columns = " columns" if len(layers) > MANY_LAYERS and widest <= WIDE_FILTERS else ""
    return f'{_legend(layers)}\n<ol class="rows widths{columns}">\n{rows}\n</ol>'


def width_words(layer: LayerChange) -> str:
    """Return ``16 → 14``, or ``16`` for a layer that stayed as it was."""
    before, after = layer.out_channels_before, layer.out_channels_after
    if before == after:
        return wording.count(before)
    return f"<strong>{wording.count(before)} → {wording.count(after)}</strong>"


def _legend(layers: Sequence[LayerChange]) -> str:
    counts = [filters.parts(layer) for layer in layers]
    entries = "".join(
        f'<li><svg aria-hidden="true" width="30" height="14"><rect class="part-{part.key}" '
        f'x="1" y="1" width="28" height="12"/></svg> <span><strong>{text(part.label)}</strong> '
        f"{wording.count(sum(layer[part.key] for layer in counts))}</span></li>"
        for part in filters.PARTS
    )
    return f'<ul class="legend" aria-label="Parts of a bar, with their filters">{entries}</ul>'


def before_after_bars(comparison: facts.Comparison) -> str:
    """Return two bars, before above after, on one scale that starts at zero."""
    quartiles = [value for value in comparison.quartiles or () if math.isfinite(value)]
    after = comparison.after if math.isfinite(comparison.after) else 0.0
    longest = max(comparison.before, after, *quartiles) or 1.0
    bars = [
        f'<rect class="before" width="{percent(comparison.before / longest)}" y="0" height="9"/>',
        f'<rect class="after" width="{percent(after / longest)}" y="12" height="13"/>',
    ]
    if len(quartiles) == 2:
        low, high = (percent(value / longest) for value in quartiles)
        bars.append(f'<line class="quartiles" x1="{low}" x2="{high}" y1="18.5" y2="18.5"/>')
        bars += [
            f'<line class="quartiles" x1="{x}" x2="{x}" y1="14" y2="23"/>' for x in (low, high)
        ]
    words = f"before {comparison.before_words}, after {comparison.after_words}"
    return drawing(words, 25, *bars)


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


def parity(link: Parity) -> str:
    """Return each case's difference as a mark on a logarithmic scale that shows the limit."""
    figures = [facts.case_figure(link, case) for case in link.cases]
    scale = LogScale.around([*figures, link.limit])
    rows = "\n".join(
        row(
            f"{name(case.input)} <small>{wording.shape(case.shape)}</small>",
            parity_mark(scale, figure, link.limit, facts.case_words(link, case)),
            _mark_words(figure, facts.case_words(link, case)),
        )
        for case, figure in zip(link.cases, figures, strict=True)
    )
    axis = row("", _axis(scale, link.limit), "")
    return f'<ol class="rows parity">\n{rows}\n{axis.replace("<li>", _AXIS_ITEM)}\n</ol>'


def _mark_words(figure: float, words: str) -> str:
    number = f"{wording.difference(figure)} " if math.isfinite(figure) else ""
    return f"{number}<small>{words}</small>"


_AXIS_ITEM = '<li class="axis" aria-hidden="true">'


def parity_mark(scale: LogScale, figure: float, limit: float, words: str) -> str:
    """Return a dot for a figure within the limit, a cross for any other."""
    place, edge = percent(scale.share(figure)), percent(scale.share(limit))
    if words == "within":
        mark = f'<circle class="within" cx="{place}" cy="11" r="5"/>'
    else:
        mark = (
            f'<svg x="{place}" y="11" overflow="visible">'
            '<path class="over" d="M-5,-5 l10,10 M-5,5 l10,-10"/></svg>'
        )
    rest = percent(1 - scale.share(limit))
    label = f"difference {wording.difference(figure)}, limit {wording.difference(limit)}: {words}"
    return drawing(
        label,
        22,
        f'<rect class="part-beyond" x="{edge}" width="{rest}" height="22"/>',
        f'<line class="track" x1="0" x2="{place}" y1="11" y2="11"/>',
        f'<line class="limit" x1="{edge}" x2="{edge}" y1="0" y2="22"/>',
        mark,
    )


def _axis(scale: LogScale, limit: float) -> str:
    decades = range(scale.low_exponent, scale.high_exponent + 1)
    step = math.ceil(len(decades) / 6)
    ticks = [
        f'<text x="{percent(scale.share(10.0**exponent))}" y="12" text-anchor="{anchor}">'
        f"1e{exponent:+03d}</text>"
        for exponent, anchor in (
            (exponent, _anchor(exponent, scale)) for exponent in decades[::step]
        )
    ]
    edge = percent(scale.share(limit))
    note = f'<text class="limit" x="{edge}" y="27" text-anchor="middle">limit</text>'
    return drawing("scale", 30, *ticks, note)


def _anchor(exponent: int, scale: LogScale) -> str:
    if exponent == scale.low_exponent:
        return "start"
    return "end" if exponent == scale.high_exponent else "middle"
