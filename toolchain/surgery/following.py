"""What the numbers of channels in a network's code become once channels are gone."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from toolchain.models.numbers import Change, Changes, change_numbers
from toolchain.records.reasons import Reason
from toolchain.records.stages import Number
from toolchain.surgery.channels import Flow, Parts, Use
from toolchain.surgery.indices import INTEGERS, put_positions
from toolchain.surgery.told import Key, worked_out


class UnfollowedError(Exception):
    """No number fits all that it counts."""

    def __init__(self, nodes: Collection[int]) -> None:
        super().__init__("no number fits")
        self.nodes = nodes


def note_shapes(flow: Flow, found: Iterable[tuple[str | None, Use]]) -> None:
    """Note the numbers from shapes that count other channels than lie there.

    ``found`` has each with the module whose code it is in. Others follow by themselves.
    """
    find = flow.classes.find
    for module, use in found:
        if use.nodes is None:
            continue
        there = [find(node) for key in use.keys for node in flow.shapes.get(key, ())]
        here = [find(node) for node in use.nodes]
        bare = len(use.keys) == 1 and use.form in use.keys
        if not bare and not all(flow.shapes.get(key, True) for key in use.keys):
            continue  # of a tensor without channels: the run will tell
        if sorted(here) == sorted(there) if bare else set(here) == set(there):
            continue
        flow.uses.append(use)
        if module is not None:
            flow.unknown.setdefault(module, []).append((use.operator, use.nodes))


def hold_pinned(flow: Flow) -> None:
    """Let channels stay whose number the code takes a root of, or works with in another way.

    Numbers of shapes that count other channels, as they do where an embedding is divided into
    heads, hold those that they count, unless one number is the other one's.
    """
    pinned = Reason("operator", operator="pow")
    for key in flow.pins:
        flow.classes.protect(flow.shapes.get(key, ()), pinned)
    for use in flow.uses:
        if use.nodes and use.keys & flow.pins:
            flow.classes.protect(use.nodes, pinned)
        elif use.nodes and use.keys & flow.shapes.keys() and use.form not in use.keys:
            flow.classes.protect(use.nodes, Reason("operator", operator=use.operator))


def tie(flow: Flow) -> None:
    """Let channels that one number counts in several places lose equally many in each."""
    counted: dict[object, dict[tuple[int, ...], str]] = {}
    for use in flow.uses:
        if use.nodes is not None:
            lists = counted.setdefault((use.form, use.sign), {})
            lists[use.nodes] = use.operator
            if use.form in flow.shapes:
                lists.setdefault(flow.shapes[use.form], use.operator)
    for lists in counted.values():
        if len(lists) > 1:
            flow.parts.append(Parts(next(iter(lists.values())), tuple(lists)))


def numbers_after(flow: Flow, removed: Collection[int]) -> dict[Key, int]:
    """Return the numbers that change, by place, once the classes ``removed`` are gone.

    Raises :class:`UnfollowedError` with the channels of a number that cannot fit them all.
    """
    values = dict(flow.values)
    for key, nodes in flow.shapes.items():
        if nodes:  # else of a tensor without channels, which stays as it is
            values[key] = sum(flow.classes.find(node) not in removed for node in nodes)
    for use in flow.uses:
        if (
            len(use.keys) == 1
            and not use.keys & flow.shapes.keys()
            and _count(flow, use, removed) != worked_out(use.form, values)
        ):
            key = next(iter(use.keys))
            values[key] = _fitting(flow, use, removed, values, key)
    for use in flow.uses:
        count = _count(flow, use, removed)
        if count != worked_out(use.form, values) or (count == 0 and use.needed):
            raise UnfollowedError(_nodes_of(flow, use.keys))
    return {
        key: value
        for key, value in values.items()
        if key not in flow.shapes
        and (
            value != flow.values[key]
            or worked_out(flow.worked_out.get(key, value), values) != value
        )
    }


def picks_after(flow: Flow, removed: Collection[int]) -> dict[Key, tuple[int, ...]]:
    """Return the positions of picked channels that change, by place, once ``removed`` are gone.

    Raises :class:`UnfollowedError` where a list is there for something else, too.
    """
    found: dict[Key, tuple[int, ...]] = {}
    for key, pick in flow.picks.items():
        kept = [flow.classes.find(node) not in removed for node in pick.nodes]
        after = tuple(_moved(kept, each) for each in pick.positions if kept[each])
        same = pick.positions if pick.cut is None else tuple(range(sum(kept)))[pick.cut]
        if after == same:
            continue
        module, place = key
        entries = [use for use in flow.uses if _is_entry(use, module, place)]
        if key in flow.fixed or entries or not after:
            raise UnfollowedError(pick.nodes)
        found[key] = after
    return found


def _moved(kept: Sequence[bool], position: int) -> int:
    """Return where a channel is that stays, counted from the end where it was."""
    return sum(kept[:position]) if position >= 0 else -sum(kept[position:])


def _is_entry(use: Use, module: str, place: str) -> bool:
    """Return True for a number that is an entry of a list in an attribute."""
    return any(name == module and at.startswith(f"{place}.") for name, at in use.keys)


def _count(flow: Flow, use: Use, removed: Collection[int]) -> int:
    if use.nodes is None:
        return worked_out(use.form, flow.values)
    return use.sign * sum(flow.classes.find(node) not in removed for node in use.nodes)


def _fitting(
    flow: Flow, use: Use, removed: Collection[int], values: Mapping[Key, int], key: Key
) -> int:
    wanted, now = _count(flow, use, removed), flow.values[key]
    for value in range(now, -1, -1) if now > 0 else range(now, 1):
        with contextlib.suppress(ZeroDivisionError):
            if worked_out(use.form, {**values, key: value}) == wanted:
                return value
    raise UnfollowedError(_nodes_of(flow, use.keys))


def _nodes_of(flow: Flow, keys: Iterable[Key]) -> set[int]:
    """Return all channels that numbers at some places count."""
    wanted = set(keys)
    return {node for use in flow.uses if use.keys & wanted for node in use.nodes or ()}


def change(
    network: nn.Module,
    flow: Flow,
    numbers: Mapping[Key, int],
    picks: Mapping[Key, tuple[int, ...]],
) -> None:
    """Put new numbers and positions into ``network``, in place."""
    by_module: dict[str, dict[str, Change]] = {}
    for (name, place), after in numbers.items():
        by_module.setdefault(name, {})[place] = flow.values[name, place], after
    for (name, place), positions in picks.items():
        if (name, place) in flow.lists:
            by_module.setdefault(name, {})[place] = flow.lists[name, place], positions
        else:
            put_positions(network, place, positions)
    for name, places in by_module.items():
        change_numbers(network.get_submodule(name), places)


def counted(flow: Flow) -> Sequence[tuple[str, tuple[int, ...]]]:
    """Return what must not become empty: the operator that cuts it, and its nodes."""
    picked = [(pick.operator, pick.picked) for pick in flow.picks.values()]
    return [*((use.operator, use.nodes) for use in flow.uses if use.needed and use.nodes), *picked]


def moved_by_arithmetic(flow: Flow, removed: Collection[int]) -> list[str]:
    """Return the operators that put removed channels elsewhere without a number of the code."""
    find = flow.classes.find
    counted_too = {find(node) for use in flow.uses for node in use.nodes or ()}
    counted_too |= {find(node) for pick in flow.picks.values() for node in pick.nodes}
    gone = set(removed) - counted_too
    return list(dict.fromkeys(name for node, name in flow.moved.items() if find(node) in gone))


def buffers_of(network: nn.Module) -> dict[str, Tensor]:
    """Return the buffers of a network that may hold positions."""
    return {name: each for name, each in network.named_buffers() if each.dtype in INTEGERS}


def changed_buffers(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor]
) -> tuple[Number, ...]:
    """Return the positions that were changed in buffers."""
    return tuple(
        Number(*name.rpartition(".")[::2], tuple(before[name].tolist()), tuple(each.tolist()))
        for name, each in after.items()
        if not torch.equal(each, before[name])
    )


def changed_numbers(before: Changes, after: Changes) -> tuple[Number, ...]:
    """Return what was changed between two states of a network."""
    found = []
    for module, places in after.items():
        for place, (first, now) in places.items():
            known = before.get(module, {})
            was = known.get(place, (first, first))[1]
            if was != now or place not in known:  # or it stands where the code worked it out
                found.append(Number(module, place, was, now))
    return tuple(found)
