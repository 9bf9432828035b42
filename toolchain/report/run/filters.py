"""What became of a network's filters: the parts of a layer's width, and why filters were kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.records.reasons import Reason
from toolchain.records.stages import FilterVerdict, LayerChange, Surgery
from toolchain.report import wording
from toolchain.report.run.reasons import kept_words


@dataclass(frozen=True)
class Part:
    """One kind of filter in a layer's width."""

    key: str
    label: str
    meaning: str
    remains: bool
    """True if these filters are still there after the surgery."""


PARTS = (
    Part("live", "live", "not zeroed, and still there", True),
    Part("kept", "kept zeroed", "zeroed, but something still needs its place", True),
    Part("carried", "carried", "removed; its constant went into a carrier's weights", False),
    Part("folded", "folded", "removed; its constant went into a bias", False),
    Part("dropped", "dropped", "removed; nothing of it was left to account for", False),
    Part("removed_live", "removed live", "not zeroed, but nothing needed what it computed", False),
)
"""Every part of a layer's width before: what remains first, then what went."""


def parts(layer: LayerChange) -> dict[str, int]:
    """Return how many filters of ``layer`` belong to each of :data:`PARTS`; they add up to its
    width before.

    Raises ValueError if the record contradicts itself.
    """
    removed_zeroed = layer.dropped + layer.folded + layer.carried
    removed = layer.out_channels_before - layer.out_channels_after
    filters = {
        "live": layer.out_channels_after - layer.kept,
        "kept": layer.kept,
        "carried": layer.carried,
        "folded": layer.folded,
        "dropped": layer.dropped,
        "removed_live": removed - removed_zeroed,
    }
    if min(filters.values()) < 0 or layer.zeroed_filters != layer.kept + removed_zeroed:
        raise ValueError(f"{layer.layer}: the parts must add up to its width (got {layer})")
    return filters


def verdict_counts(surgery: Surgery) -> tuple[tuple[Part, int], ...]:
    """Return how many zeroed filters got each verdict, whether any did or not."""
    counts = Counter[str](item.verdict for item in surgery.filters)
    zeroed = [part for part in PARTS if part.key not in ("live", "removed_live")]
    return tuple((part, counts[part.key]) for part in zeroed)


def filters_words(surgery: Surgery) -> str:
    """Return what became of the zeroed filters, in one sentence."""
    total, kept = len(surgery.filters), surgery.count("kept")
    words = (
        f"{wording.plural(total, 'zeroed filter')}: {wording.count(total - kept)} removed, "
        f"{wording.count(kept)} kept"
    )
    if surgery.removed_live_filters:
        live = wording.plural(surgery.removed_live_filters, "live filter")
        words += f"; {live} removed as well, because nothing needed what they computed"
    return f"{words} ({wording.plural(surgery.rounds, 'round')} of surgery)."


@dataclass(frozen=True)
class KeptReason:
    """A reason that several zeroed filters of one layer were kept for."""

    words: str
    filters: int
    example: FilterVerdict


def kept_reasons(filters: Sequence[FilterVerdict]) -> tuple[KeptReason, ...]:
    """Return why filters were kept, commonest first; one for each reason of each layer."""
    groups: dict[tuple[str, Reason], list[FilterVerdict]] = {}
    for item in filters:
        if item.verdict == "kept":
            groups.setdefault((item.layer, item.reason), []).append(item)
    reasons = [
        KeptReason(kept_words(layer, [m.index for m in members], reason), len(members), members[0])
        for (layer, reason), members in groups.items()
    ]
    return tuple(sorted(reasons, key=lambda reason: -reason.filters))
