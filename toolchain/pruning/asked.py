"""What a rate asks for: how many filters of each layer are to go, and which layers are left out.

A layer counts if no pattern of the recipe protects it, nor one that shares its channels, if it is
called, and if another layer reads what it makes: the channels of an output are the network's own.
Of a linear layer some rows must be free to go. Channels that must stay for another reason, such as
an operator that picks some by position, are asked for all the same: that they stay is for the user
to know.
"""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn
from torch.nn.modules.conv import _ConvNd

from toolchain.pruning.criteria import count_of
from toolchain.pruning.groups import ChannelGroup, free_layers, may_lose, zeroed_counts
from toolchain.recipe import PruneSection
from toolchain.records.reasons import Held, Reason
from toolchain.surgery.channels import Flow
from toolchain.surgery.layers import Layer, layers_of


@dataclass(frozen=True)
class Asked:
    """What a rate, or widths of groups, ask for."""

    filters: Mapping[str, int] = field(default_factory=dict)
    """Layer -> how many of its filters are to go."""
    left_out: tuple[Held, ...] = ()
    """Those of them that are not even zeroed, because their channels stay whatever they hold."""
    widest: int = 0
    """Filters of the widest layer or group that may be narrowed."""

    @property
    def total(self) -> int:
        """How many filters are to go."""
        return sum(self.filters.values())


def asked_by_layer(network: nn.Module, flow: Flow, prune: PruneSection) -> Asked:
    """Return what is asked for where each layer loses its own filters."""
    rate = prune.rate or 0.0
    layers = _narrowable(network, flow, prune.protected)
    filters = Counter({name: count_of(rate, layer.out_channels) for name, layer in layers.items()})
    left_out = _without_own_weights(network, prune)
    widths = [layer.out_channels for layer in layers.values()]
    return _asked(filters, left_out, widths)


def asked_by_group(
    network: nn.Module, flow: Flow, groups: Sequence[ChannelGroup], prune: PruneSection
) -> Asked:
    """Return what is asked for where a group loses the same channels in all its layers."""
    rate, counts = prune.rate or 0.0, zeroed_counts(groups, prune)
    layers = _narrowable(network, flow, prune.protected)
    filters: Counter[str] = Counter()
    for group in groups:
        filters.update(
            {
                name: counts[group.name] * number
                for name, number in Counter(name for name, _ in group.channels[0]).items()
                if name in layers
            }
        )
    left_out = _without_own_weights(network, prune)
    for name in layers:
        reasons = list(filter(None, map(flow.classes.protection, flow.out_nodes[name])))
        if reasons:
            commonest, _ = Counter(reasons).most_common(1)[0]
            left_out.append((name, count_of(rate, len(reasons)), commonest))
    widths = [len(flow.out_nodes[name]) for name in layers]
    return _asked(filters, left_out, widths)


LeftOut = tuple[str, int, Reason]
"""A layer, how many of its filters the rate would take, and what holds them."""


def _asked(filters: Counter[str], left_out: list[LeftOut], widths: list[int]) -> Asked:
    for name, count, _ in left_out:
        filters[name] += count
    held = [Held((name,), count, reason) for name, count, reason in left_out if count]
    return Asked(dict(filters), tuple(held), max(widths, default=0))


def _narrowable(network: nn.Module, flow: Flow, patterns: Sequence[str]) -> dict[str, Layer]:
    """Return the layers whose filters a rate asks for."""
    free = free_layers(network, patterns)
    shut = {
        flow.classes.find(node)
        for name in layers_of(network)
        if _is_protected(name, patterns)
        for node in flow.out_nodes[name]
    }
    return {
        name: layer
        for name, layer in free.items()
        if name in flow.calls
        and name not in flow.output_layers
        and may_lose(layer, flow)
        and not any(flow.classes.find(node) in shut for node in flow.out_nodes[name])
    }


def _is_protected(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _without_own_weights(network: nn.Module, prune: PruneSection) -> list[LeftOut]:
    """Return the convolutions whose weights are not theirs alone; linear layers are not asked."""
    known = layers_of(network)
    return [
        (name, count_of(prune.rate or 0.0, module.out_channels), Reason("shared_weight", (name,)))
        for name, module in network.named_modules()
        if isinstance(module, _ConvNd)
        and name not in known
        and not _is_protected(name, prune.protected)
    ]
