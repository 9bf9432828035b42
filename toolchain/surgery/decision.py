"""What one round removes: candidates, the plan for their constants, and the reasons for both."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from toolchain.records.reasons import Channels, Reason
from toolchain.records.stages import Verdict
from toolchain.surgery.balance import surplus_of
from toolchain.surgery.constants import RemovalPlan, broken, plan_removal
from toolchain.surgery.following import counted
from toolchain.surgery.layers import Layer
from toolchain.surgery.ledger import Origins
from toolchain.surgery.observation import Observation
from toolchain.surgery.readers import PackedReader, Reader
from toolchain.surgery.spans import NEGLIGIBLE


@dataclass
class ChannelClass:
    """Channels of several layers that stay or go together."""

    index: int
    writes: list[tuple[str, int]] = field(default_factory=list)
    """(layer, output channel)."""
    reads: list[tuple[str, int]] = field(default_factory=list)
    """(layer, input channel); without layers that write what they read: depthwise ones, and those
    that lose whole groups."""


@dataclass(frozen=True)
class Decision:
    """The classes that go, and how their readers do without them."""

    classes: dict[int, ChannelClass]
    removed: frozenset[int]
    carriers: frozenset[int]
    last: Mapping[int, str]
    """Classes that could go but for a layer that would be empty -> that layer."""
    uneven: Mapping[int, str]
    """Classes that could go but for the other parts of what an operator divides -> it."""
    multiplied: Mapping[int, str]
    """Classes whose products with others are not all zero, at some size -> the operator."""
    plan: RemovalPlan


def decide(seen: Observation) -> Decision:
    """Find every class that can go."""
    classes = _collect(seen)
    unread = {name: _unread(layer) for name, layer in seen.layers.items()}
    candidates = {
        index for index, members in classes.items() if _is_candidate(seen, members, unread)
    }
    multiplied = _multiplied(seen, candidates)
    candidates -= multiplied.keys()
    readers = list(map(PackedReader.of, _readers(seen, classes, candidates, unread)))
    uneven: dict[int, str] = {}
    while True:
        plan = _checked_plan(seen, readers, candidates - uneven.keys(), uneven.keys())
        removable = candidates - plan.carriers - uneven.keys()
        last = _keep_layers_filled(seen, removable)
        removed = frozenset(removable - set(last))
        surplus = surplus_of(seen.flow, removed)
        if not surplus:
            carriers = plan.carriers - uneven.keys()
            return Decision(classes, removed, carriers, last, uneven, multiplied, plan)
        uneven |= surplus


def _multiplied(seen: Observation, candidates: set[int]) -> dict[int, str]:
    """Return the classes whose products with others are not all zero, at any size."""
    found = dict(seen.multiplied)
    if seen.flow.products and candidates - found.keys():
        for there in seen.unseen():
            found.update(there.multiplied)
    return found


def _checked_plan(
    seen: Observation, readers: list[PackedReader], candidates: set[int], kept: Collection[int]
) -> RemovalPlan:
    """Plan, and plan again without what does not hold at sizes that were not looked at."""
    held = set(kept)
    while True:
        plan = plan_removal(readers, held)
        if not candidates - plan.carriers:
            return plan
        found = {
            index
            for there in seen.unseen()
            for reader in readers
            if reader.name in there.constants
            for index in broken(
                reader, plan.combinations[reader.name], there.constants[reader.name]
            )
        }
        if not found:
            return plan
        held |= found


def _collect(seen: Observation) -> dict[int, ChannelClass]:
    classes: dict[int, ChannelClass] = {}
    find = seen.flow.classes.find
    for name, nodes in seen.flow.out_nodes.items():
        for channel, node in enumerate(nodes):
            index = find(node)
            classes.setdefault(index, ChannelClass(index)).writes.append((name, channel))
    for name, nodes in seen.flow.in_nodes.items():
        if seen.layers[name].is_depthwise or name in seen.flow.whole_groups:
            continue
        for channel, node in enumerate(nodes):
            index = find(node)
            classes.setdefault(index, ChannelClass(index)).reads.append((name, channel))
    return classes


Unread: TypeAlias = Mapping[str, Collection[int]]
"""Layer -> input channels that it has only zero weights for."""


def _is_candidate(seen: Observation, members: ChannelClass, unread: Unread) -> bool:
    """A class may go if nothing protects it and all that read it see a constant, or zero it."""
    called = seen.flow.calls
    if not members.writes or seen.flow.classes.protection(members.index) is not None:
        return False
    if not all(name in called for name, _ in [*members.writes, *members.reads]):
        return False
    return all(
        (channel in seen.constants[name] and not _has_to_carry(seen, name, channel))
        or channel in unread[name]
        for name, channel in members.reads
    )


def _has_to_carry(seen: Observation, name: str, channel: int) -> bool:
    """Return True for a constant that a convolution of several groups would have to take over."""
    vector = seen.constants[name][channel]
    return seen.layers[name].is_grouped and bool(np.abs(vector).max(initial=0.0) >= NEGLIGIBLE)


def _unread(layer: Layer) -> frozenset[int]:
    """Return the input channels for which every filter of ``layer`` has only zero weights."""
    if layer.is_grouped:
        return frozenset()
    read = (layer.columns() != 0).flatten(1).any(dim=1)
    return frozenset((~read).nonzero().flatten().tolist())


def _readers(
    seen: Observation,
    classes: dict[int, ChannelClass],
    candidates: set[int],
    unread: Unread,
) -> list[Reader]:
    readers: dict[str, Reader] = {}
    for members in classes.values():
        for name, channel in members.reads:
            vector = seen.constants.get(name, {}).get(channel)
            layer = seen.layers[name]
            if vector is None or layer.is_grouped:
                continue
            reader = readers.setdefault(name, Reader(name, seen.absorbs[name], seen.precision))
            if members.index not in candidates:
                reader.fixed[channel] = vector
            elif channel not in unread[name]:
                reader.maps[channel] = vector
                reader.classes[channel] = members.index
    return list(readers.values())


def _keep_layers_filled(seen: Observation, removable: set[int]) -> dict[int, str]:
    """Return the classes that must stay so that every layer keeps a channel, with the layer."""
    kept: dict[int, str] = {}
    for name, nodes in seen.flow.out_nodes.items():
        owners = [seen.flow.classes.find(node) for node in nodes]
        if owners and all(owner in removable and owner not in kept for owner in owners):
            kept[owners[0]] = name
    # Of parts nothing may be left, though something is of their layer.
    if seen.flow.uses or seen.flow.picks:
        for name, parts in [*seen.flow.in_nodes.items(), *counted(seen.flow)]:
            owners = [seen.flow.classes.find(node) for node in parts]
            if owners and all(owner in removable and owner not in kept for owner in owners):
                kept[owners[0]] = name
    return kept


def verdict_of(
    decision: Decision, members: ChannelClass, origins: Origins
) -> tuple[Verdict, Reason]:
    """Return what became of a class that goes, and how its readers do without it."""
    carried: dict[str, set[int]] = {}
    folded: list[str] = []
    for name, channel in members.reads:
        combination = decision.plan.combinations.get(name, {}).get(channel)
        if combination is None:
            continue
        if combination.alphas:
            carried.setdefault(name, set()).update(combination.alphas)
        elif combination.beta != 0:
            folded.append(name)
    if carried:
        carriers = tuple(
            Channels(name, origins.inputs(name, channels)) for name, channels in carried.items()
        )
        return "carried", Reason("in_weights", tuple(carried), carriers)
    if folded:
        return "folded", Reason("in_bias", tuple(dict.fromkeys(folded)))
    readers = tuple(sorted({name for name, _ in members.reads}))
    return "dropped", Reason("adds_nothing" if readers else "unread", readers)


def reason_to_keep(seen: Observation, decision: Decision, name: str, channel: int) -> Reason:
    """Return why a zeroed filter is still there."""
    node = seen.flow.out_nodes[name][channel]
    index = seen.flow.classes.find(node)
    members = decision.classes[index]
    if name not in seen.flow.calls:
        return Reason("never_called")
    protection = seen.flow.classes.protection(node)
    if protection is not None:
        return protection
    if index in decision.carriers:
        readers = {n for n, c in members.reads if c in seen.constants[n]}
        return Reason("carrier", tuple(sorted(readers)))
    if index in decision.last:
        return Reason("last", (decision.last[index],))
    if index in decision.uneven:
        return Reason("parts", operator=decision.uneven[index])
    live = sorted(set(_live_writers(seen, members)))
    if live:
        return Reason("still_written", tuple(live))
    if index in decision.multiplied:
        return Reason("product", operator=decision.multiplied[index])
    carrying = {
        name
        for name, place in members.reads
        if place in seen.constants[name] and _has_to_carry(seen, name, place)
    }
    if carrying:
        return Reason("groups", tuple(sorted(carrying)))
    tainted = {n for n, c in members.reads if c not in seen.constants.get(n, {})}
    return Reason("joined", tuple(sorted(tainted)))


def _live_writers(seen: Observation, members: ChannelClass) -> Iterator[str]:
    for name, channel in members.writes:
        if name in seen.written_live and bool(seen.written_live[name][channel]):
            yield name
