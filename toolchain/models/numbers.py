"""Numbers of channels that a network's code holds, once channels are gone.

A number stands in an attribute of a module (``self.c``), where it is set, or in the code itself
(``split((32, 32), 1)``), where the module's ``forward`` is written anew
(:mod:`~toolchain.models.rewriting`). A module remembers what was changed, so that files can tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from toolchain.errors import CheckpointError
from toolchain.models.places import Value, value_of
from toolchain.models.rewriting import RewritingError, rewrite

CHANGED = "_toolchain_numbers"
"""Attribute of a module whose numbers were changed: by place, the number before and after."""

Change = tuple[Value, Value]
"""What was at a place, and what is there now."""

Changes = Mapping[str, Mapping[str, Change]]
"""Module -> place -> (before, after). A place is an attribute (``c``), an entry of one that is a
tuple or list (``sizes.1``), or, with a colon, in the code (``split:1.0``). Positions of channels
that are picked are one value (``getitem:1.1``)."""


def is_in_code(place: str) -> bool:
    """Return True for a number of the code, False for one of an attribute."""
    return ":" in place


def change_numbers(module: nn.Module, numbers: Mapping[str, Change]) -> None:
    """Put new numbers into places of ``module``, in place: what is there, and what shall be.

    Raises :class:`RewritingError` where its ``forward`` cannot be written anew.
    """
    known: dict[str, Change] = dict(vars(module).get(CHANGED, {}))
    for place, (now, after) in numbers.items():
        known[place] = (known[place][0] if place in known else now, after)
    take_changes(module, known)


def take_changes(module: nn.Module, changes: Mapping[str, Change]) -> None:
    """Put numbers into a module of the original network, by place (before, after), in place."""
    for place, (_, after) in changes.items():
        if not is_in_code(place):
            _set(module, place, after)
    in_code = {place: pair for place, pair in changes.items() if is_in_code(place)}
    if in_code:
        rewrite(module, in_code)
    module.__dict__[CHANGED] = dict(changes)


def changes_of(network: nn.Module) -> Changes:
    """Return all numbers of ``network`` that were changed."""
    return {
        name: dict(vars(module)[CHANGED])
        for name, module in network.named_modules()
        if CHANGED in vars(module)
    }


def value_at(module: nn.Module, place: str) -> Value | None:
    """Return the number or list in an attribute, or in an entry of it; None where there is none."""
    name, _, entry = place.partition(".")
    value = vars(module).get(name)
    if entry:
        known = isinstance(value, tuple | list) and entry.isdigit() and int(entry) < len(value)
        value = value[int(entry)] if known else None  # type: ignore[index]
    if isinstance(value, tuple | list) and all(type(each) is int for each in value):
        return value_of(value)
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _set(module: nn.Module, place: str, number: Value) -> None:
    name, _, entry = place.partition(".")
    value = vars(module)[name]
    if entry:
        items = [number if str(at) == entry else item for at, item in enumerate(value)]
        module.__dict__[name] = type(value)(items)
    else:
        module.__dict__[name] = type(value)(number) if isinstance(number, tuple) else number


def read_changes(network: nn.Module, content: object, file: str) -> None:
    """Put the numbers that a file tells into ``network``, in place.

    Raises :class:`CheckpointError` where they are not those of this network.
    """
    modules = dict(network.named_modules())
    for name, places in _table(content, file).items():
        module = modules.get(name)
        if module is None:
            raise _refused(file, f"the network has no module {name}")
        changes = {place: _pair(pair, file) for place, pair in _table(places, file).items()}
        known = vars(module).get(CHANGED, {})
        for place, (before, after) in changes.items():
            own = known[place][0] if place in known else value_at(module, place)
            there = before if is_in_code(place) else own
            if there != before or not _is_less(before, after):
                raise _refused(file, f"{place} of {name} must be {before} (got {there})")
        try:
            take_changes(module, {**known, **changes})
        except RewritingError as error:
            raise _refused(file, f"the code of {name}: {error}") from error


def _table(content: object, file: str) -> Mapping[str, Any]:
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise _refused(file, "its numbers of channels are damaged")
    return content


def _pair(content: object, file: str) -> Change:
    pair = [_value(each) for each in content] if isinstance(content, list) else []
    if len(pair) != 2 or pair[0] is None or pair[1] is None or isinstance(pair[1], str):
        raise _refused(file, "its numbers of channels are damaged")
    return pair[0], pair[1]


def _value(content: object) -> Value | None:
    if isinstance(content, list) and content and all(type(each) is int for each in content):
        return tuple(content)
    return content if isinstance(content, str) or type(content) is int else None


def _is_less(before: Value, after: Value) -> bool:
    """Return True if channels that went can have made one of the other."""
    if isinstance(before, int) and isinstance(after, int):
        return abs(after) <= abs(before)
    if isinstance(before, tuple) and isinstance(after, tuple):
        return len(after) <= len(before)
    return isinstance(before, str) and isinstance(after, tuple)


def _refused(file: str, why: str) -> CheckpointError:
    return CheckpointError(
        f"{file} is of a network whose code holds numbers of channels, and does not fit: {why}; "
        f"give the network that was shrunk, as it was"
    )
