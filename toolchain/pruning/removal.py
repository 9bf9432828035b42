"""What a run was to remove and what went: the account of pruning and surgery together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from torch import nn

from toolchain.pruning.asked import Asked
from toolchain.records.reasons import Held, Reason, Removal
from toolchain.records.stages import LayerChange, Surgery
from toolchain.surgery.layers import layers_of


def account(given: nn.Module, soft: nn.Module, surgery: Surgery, asked: Asked | None) -> Removal:
    """Return what was to go and what went.

    ``given`` is the network as it was loaded, ``soft`` the same with filters zeroed in this run.
    ``asked`` is None if none were: then all that are zero were to go.
    """
    layers = [layer for layer in surgery.layers if asked is None or layer.layer in asked.filters]
    kept = [
        Held((item.layer,), 1, item.reason)
        for item in surgery.filters
        if item.verdict == "kept" and (asked is None or item.layer in asked.filters)
    ]
    return Removal(
        asked=len(surgery.filters) if asked is None else asked.total,
        removed=sum(map(_gone, layers)),
        zeroed=len(surgery.filters),
        zeroed_before=_zero_filters(given),
        filters=sum(layer.out_channels for layer in layers_of(soft).values()),
        by_rate=asked is not None,
        widest=0 if asked is None else asked.widest,
        held=tuple(_by_reason([*(() if asked is None else asked.left_out), *kept])),
    )


def _gone(layer: LayerChange) -> int:
    return layer.out_channels_before - layer.out_channels_after


def _zero_filters(network: nn.Module) -> int:
    return sum(int(layer.zero_filters().sum()) for layer in layers_of(network).values())


def _by_reason(parts: Iterable[Held]) -> Iterator[Held]:
    """Put together what one reason holds, the most filters first."""
    counts: Counter[Reason] = Counter()
    layers: dict[Reason, dict[str, None]] = {}
    for part in parts:
        counts[part.reason] += part.filters
        layers.setdefault(part.reason, {}).update(dict.fromkeys(part.layers))
    for reason, count in counts.most_common():
        yield Held(tuple(layers[reason]), count, reason)
