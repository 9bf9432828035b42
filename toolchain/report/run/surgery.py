"""What the surgery did: every layer's width before and after, and every zeroed filter's verdict."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.records.stages import LayerChange, Surgery
from toolchain.report import wording
from toolchain.report.charts.bars import MANY_ROWS, WIDE_FILTERS, Segment, legend, stacked
from toolchain.report.document.model import (
    Bar,
    Code,
    Details,
    Drawing,
    Figure,
    Paragraph,
    Section,
    Strong,
    Table,
    Words,
    parts,
)
from toolchain.report.run import filters
from toolchain.report.run.reasons import sentence

REASONS_SHOWN = 10
"""How many reasons for keeping filters are listed; the rest are under "Every zeroed filter"."""


def widths(surgery: Surgery) -> Section | None:
    """Return the picture of the network, layer by layer, and its numbers."""
    layers = surgery.layers
    if not layers:
        return None
    changed = sum(layer.out_channels_before != layer.out_channels_after for layer in layers)
    of = wording.plural(len(layers), "layer")
    words = f"{wording.count(changed)} of {of} got narrower."
    return Section(
        "widths",
        "The network, layer by layer",
        (
            Paragraph(words),
            widths_figure(layers),
            Details("Every layer in numbers", (_layer_table(layers),)),
        ),
    )


def _layer_table(layers: Sequence[LayerChange]) -> Table:
    head = ("layer", "kind", "inputs", "outputs", *(part.label for part in filters.PARTS))
    rows: list[tuple[Words, ...]] = []
    for layer in layers:
        counts = filters.parts(layer)
        rows.append(
            (
                Code(layer.layer),
                layer.kind,
                _arrow(layer.in_channels_before, layer.in_channels_after),
                _arrow(layer.out_channels_before, layer.out_channels_after),
                *(wording.count(counts[part.key]) for part in filters.PARTS),
            )
        )
    caption = "Channels of every layer, before → after"
    return Table(caption, head, tuple(rows), tuple(range(2, len(head))))


def _arrow(before: int, after: int) -> str:
    return f"{wording.count(before)} → {wording.count(after)}"


def widths_figure(layers: Sequence[LayerChange]) -> Figure:
    """Return the network's width before and after, a row for each layer, with its legend."""
    widest = max((layer.out_channels_before for layer in layers), default=1)
    counts = [filters.parts(layer) for layer in layers]
    meanings: list[tuple[str, Words]] = [
        (part.key, (Strong(part.label), f" {wording.count(sum(c[part.key] for c in counts))}"))
        for part in filters.PARTS
    ]
    columns = " columns" if len(layers) > MANY_ROWS and widest <= WIDE_FILTERS else ""
    return Figure(
        "Each bar is one layer's filters before; the dark line is where it ends now.",
        bars=tuple(
            Bar(Code(layer.layer), width_bar(layer, widest), width_words(layer)) for layer in layers
        ),
        legend=legend(*meanings),
        legend_label="Parts of a bar, with their filters",
        label="Width of every layer before and after",
        kind=f"widths{columns}",
        told=True,
    )


def width_bar(layer: LayerChange, widest: int) -> Drawing:
    """Return a bar as long as the layer's width before, out of ``widest`` filters, in its parts."""
    counts = filters.parts(layer)
    there = [(part, counts[part.key]) for part in filters.PARTS if counts[part.key]]
    segments = [
        Segment(part.key, count / widest, f"{wording.plural(count, 'filter')} {part.label}")
        for part, count in there
    ]
    before, after = layer.out_channels_before, layer.out_channels_after
    end = None if before == after else after / widest
    return stacked(", ".join(f"{count} {part.label}" for part, count in there), segments, end=end)


def width_words(layer: LayerChange) -> Words:
    """Return ``16 → 14``, or ``16`` for a layer that stayed as it was."""
    before, after = layer.out_channels_before, layer.out_channels_after
    return wording.count(before) if before == after else Strong(_arrow(before, after))


def zeroed_filters(surgery: Surgery) -> Section:
    """Return what became of the zeroed filters, and why some are still there."""
    words = Paragraph(filters.filters_words(surgery))
    if not surgery.filters:
        return Section("filters", "Zeroed filters", (words,))
    rows = tuple(
        (verdict.label, wording.count(number), verdict.meaning)
        for verdict, number in filters.verdict_counts(surgery)
    )
    return Section(
        "filters",
        "Zeroed filters",
        parts(
            words,
            Table("Zeroed filters by verdict", ("verdict", "filters", "meaning"), rows, (1,)),
            _reasons(surgery),
            Details("Every zeroed filter", (_filter_table(surgery),)),
        ),
    )


def _reasons(surgery: Surgery) -> Table | None:
    reasons = filters.kept_reasons(surgery.filters)
    if not reasons:
        return None
    rows: list[tuple[Words, ...]] = [
        (
            reason.words,
            wording.count(reason.filters),
            (Code(reason.example.layer), f" filter {reason.example.index}"),
        )
        for reason in reasons[:REASONS_SHOWN]
    ]
    rest = reasons[REASONS_SHOWN:]
    if rest:
        words = f"{wording.plural(len(rest), 'other reason')}, under “Every zeroed filter”"
        rows.append((words, wording.count(sum(reason.filters for reason in rest)), ""))
    caption = "Why filters were kept, commonest first"
    return Table(caption, ("reason", "filters", "for example"), tuple(rows), (1,))


def _filter_table(surgery: Surgery) -> Table:
    rows = tuple(
        (Code(item.layer), str(item.index), item.verdict, sentence(item))
        for item in surgery.filters
    )
    head = ("layer", "filter", "verdict", "reason")
    return Table("Verdict on every zeroed filter", head, rows, (1,))
