"""Layers that int8 keeps in float: what each costs, and what was tried."""

from __future__ import annotations

from toolchain.records.certificate import Attempt, Certificate, LayerNoise, Link, MixedPrecision
from toolchain.report import wording
from toolchain.report.charts import figures
from toolchain.report.document.marks import name as markdown_name
from toolchain.report.document.marks import table as markdown_table
from toolchain.report.document.markup import details, name, paragraph, table, text

HEAD = ["layers in float", "bytes", "mean difference", "AP lost", "verdict"]
NUMERIC = (0, 1, 2, 3)
LEGEND = {True: ("removed_live", "stays in float"), False: ("live", "goes to int8")}


def mixing_markdown(certificate: Certificate) -> str:
    """Return what was tried for every file that keeps layers in float; empty if none does."""
    parts = []
    for link, mixture in _mixed(certificate):
        kept = ", ".join(markdown_name(layer.layer) for layer in mixture.layers if layer.in_float)
        parts += [
            f"### Layers of {markdown_name(link.after)} in float",
            _words(mixture),
            markdown_table(HEAD, _rows(mixture), numeric=NUMERIC),
            f"In float, the most costly first: {kept}.",
        ]
    return "\n\n".join(parts)


def mixing_html(certificate: Certificate) -> str:
    """Return the same, with a bar for what each layer costs."""
    return "\n".join(
        f"<h3>Layers of {name(link.after)} in float</h3>"
        + paragraph(_words(mixture))
        + table(f"Files tried for {link.after}", HEAD, _rows(mixture), NUMERIC)
        + details("What each layer alone in int8 costs", _picture(mixture))
        for link, mixture in _mixed(certificate)
    )


def _mixed(certificate: Certificate) -> list[tuple[Link, MixedPrecision]]:
    return [(link, link.mixture) for link in certificate.links if link.mixture is not None]


def _words(mixture: MixedPrecision) -> str:
    return (
        f"All in int8 costs more than the recipe allows. So each of "
        f"{wording.plural(len(mixture.layers), 'layer')} was put into int8 alone, and those that "
        f"cost most stay in float, more of them until the link holds."
    )


def _rows(mixture: MixedPrecision) -> list[list[str]]:
    return [_row(attempt) for attempt in mixture.attempts]


def _row(attempt: Attempt) -> list[str]:
    return [
        wording.count(attempt.in_float),
        wording.count(attempt.size_bytes),
        wording.NOT_FINITE if attempt.mean is None else wording.difference(attempt.mean),
        "" if attempt.lost is None else f"{100 * attempt.lost:.2f} points",
        "FAIL" if attempt.problems else "PASS",
    ]


def _picture(mixture: MixedPrecision) -> str:
    most = max((layer.noise for layer in mixture.layers), default=0.0) or 1.0
    legend = "".join(
        f'<li><svg aria-hidden="true" width="30" height="14"><rect class="part-{style}" x="1" '
        f'y="1" width="28" height="12"/></svg> {text(words)}</li>'
        for style, words in LEGEND.values()
    )
    rows = "".join(_bar(layer, most) for layer in mixture.layers)
    return (
        f'<ul class="legend">{legend}</ul><figure><ol class="rows">{rows}</ol><figcaption>Mean '
        f"difference of the outputs when this layer alone is in int8, as a share of their range."
        f"</figcaption></figure>"
    )


def _bar(layer: LayerNoise, most: float) -> str:
    style, words = LEGEND[layer.in_float]
    bar = (
        f'<rect class="part-{style}" x="0" y="1" height="12" '
        f'width="{figures.percent(min(1.0, layer.noise / most))}"></rect>'
    )
    label = f"{layer.layer} {words}, costs {wording.difference(layer.noise)}"
    return figures.row(
        name(layer.layer), figures.drawing(label, 14, bar), wording.difference(layer.noise)
    )
