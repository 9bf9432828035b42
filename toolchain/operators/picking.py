"""Operators that pick channels by their positions, or begin with another one.

Where the positions can be changed with the channels (:attr:`Watcher.numbers_follow`, or a buffer of
positions), all but what becomes a channel's whole tensor can go. Where they cannot, all stay: what
is a plain number here may have been worked out from the input's size.
"""

from __future__ import annotations

from torch import Tensor

from toolchain.operators.classes import Placed
from toolchain.operators.moving import moved
from toolchain.operators.traits import Call
from toolchain.records.reasons import Reason

MOST_PICKED = 2**23
"""Places of an index; larger ones are not read."""


def selected(call: Call) -> list[Placed] | None:
    """``select``: the channel that is picked stays, for what is left has no channels."""
    placed = call.x_placed
    if placed is not None and call.dim(1) == placed.dim and not _is_repeated(placed):
        if not call.watcher.numbers_follow:
            return None
        node = placed.nodes[int(call.args[2])]
        call.watcher.classes.protect([node], Reason("operator", operator=call.name))
    return moved(call)


def rolled(call: Call) -> list[Placed] | None:
    """``roll``: so many of the last channels come first."""
    placed, dims = call.x_placed, call.args[2] if len(call.args) > 2 else ()
    dims = [dim % call.x.ndim for dim in dims]
    if placed is None or not dims or len(set(dims)) < len(dims):
        return None
    if placed.dim in dims and not call.watcher.numbers_follow and not _is_repeated(placed):
        return None
    return moved(call)


def picked(call: Call) -> list[Placed] | None:
    """``index_select``, ``x[:, index]`` and ``gather`` by positions that no value decides."""
    placed, found = call.x_placed, _index(call)
    if placed is None or found is None:
        return None
    dim, index = found
    if call.watcher.placed(index) is not None or not call.watcher.is_fixed(index):
        return None
    if dim != placed.dim:
        return [Placed(placed.dim, placed.nodes)]
    positions = _line(index, dim) if call.name == "gather" else index
    if positions is None:
        return None
    listed: list[int] = positions.tolist()
    if not listed or _is_repeated(placed):
        return None
    follows = call.watcher.numbers_follow or call.watcher.picks(call.name, positions, placed.nodes)
    return [Placed(dim, [placed.nodes[position] for position in listed])] if follows else None


def _index(call: Call) -> tuple[int, Tensor] | None:
    """Return the dimension along which is picked, and the positions; None for other ways."""
    if call.name in ("index_select", "gather"):
        index = call.args[2]
        flat = call.name == "gather" or index.ndim == 1
        return (call.dim(1), index) if flat and index.numel() <= MOST_PICKED else None
    given = [(dim, each) for dim, each in enumerate(call.args[1]) if each is not None]
    if len(given) != 1:
        return None
    dim, index = given[0]
    is_list = index.ndim == 1 and not index.is_floating_point() and index.element_size() > 1
    return (dim, index) if is_list else None


def _line(index: Tensor, dim: int) -> Tensor | None:
    """Return the positions of ``gather`` where they are the same for every place along ``dim``."""
    if not index.numel() or index.ndim < 2:
        return None
    moved_index = index.movedim(dim, 0).flatten(1) if index.ndim > 1 else index[:, None]
    line = index
    for other in reversed([each for each in range(index.ndim) if each != dim % index.ndim]):
        line = line.select(other, 0)
    return line if bool((moved_index == line[:, None]).all()) else None


def _is_repeated(placed: Placed) -> bool:
    """Return True if the places along the dimension are all of one channel: they are positions."""
    return placed.is_uniform and len(placed.nodes) > 1
