"""Which filters are zero: a strip of cells for each layer, the zero ones filled."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.records.training import TrainingProgress
from toolchain.report import wording
from toolchain.report.charts.bars import MANY_ROWS, WIDE_FILTERS, cells
from toolchain.report.document.model import Bar, Code, Figure, Paragraph, Section


def zeros(progress: TrainingProgress) -> Section:
    """Return the section of zero filters."""
    layers = {layer: sorted(found) for layer, found in progress.zero_filters.items() if found}
    if not layers:
        return Section("zeros", "Zero filters", (Paragraph("No filter is zero as a whole."),))
    widest = max(
        max(progress.filters.get(layer, 0), found[-1] + 1) for layer, found in layers.items()
    )
    bars = tuple(
        Bar(
            Code(layer),
            cells(
                f"zero: {_runs(found)}",
                {index: str(index) for index in found},
                progress.filters.get(layer),
                widest,
            ),
            _value(progress, layer, found),
        )
        for layer, found in layers.items()
    )
    columns = " columns" if len(layers) > MANY_ROWS and widest <= WIDE_FILTERS else ""
    figure = Figure(
        "A strip is a layer, a filled cell a zero filter.", bars=bars, kind=f"widths{columns}"
    )
    return Section("zeros", "Zero filters", (Paragraph(_words(progress, layers)), figure))


def _words(progress: TrainingProgress, layers: dict[str, list[int]]) -> str:
    total = sum(map(len, layers.values()))
    known = sum(progress.filters.values())
    of = f" of {wording.count(known)}" if set(layers) <= set(progress.filters) else ""
    noun = "filter is" if total == 1 and not of else "filters are"
    return (
        f"{wording.count(total)}{of} {noun} zero, in {wording.plural(len(layers), 'layer')}; "
        f"{wording.percentage(progress.zeroed_share)} of all parameters."
    )


def _value(progress: TrainingProgress, layer: str, found: Sequence[int]) -> str:
    whole = progress.filters.get(layer)
    zero = wording.count(len(found))
    return zero if whole is None else f"{zero} of {wording.count(whole)}"


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
