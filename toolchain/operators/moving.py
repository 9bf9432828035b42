"""Operators that put channels elsewhere: what they do to values they do to node numbers.

There is no rule for each. A tensor of the same shape, which holds at every place the number of the
channel that lies there, goes through the very same call; what comes out says where each channel
lies now. Where they then lie along several dimensions (``view(n, 2, c // 2, h, w)``), a channel
can go only together with those that lie at the same place along the others, so that what is left
still is a box: they are joined, and the channels lie along one dimension again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from toolchain.operators.classes import Classes, Nodes, Placed
from toolchain.operators.traits import Call
from toolchain.records.reasons import Reason

MOST_PLACES = 2**23
"""Of a tensor in which channels lie along several dimensions; larger ones are not followed."""


def moved(call: Call) -> list[Placed] | None:
    """Push the node numbers of the first argument, a tensor, through the call."""
    placed = call.x_placed
    return None if placed is None else _push(call, _numbers(call.x, placed))


def moved_in_equal_parts(call: Call) -> list[Placed] | None:
    """The same for ``chunk`` and ``split``: along channels, all parts must lose as many.

    Sizes that are told one by one (``split_with_sizes``) are numbers of the code, and parts of such
    sizes may lose what they lose where the numbers can be changed.
    """
    placed = call.x_placed
    if placed is None or call.dim(2) != placed.dim:
        return moved(call)
    if call.name == "split_with_sizes" and not call.watcher.numbers_follow:
        return None
    dim, start, parts = call.dim(2), 0, []
    for out in call.outputs:
        parts.append(placed.nodes[start : start + out.shape[dim]])
        start += out.shape[dim]
    if not call.watcher.numbers_follow:
        if len({len(part) for part in parts}) > 1:
            return None
        call.watcher.divide(call.name, parts)
    return [Placed(dim, part) for part in parts]


def sliced(call: Call) -> list[Placed] | None:
    """A slice of positions; of channels, one of equal parts (``x[:, : c // 2]``), or any that can
    be changed."""
    placed = call.x_placed
    if placed is None or call.dim(1) != placed.dim:
        return moved(call)
    found = moved(call)
    width, count = len(placed.nodes), call.out.shape[placed.dim]
    start, step = _start(call, width), call.args[4] if len(call.args) > 4 else 1
    if count == width or call.watcher.numbers_follow:
        return found
    if not count or step != 1 or width % count or start % count:
        return None
    parts = [placed.nodes[at : at + count] for at in range(0, width, count)]
    call.watcher.divide(call.name, parts)
    return found


def _start(call: Call, width: int) -> int:
    start = call.args[2] if len(call.args) > 2 else 0
    start = 0 if start is None else int(start)
    return start + width if start < 0 else start


def unbound(call: Call) -> list[Placed] | None:
    """``unbind`` along positions; the code knows how many channels it would give."""
    placed = call.x_placed
    return None if placed is None or call.dim(1) == placed.dim else moved(call)


def transposed_in_place(call: Call) -> list[Placed] | None:
    """``transpose_``: the tensor is turned already when this is asked."""
    placed = call.x_placed
    if placed is None:
        return None
    a, b = call.dim(1), call.dim(2)
    return [Placed({a: b, b: a}.get(placed.dim, placed.dim), placed.nodes)]


def shuffled(call: Call) -> list[Placed] | None:
    """``channel_shuffle``: what stands at one place of every group goes together."""
    placed = call.x_placed
    if placed is None or placed.dim != 1:
        return None
    width = len(placed.nodes) // int(call.args[1])
    for index, node in enumerate(placed.nodes):
        call.watcher.classes.join(node, placed.nodes[index % width])
    return moved(call)


def gated(call: Call) -> list[Placed] | None:
    """``glu``: the first half, and the second one that gates it, go together."""
    placed = call.x_placed
    dim = call.dim(1, default=-1)
    if placed is None or dim != placed.dim:
        return None if placed is None else [Placed(placed.dim, placed.nodes)]
    half = len(placed.nodes) // 2
    call.watcher.classes.join_all(placed.nodes[:half], placed.nodes[half:])
    return [Placed(dim, placed.nodes[:half])]


def laid_together(call: Call) -> list[Placed] | None:
    """``cat`` and ``stack``: channels side by side, or positions of the same channels."""
    parts: list[Tensor] = list(call.args[0])
    dim = (call.args[1] if len(call.args) > 1 else 0) % call.out.ndim
    known = [call.watcher.placed(part) for part in parts]
    dims = {each.dim for each in known if each is not None}
    if not all(known) and (call.name != "cat" or dims != {dim}):
        return None  # a fixed tensor beside positions may hold a number of channels
    if not all(known):
        return [Placed(dim, _side_by_side(call, parts, known, dim))]
    return _push(
        call,
        [_numbers(part, each) for part, each in zip(parts, known, strict=True) if each],
    )


def _side_by_side(call: Call, parts: list[Tensor], known: list[Placed | None], dim: int) -> Nodes:
    nodes: Nodes = []
    for part, each in zip(parts, known, strict=True):
        if each is None:  # the network's input, or a fixed tensor: nothing of it can go
            fixed = call.watcher.classes.new(part.shape[dim])
            call.watcher.classes.protect(fixed, Reason("no_layer_writes"))
            nodes.extend(fixed)
        else:
            nodes.extend(each.nodes)
    return nodes


def _numbers(x: Tensor, placed: Placed) -> Tensor:
    """Return the node at every place of ``x``; it takes no memory for what repeats."""
    shape = [1] * x.ndim
    shape[placed.dim] = len(placed.nodes)
    return torch.tensor(placed.nodes).view(shape).expand(x.shape)


def _push(call: Call, numbers: Tensor | list[Tensor]) -> list[Placed] | None:
    """Run the call on node numbers, and read where they lie."""
    func, args = call.func, call.args[1:]
    if func is None:
        return None
    if call.name in ("view", "_unsafe_view"):
        assert isinstance(numbers, Tensor)
        out = numbers.reshape(args[0])
    else:
        kwargs = {k: v for k, v in call.kwargs.items() if k not in ("dtype", "memory_format")}
        out = func(numbers, *args, **kwargs)
    found = [_read(call.watcher.classes, leaf) for leaf in tree_leaves(out)]
    return [each for each in found if each is not None] if all(found) else None


def _read(classes: Classes, numbers: Tensor) -> Placed | None:
    """Return where channels lie in a tensor of node numbers, along one dimension; join to it."""
    if not numbers.ndim or not numbers.numel():
        return None
    shape = numbers.shape
    varying, numbers = _varying(numbers)
    if len(varying) > 1:
        if shape.numel() > MOST_PLACES:
            return None
        varying = [_join_to_one(classes, numbers, varying)]
    default = 1 if numbers.ndim > 1 else 0
    dim = varying[0] if varying else default
    return Placed(dim, _line(numbers, dim).expand(shape[dim]).tolist())


def _varying(numbers: Tensor) -> tuple[list[int], Tensor]:
    """Return the dimensions along which numbers differ, and the numbers at one place of others."""
    found = list[int]()
    for dim in range(numbers.ndim):
        if numbers.stride(dim) == 0:
            numbers = numbers.narrow(dim, 0, 1)
    for dim in range(numbers.ndim):
        line = _line(numbers, dim)
        if bool((line != line[0]).any()) or bool((numbers != numbers.narrow(dim, 0, 1)).any()):
            found.append(dim)
        else:
            numbers = numbers.narrow(dim, 0, 1)
    return found, numbers


def _line(numbers: Tensor, dim: int) -> Tensor:
    """Return the numbers along ``dim``, at the first place of every other dimension."""
    return numbers[tuple(slice(None) if each == dim else 0 for each in range(numbers.ndim))]


def _join_to_one(classes: Classes, numbers: Tensor, varying: Sequence[int]) -> int:
    """Join what lies at one place of the dimension along which most channels differ.

    ``numbers`` vary along ``varying`` and lie at one place of all other dimensions.
    """

    def differing(dim: int) -> int:
        return len({classes.find(node) for node in _line(numbers, dim).unique().tolist()})

    dim = max(varying, key=differing)
    rows = numbers.movedim(dim, 0).flatten(1)
    base = int(rows.max()) + 1  # a pair as one number, which sorts as the pair does
    pairs = (rows[:, :1] * base + rows).unique()
    for pair in pairs.tolist():
        classes.join(*divmod(pair, base))
    return dim
