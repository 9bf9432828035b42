"""Dependency groups as pruning sees them: channels that the same layers write, of one width."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from toolchain.errors import RecipeError
from toolchain.pruning.blocks import counts_in_blocks
from toolchain.pruning.criteria import count_of
from toolchain.recipe import PruneSection
from toolchain.surgery.channels import Flow
from toolchain.surgery.layers import Layer, RecurrentLayer, layers_of

Slots = tuple[tuple[str, int], ...]
"""The (layer, filter) pairs that write one channel."""


@dataclass(frozen=True)
class ChannelGroup:
    """A dependency group of which filters may be removed."""

    name: str
    """Its first layer; with a number where a group before has the same."""
    channels: tuple[Slots, ...]

    @property
    def width(self) -> int:
        """How many channels it has."""
        return len(self.channels)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that write it."""
        return tuple(dict.fromkeys(layer for layer, _ in self.channels[0]))

    def filters(self, layers: Mapping[str, Layer]) -> Tensor:
        """Return (width, weights): all weights that write a channel, side by side."""
        columns = []
        for writer, (name, _) in enumerate(self.channels[0]):
            rows = [slots[writer][1] for slots in self.channels]
            columns.append(layers[name].filters().detach()[rows])
        return torch.cat(columns, dim=1)


def free_layers(network: nn.Module, protected: Sequence[str]) -> dict[str, Layer]:
    """Return the layers that no pattern protects; a rate leaves the units of LSTM and GRU alone."""
    return {
        name: layer
        for name, layer in layers_of(network).items()
        if not isinstance(layer, RecurrentLayer)
        and not any(fnmatch.fnmatchcase(name, pattern) for pattern in protected)
    }


def may_lose(layer: Layer, flow: Flow) -> bool:
    """Return True if a rate asks for filters of a layer, as far as its kind and channels say.

    Of a convolution always; of a linear layer if some of its rows could go. The stream of a
    transformer, which norms bind together, is not asked for.
    """
    nodes = flow.out_nodes[layer.name]
    return layer.is_convolution or any(flow.classes.protection(node) is None for node in nodes)


def groups_of(network: nn.Module, flow: Flow, protected: Sequence[str]) -> tuple[ChannelGroup, ...]:
    """Return the groups of ``network`` that may be narrowed, in the order of their layers."""
    named: dict[str, ChannelGroup] = {}
    free = free_layers(network, protected).keys() & flow.calls.keys()
    for channels in _channels(flow, set(free), layers_of(network)):
        first = name = channels[0][0][0]
        number = 2
        while name in named:
            name, number = f"{first} {number}", number + 1
        named[name] = ChannelGroup(name, tuple(channels))
    return tuple(named.values())


def in_place(groups: Sequence[ChannelGroup], flow: Flow) -> tuple[ChannelGroup, ...]:
    """Return the groups whose channels no operator puts elsewhere.

    An exported file has numbers where the code moves channels, so it cannot be had at other widths.
    """
    moved = {flow.classes.find(node) for node in flow.moved}
    return tuple(
        group
        for group in groups
        if moved.isdisjoint(
            flow.classes.find(flow.out_nodes[name][index])
            for slots in group.channels
            for name, index in slots
        )
    )


def layers_apart(
    network: nn.Module, flow: Flow, protected: Sequence[str]
) -> tuple[ChannelGroup, ...]:
    """Return each layer that may lose filters as a group of its own, whatever reads it.

    Those that make the output are left out.
    """
    return tuple(
        ChannelGroup(name, tuple(((name, index),) for index in range(layer.out_channels)))
        for name, layer in free_layers(network, protected).items()
        if name not in flow.output_layers and may_lose(layer, flow)
    )


def _channels(flow: Flow, free: set[str], layers: Mapping[str, Layer]) -> Iterator[list[Slots]]:
    """Yield the channels of each dependency group: those that the same layers write."""
    writers: dict[int, Slots] = {}
    for name in layers:
        for channel, node in enumerate(flow.out_nodes[name]):
            index = flow.classes.find(node)
            writers[index] = (*writers.get(index, ()), (name, channel))
    parts = _parts(flow)
    groups: dict[tuple[object, ...], list[Slots]] = {}
    for index, slots in sorted(writers.items()):
        names = tuple(name for name, _ in slots)
        if free.issuperset(names) and flow.classes.protection(index) is None:
            groups.setdefault((names, parts.get(index, ())), []).append(slots)
    yield from groups.values()


def _parts(flow: Flow) -> dict[int, tuple[tuple[int, int], ...]]:
    """Return of which part of what is divided a channel is, each time that it is divided.

    Parts that must lose equally many channels are groups of their own, of one width.
    """
    found: dict[int, set[tuple[int, int]]] = {}
    for number, divided in enumerate(flow.parts):
        for position, part in enumerate(divided.parts):
            for node in part:
                found.setdefault(flow.classes.find(node), set()).add((number, position))
    return {index: tuple(sorted(places)) for index, places in found.items()}


def zeroed_counts(groups: Sequence[ChannelGroup], prune: PruneSection) -> dict[str, int]:
    """Return how many filters of each group go: by its own width, or else by the rate.

    With ``prune.align`` the groups that go by the rate do so together. Raises :class:`RecipeError`
    for a width that fits no group.
    """
    found = {group.name: count_of(prune.rate or 0.0, group.width) for group in groups}
    if prune.align > 1 and prune.rate:
        own = {_group_of(layer, groups).name for layer in prune.widths}
        rates = {group.name: 0.0 if group.name in own else prune.rate for group in groups}
        found = counts_in_blocks(groups, rates, prune.align)
    given: dict[str, str] = {}
    for layer, width in prune.widths.items():
        group = _group_of(layer, groups)
        if width > group.width:
            raise RecipeError(
                f"prune.widths: {layer} has {group.width} filters; its width must be >= 1 and <= "
                f"{group.width} (got {width})"
            )
        before = given.setdefault(group.name, layer)
        if prune.widths[before] != width:
            raise RecipeError(
                f"prune.widths: {before} and {layer} share a width, but are given "
                f"{prune.widths[before]} and {width}; give one of them"
            )
        found[group.name] = group.width - width
    return found


def named_filters(
    groups: Sequence[ChannelGroup], prune: PruneSection
) -> dict[str, tuple[int, ...]]:
    """Return which filters of a group go, of those groups whose filters are named.

    Raises :class:`RecipeError` for filters that no group has, and for more or less of them than
    its width says.
    """
    counts, found = zeroed_counts(groups, prune), {}
    for layer, indices in prune.pruned_channels.items():
        group = _group_of(layer, groups)
        named = tuple(sorted(set(indices)))
        if len(named) != counts[group.name] or any(index >= group.width for index in named):
            raise RecipeError(
                f"prune.pruned_channels: {layer} has {group.width} filters, 0 to "
                f"{group.width - 1}, of which {counts[group.name]} go by its width or the "
                f"rate; name just as many, each once (got {list(indices)})"
            )
        found[group.name] = named
    return found


def _group_of(layer: str, groups: Sequence[ChannelGroup]) -> ChannelGroup:
    found = [group for group in groups if group.name == layer]
    found = found or [group for group in groups if layer in group.layers]
    if len(found) == 1:
        return found[0]
    known = ", ".join(group.name for group in groups[:5])
    problem = "writes several groups" if found else "is no layer whose filters can be removed"
    raise RecipeError(
        f"prune.widths: {layer} {problem}; name a group by its first layer, such as {known} "
        f"(toolchain cost lists all)"
    )
