"""What the numbers of channels in a network's code become once channels are gone."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence

from torch import nn

from toolchain.models.numbers import Changes, change_numbers
from toolchain.records.stages import Number
from toolchain.surgery.channels import Flow, Parts, Use
from toolchain.surgery.told import Key, worked_out


class UnfollowedError(Exception):
    """No number fits all that it counts."""

    def __init__(self, nodes: Collection[int]) -> None:
        super().__init__("no number fits")
        self.nodes = nodes


def tie(flow: Flow) -> None:
    """Let channels that one number counts in several places lose equally many in each."""
    counted: dict[object, dict[tuple[int, ...], str]] = {}
    for use in flow.uses:
        if use.nodes is not None:
            counted.setdefault((use.form, use.sign), {})[use.nodes] = use.operator
    for lists in counted.values():
        if len(lists) > 1:
            flow.parts.append(Parts(next(iter(lists.values())), tuple(lists)))


def numbers_after(flow: Flow, removed: Collection[int]) -> dict[Key, int]:
    """Return the numbers that change, by place, once the classes ``removed`` are gone.

    Raises :class:`UnfollowedError` with the channels of a number that cannot fit them all.
    """
    values = dict(flow.values)
    for use in flow.uses:
        if len(use.keys) == 1 and _count(flow, use, removed) != worked_out(use.form, values):
            key = next(iter(use.keys))
            values[key] = _fitting(flow, use, removed, values, key)
    for use in flow.uses:
        count = _count(flow, use, removed)
        if count != worked_out(use.form, values) or (count == 0 and use.needed):
            raise UnfollowedError(_nodes_of(flow, use.keys))
    return {key: value for key, value in values.items() if value != flow.values[key]}


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


def change(network: nn.Module, flow: Flow, numbers: Mapping[Key, int]) -> None:
    """Put new numbers into ``network``, in place."""
    by_module: dict[str, dict[str, tuple[int, int]]] = {}
    for (name, place), after in numbers.items():
        by_module.setdefault(name, {})[place] = flow.values[name, place], after
    for name, places in by_module.items():
        change_numbers(network.get_submodule(name), places)


def counted(flow: Flow) -> Sequence[tuple[str, tuple[int, ...]]]:
    """Return what must not become empty: the operator that cuts it, and its nodes."""
    return [(use.operator, use.nodes) for use in flow.uses if use.needed and use.nodes]


def moved_by_arithmetic(flow: Flow, removed: Collection[int]) -> list[str]:
    """Return the operators that put removed channels elsewhere without a number of the code."""
    find = flow.classes.find
    counted_too = {find(node) for use in flow.uses for node in use.nodes or ()}
    gone = set(removed) - counted_too
    return list(dict.fromkeys(name for node, name in flow.moved.items() if find(node) in gone))


def changed_numbers(before: Changes, after: Changes) -> tuple[Number, ...]:
    """Return what was changed between two states of a network."""
    found = []
    for module, places in after.items():
        for place, (first, now) in places.items():
            was = before.get(module, {}).get(place, (first, first))[1]
            if was != now:
                found.append(Number(module, place, was, now))
    return tuple(found)
