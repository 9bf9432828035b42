"""What the code gives an operator that cuts or picks: numbers and positions, by dimension."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from toolchain.models.numbers import is_in_code
from toolchain.surgery.told import Key, Told, ToldList, ToldTuple

SIZED = ("view", "reshape", "expand", "unflatten")
PARTED = ("split", "split_with_sizes")
CUT = ("narrow", "__getitem__", "select", "roll")


@dataclass(frozen=True)
class Given:
    """A number that is given for a dimension, and of which places there it is the number."""

    dim: int
    number: int
    start: int
    stop: int
    needed: bool
    """True if one of the places must be left."""


@dataclass(frozen=True)
class GivenList:
    """Positions that are given for a dimension."""

    dim: int
    positions: tuple[int, ...]
    key: Key | None
    """Where they stand; None where nothing tells."""
    cut: slice | None = None


def sizes(
    name: str, x: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Tensor
) -> Iterator[Given]:
    """Yield the sizes that were given for dimensions of the result ``out``."""
    if name == "unflatten":
        dim = args[1] if len(args) > 1 else kwargs["dim"]
        given = args[2] if len(args) > 2 else kwargs["sizes"]
        first = dim % x.ndim if isinstance(dim, int) else 0
    else:
        given = _flat(args[1:]) or _flat(list(kwargs.values()))
        first = 0
    for at, size in enumerate(given):
        if isinstance(size, int) and size > 0 and first + at < out.ndim:
            yield Given(first + at, size, 0, int(out.shape[first + at]), True)


def _flat(values: Sequence[Any]) -> list[Any]:
    return list(values[0]) if values and isinstance(values[0], tuple | list) else list(values)


def cuts(name: str, x: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Given]:
    """Return the numbers by which channels or positions are cut."""
    if name == "__getitem__":
        return [each for each in indexed(x, args[1]) if isinstance(each, Given)]
    if name == "roll":
        return list(_rolled(x, args, kwargs))
    at_dim = 2 if name in PARTED else 1
    dim = args[at_dim] if len(args) > at_dim else kwargs.get("dim", 0)
    if not isinstance(dim, int):
        return []
    dim = int(dim) % x.ndim
    if name == "select":
        index = args[2] if len(args) > 2 else kwargs["index"]
        return [_position(dim, int(x.shape[dim]), index)] if isinstance(index, int) else []
    if name == "narrow":
        return list(_narrowed(x, dim, args, kwargs))
    given = args[1] if len(args) > 1 else next(v for k, v in kwargs.items() if k != "dim")
    if isinstance(given, int):
        whole = range(0, int(x.shape[dim]) - int(given) + 1, int(given))
        return [Given(dim, given, at, at + int(given), True) for at in whole]
    found, at = list[Given](), 0
    for size in given:
        found.append(Given(dim, size, at, at + int(size), True))
        at += int(size)
    return found


def _narrowed(
    x: Tensor, dim: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[Given]:
    start = args[2] if len(args) > 2 else kwargs["start"]
    length = args[3] if len(args) > 3 else kwargs["length"]
    if isinstance(start, int):
        width = max(1, int(x.shape[dim]))
        at = int(start) % width
        if at or isinstance(start, Told):
            yield _position(dim, width, start)
        yield Given(dim, length, at, at + int(length), True)


def _rolled(x: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[Given]:
    """Yield shifts: so many of the last channels come first, or of the first ones last."""
    shifts = args[1] if len(args) > 1 else kwargs["shifts"]
    dims = args[2] if len(args) > 2 else kwargs.get("dims", ())
    shifts, dims = ([each] if isinstance(each, int) else list(each) for each in (shifts, dims))
    for shift, dim in zip(shifts, dims, strict=False):
        width = int(x.shape[dim])
        if abs(shift) <= width:
            start, stop = (width - shift, width) if shift > 0 else (0, -shift)
            yield Given(dim % x.ndim, shift, int(start), int(stop), False)


def indexed(x: Tensor, index: Any) -> Iterator[Given | GivenList]:
    """Yield the numbers and lists in ``x[index]``; nothing where a tensor or a mask picks."""
    items = index if isinstance(index, tuple) else (index,)
    if not all(each is None or each is Ellipsis or _is_plain(each) for each in items):
        return
    taken = sum(each is not None and each is not Ellipsis for each in items)
    dim = 0
    for each in items:
        if each is Ellipsis:
            dim += x.ndim - taken
        elif each is not None:
            yield from _indexed(dim, int(x.shape[dim]), each)
            dim += 1


def _is_plain(item: object) -> bool:
    if isinstance(item, list | tuple):
        return bool(item) and all(isinstance(each, int) and not _is_truth(each) for each in item)
    return isinstance(item, slice | int) and not _is_truth(item)


def _is_truth(item: object) -> bool:
    return isinstance(item, bool)


def _indexed(dim: int, width: int, item: Any) -> Iterator[Given | GivenList]:
    if isinstance(item, slice):
        yield from _sliced(dim, width, item)
    elif isinstance(item, int):
        yield _position(dim, width, item)
    else:
        key = item.key if isinstance(item, ToldList | ToldTuple) else None
        yield GivenList(dim, tuple(map(int, item)), key)


def _position(dim: int, width: int, number: int) -> Given:
    """Return a position: from the front it counts what lies before it, else what follows."""
    at = int(number)
    start, stop = (0, at) if at >= 0 else (at + width, width)
    return Given(dim, number, start, stop, at < 0)


def _written_at(step: object) -> Key | None:
    """Return where in the code a slice's step stands; None where it is worked out."""
    if not isinstance(step, Told) or len(step.keys) != 1:
        return None
    (key,) = step.keys
    return key if step.form == key and is_in_code(key[1]) else None


def _sliced(dim: int, width: int, cut: slice) -> Iterator[Given | GivenList]:
    if cut.step not in (None, 1):
        yield GivenList(dim, tuple(range(width))[cut], _written_at(cut.step), cut)
        return
    for bound in (cut.start, cut.stop):
        if isinstance(bound, Told) and (not bound.may_change or (bound.is_of_shape and not bound)):
            # It may be of the input's size.
            yield Given(dim, bound, 0, 0, False)
        elif isinstance(bound, int) and bound and abs(bound) < width:
            yield _position(dim, width, bound)
