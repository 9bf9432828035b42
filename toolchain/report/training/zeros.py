"""Which filters are zero: a strip of cells for each layer, the zero ones filled."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.records.stages import TrainingProgress
from toolchain.report import wording
from toolchain.report.charts.figures import MANY_LAYERS, WIDE_FILTERS, drawing, percent, row
from toolchain.report.document.markup import name, paragraph, section

HEIGHT = 14
FILLED = 0.86
"""Share of a cell that is filled, so that neighbours can be told apart."""


def zeros(progress: TrainingProgress) -> str:
    """Return the section of zero filters."""
    layers = {layer: sorted(found) for layer, found in progress.zero_filters.items() if found}
    if not layers:
        return section("zeros", "Zero filters", paragraph("No filter is zero as a whole."))
    widest = max(
        max(progress.filters.get(layer, 0), found[-1] + 1) for layer, found in layers.items()
    )
    rows = "\n".join(
        row(
            name(layer),
            _strip(found, progress.filters.get(layer), widest),
            _value(progress, layer, found),
        )
        for layer, found in layers.items()
    )
    columns = " columns" if len(layers) > MANY_LAYERS and widest <= WIDE_FILTERS else ""
    return section(
        "zeros",
        "Zero filters",
        paragraph(_words(progress, layers)),
        f'<ol class="rows widths{columns}">\n{rows}\n</ol>',
    )


def _words(progress: TrainingProgress, layers: dict[str, list[int]]) -> str:
    total = sum(map(len, layers.values()))
    known = sum(progress.filters.values())
    of = f" of {wording.count(known)}" if set(layers) <= set(progress.filters) else ""
    noun = "filter is" if total == 1 and not of else "filters are"
    return (
        f"{wording.count(total)}{of} {noun} zero, in {wording.plural(len(layers), 'layer')}; "
        f"{wording.percentage(progress.zeroed_share)} of all parameters. A strip is a layer, a "
        "filled cell a zero filter."
    )


def _value(progress: TrainingProgress, layer: str, found: Sequence[int]) -> str:
    whole = progress.filters.get(layer)
    zero = wording.count(len(found))
    return zero if whole is None else f"{zero} of {wording.count(whole)}"


def _strip(found: Sequence[int], width: int | None, widest: int) -> str:
    """Return a layer's cells; without the layer's width there is no frame around them."""
    cells = [
        f'<rect class="after" x="{percent((index + (1 - FILLED) / 2) / widest)}" y="2" '
        f'width="{percent(FILLED / widest)}" height="{HEIGHT - 4}"><title>{index}</title></rect>'
        for index in found
    ]
    if width is not None:
        end = percent(width / widest)
        cells.insert(0, f'<rect class="frame" width="{end}" height="{HEIGHT}"/>')
    return drawing(f"zero: {_runs(found)}", HEIGHT, *cells)


def _runs(found: Sequence[int]) -> str:
    """Return numbers in words: ``0 to 3, 7``."""
    runs: list[list[int]] = []
    for index in found:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ", ".join(
        f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs
    )
