"""Where numbers of channels stand in a module's code, as ``torch.fx`` has it.

Views, splits, slices and what else is given numbers of channels; and roots of a width, by which
attention is scaled: those must stay what they were when the width is another one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import fx

Change = Callable[[str, Any], Any]
"""A place in the code and what is there -> what shall be there: a number, or a list of picked
positions; of a slice with a step (``::2``) the slice itself, and such a list in its stead. What the
code works out, from a shape say, is a node of the graph in place of a number."""

Value = int | str | tuple[int, ...]
"""What is at a place, as files have it: a number, a list, or a slice with a step as it is written.
"""

NUMBERS: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "view": (1, ("shape", "size")),
    "reshape": (1, ("shape",)),
    "expand": (1, ("size",)),
    "unflatten": (2, ("sizes",)),
    "split": (1, ("split_size", "split_size_or_sections")),
    "split_with_sizes": (1, ("split_sizes",)),
    "narrow": (2, ("start", "length")),
    "select": (2, ("index",)),
    "roll": (1, ("shifts",)),
    "getitem": (1, ()),
}
"""Operators -> the first argument that holds numbers of channels, and their names."""

LAST = {"split": 1, "split_with_sizes": 1, "unflatten": 2, "getitem": 1, "select": 2, "roll": 1}
POSITIONS = ("getitem", "select", "roll", "narrow")
"""Operators -> the last such argument, where others follow; and those given positions, too."""

ROOTS = ("pow", "sqrt")
ATTENTION = "scaled_dot_product_attention"
SCALE = "scale"
"""What takes a root of a number; attention, which takes that of its queries' width unless it is
given a scale; and the place of that scale, whose number is the width."""


def with_numbers(
    node: fx.Node, args: tuple[Any, ...], kwargs: Mapping[str, Any], change: Change
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a call's arguments with every number that may be of channels as ``change`` says.

    ``args`` and ``kwargs`` are the node's own, or values in their places. Places are named after
    the node: ``split:1.0`` is the first entry of its second argument. A root's number is one that
    the code works out: another one that is given for it is what the root is taken of from then on.
    """
    name = operator_of(node)
    if name in ROOTS:
        return _with_root(node, args, kwargs, change)
    if name == ATTENTION:
        return _with_scale(node, args, kwargs, change)
    if name not in NUMBERS:
        return args, dict(kwargs)
    first, names = NUMBERS[name]
    last = LAST.get(name, len(args))

    def bound(given: object, value: Any, place: str) -> Any:
        return change(place, value) if type(given) is int or isinstance(given, fx.Node) else value

    def walk(given: Any, value: Any, place: str) -> Any:
        if name == "getitem" and _is_pick(given):
            return change(place, value)
        if isinstance(given, slice) and isinstance(value, slice):
            start = bound(given.start, value.start, f"{place}.start")
            return slice(start, bound(given.stop, value.stop, f"{place}.stop"), value.step)
        if isinstance(given, tuple | list):
            pairs = enumerate(zip(given, value, strict=True))
            items = [walk(a, b, f"{place}.{number}") for number, (a, b) in pairs]
            return tuple(items) if isinstance(given, tuple) else items
        if name == "getitem" and isinstance(given, fx.Node):  # a position or mask, worked out
            return value
        return bound(given, value, place)

    new = [
        walk(given, value, f"{node.name}:{number}") if first <= number <= last else value
        for number, (given, value) in enumerate(zip(node.args, args, strict=True))
    ]
    named = {
        key: walk(node.kwargs[key], value, f"{node.name}:{key}") if key in names else value
        for key, value in kwargs.items()
    }
    return tuple(new), named


def _is_pick(given: object) -> bool:
    """Return True for a list of positions, and for a slice that leaves some out."""
    if isinstance(given, slice):
        parts = (given.start, given.stop, given.step)
        return given.step not in (None, 1) and all(
            type(each) in (int, type(None)) for each in parts
        )
    return isinstance(given, list) and bool(given) and all(type(each) is int for each in given)


def value_of(given: Any) -> Value:
    """Return what is at a place as files have it."""
    if isinstance(given, slice):
        parts = (given.start, given.stop, given.step)
        return ":".join("" if each is None else str(int(each)) for each in parts)
    return tuple(map(int, given)) if isinstance(given, list | tuple) else int(given)


def is_positional(node: fx.Node) -> bool:
    """Return True for an operator that is given positions, of which 1 and -1 may change, too."""
    return operator_of(node) in POSITIONS


def is_rooted(node: fx.Node) -> bool:
    """Return True for an operator that takes a root of a width, or may."""
    return operator_of(node) in (*ROOTS, ATTENTION)


def is_scale(place: str) -> bool:
    """Return True for the scale of attention, whose number is the width of which it is the root."""
    return place.endswith(f":{SCALE}")


def operator_of(node: fx.Node) -> str:
    """Return the name of what a node calls; of other nodes nothing."""
    if node.op == "call_method":
        return str(node.target)
    return getattr(node.target, "__name__", "") if node.op == "call_function" else ""


def _with_root(
    node: fx.Node, args: tuple[Any, ...], kwargs: Mapping[str, Any], change: Change
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a call's arguments with the width of which a root is taken as ``change`` says."""
    if not node.args or not isinstance(node.args[0], fx.Node):
        return args, dict(kwargs)
    return (change(f"{node.name}:0", args[0]), *args[1:]), dict(kwargs)


def _with_scale(
    node: fx.Node, args: tuple[Any, ...], kwargs: Mapping[str, Any], change: Change
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a call's arguments with the scale that it takes from the width of its queries.

    ``change`` is given the queries for it, and gives the width of which it shall be the root.
    """
    if kwargs.get("scale") is not None or not (args or "query" in kwargs):
        return args, dict(kwargs)
    width = change(f"{node.name}:{SCALE}", args[0] if args else kwargs["query"])
    return args, {**kwargs, "scale": width**-0.5} if type(width) is int else dict(kwargs)
