"""Values put in another order, in steps that the converter gets right.

pnnx takes the first axis for the batch, of which the runtime knows nothing, and has four axes more.
Where reshaping and transposing go through a value of other axes (heads and tokens of an attention,
windows of a picture), the way from where numbers are computed to where they are read is found as a
whole: which blocks of the one lie where in the other. It is written anew with a batch of one and
three axes at most, in several steps where one does not do.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from toolchain.exporting.graph import Graph, attributes

RESHAPES = ("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
"""Operators that keep the order of numbers."""
AXES = 4
"""That the runtime has beside the batch."""
WRITTEN = 3
"""That are written here: with the batch they are no more than the runtime has without one."""
Sides = tuple[int, ...]


def sides_of(graph: Graph, name: str) -> Sides | None:
    """Return a value's sides; None if one is free or not known."""
    shape = graph.shape(name)
    if shape is None or None in shape:
        return None
    return tuple(side or 0 for side in shape)


def is_odd(graph: Graph, name: str) -> bool:
    """Tell whether a value is not one of a batch of one, or has too many axes."""
    sides = sides_of(graph, name)
    if not sides or graph.constant(name) is not None:
        return False
    return sides[0] != 1 or len(sides) > 1 + AXES


def plain_order(graph: Graph, fixed: Collection[str] = ()) -> int:
    """Write ways through odd values anew, in place; return how many.

    ``fixed`` are outputs of nodes that stay as they are.
    """
    found = [
        (node, way)
        for node in graph.nodes
        if _is_end(graph, node, fixed)
        and (way := _way_to(graph, node.output[0], fixed)) is not None
    ]
    written: dict[Any, str] = {}
    for node, way in found:
        _write(graph, node, way, written)
    graph.sweep()
    return len(found)


def _is_order(node: onnx.NodeProto | None, fixed: Collection[str]) -> bool:
    return (
        node is not None
        and node.op_type in (*RESHAPES, "Transpose")
        and node.output[0] not in fixed
    )


def _is_end(graph: Graph, node: onnx.NodeProto, fixed: Collection[str]) -> bool:
    """Tell whether a value is put in order, and read by something that does not do that."""
    if not _is_order(node, fixed):
        return False
    name = node.output[0]
    readers = graph.readers(name)
    return name in graph.outputs or any(not _is_order(each, fixed) for each in readers)


@dataclass
class _Way:
    """From a value to one of other order: numbers in blocks, by size, each known by its place."""

    root: str
    sizes: list[int]
    """Of the blocks, as they lie in the root."""
    axes: list[list[int]]
    """Of the value: which blocks each axis is made of."""

    def transpose(self, perm: Sequence[int]) -> None:
        self.axes = [self.axes[index] for index in perm]

    def reshape(self, sides: Sides) -> bool:
        """Regroup blocks, cutting them where need be; False if they cannot be cut so."""
        rest = [block for axis in self.axes for block in axis]
        axes: list[list[int]] = []
        for side in sides:
            axis: list[int] = []
            while (left := side // math.prod(self.sizes[block] for block in axis)) > 1:
                if not rest:
                    return False
                size = self.sizes[rest[0]]
                if left % size and size % left:
                    return False
                if size > left:
                    self._cut(rest[0], left, (rest, axis, *axes))
                axis.append(rest.pop(0))
            axes.append(axis)
        self.axes = axes
        return not rest

    def _cut(self, block: int, outer: int, lists: Sequence[list[int]]) -> None:
        """Make two blocks of one, the first of ``outer``; those behind it move up."""
        self.sizes[block : block + 1] = [outer, self.sizes[block] // outer]
        for each in lists:
            moved = [place + (place > block) for place in each]
            if block in moved:
                moved.insert(moved.index(block) + 1, block + 1)
            each[:] = moved

    def blocks(self) -> tuple[list[int], list[int]]:
        """Return the blocks' sizes in the root, and their order in the value, as few as can be."""
        order = [block for axis in self.axes for block in axis]
        runs: list[list[int]] = []
        for block in order:
            if runs and runs[-1][-1] == block - 1:
                runs[-1].append(block)
            else:
                runs.append([block])
        starts = sorted(run[0] for run in runs)
        sizes = {run[0]: math.prod(self.sizes[block] for block in run) for run in runs}
        return [sizes[start] for start in starts], [starts.index(run[0]) for run in runs]


def _way_to(graph: Graph, name: str, fixed: Collection[str]) -> _Way | None:
    """Return the way to a value; None if it goes through no odd value or cannot be written."""
    nodes: list[onnx.NodeProto] = []
    root = name
    while _is_order(node := graph.maker(root), fixed):
        assert node is not None
        nodes.insert(0, node)
        root = node.input[0]
    sides = sides_of(graph, root)
    passed = [root, *(node.output[0] for node in nodes)]
    if not sides or 0 in sides or graph.constant(root) is not None:
        return None
    if not any(is_odd(graph, each) for each in passed):
        return None
    way = _Way(root, [side for side in sides if side > 1], _without_ones(sides))
    for node in nodes:
        after = sides_of(graph, node.output[0])
        if after is None:
            return None
        if node.op_type == "Transpose":
            default = list(reversed(range(len(after))))
            way.transpose(attributes(node).get("perm", default))
        elif not way.reshape(after):
            return None
    return way


def _without_ones(sides: Sides) -> list[list[int]]:
    """Return the blocks of each axis of the root: one, or none where the side is one."""
    axes, count = list[list[int]](), 0
    for side in sides:
        axes.append([count] if side > 1 else [])
        count += side > 1
    return axes


def _write(graph: Graph, end: onnx.NodeProto, way: _Way, written: dict[Any, str]) -> None:
    """Put a way in the place of its last node; ``written`` are values in order, by their ways."""
    sides = sides_of(graph, end.output[0])
    made: list[onnx.NodeProto] = []
    name, done = way.root, tuple[Any, ...]()
    for view, perm in _steps(*way.blocks()):
        done += (view, perm)
        known = written.get((way.root, done))
        if known is None:
            if view != sides_of(graph, name):
                made.append(reshaped(graph, name, view, f"{end.output[0]}_blocks"))
                name = made[-1].output[0]
            made.append(graph.make("Transpose", [name], f"{end.output[0]}_turned", perm=perm))
            known = written[way.root, done] = made[-1].output[0]
        name = known
    assert sides is not None
    if not done and sides == sides_of(graph, name) and end.output[0] not in graph.outputs:
        graph.bypass(end, name)
        return
    last = reshaped(graph, name, sides, f"{end.output[0]}_sides")
    last.output[0] = end.output[0]
    graph.replace(end, [*made, last])


def _steps(sizes: Sequence[int], order: Sequence[int]) -> list[tuple[Sides, Sides]]:
    """Return transpositions, each with the sides of what it is done to, that order blocks so.

    Blocks that come first are moved to the front, the last of them first.
    """
    if len(order) <= 1:
        return []
    if len(order) <= WRITTEN:
        return [((1, *sizes), (0, *(1 + block for block in order)))]
    kept = next(at for at in range(len(order)) if list(order[at:]) == sorted(order[at:]))
    now, steps = list(range(len(sizes))), list[tuple[Sides, Sides]]()
    for block in reversed(order[:kept]):
        at = now.index(block)
        if at:
            cuts = [part for part in (now[:at], [block], now[at + 1 :]) if part]
            view = (math.prod(sizes[each] for each in part) for part in cuts)
            steps.append(((1, *view), (0, 2, 1, 3)[: 1 + len(cuts)]))
            now = [block, *cuts[0], *now[at + 1 :]]
    return steps


def reshaped(graph: Graph, value: str, sides: Sequence[int], name: str) -> onnx.NodeProto:
    """Return a new node that gives a value other sides."""
    shape = graph.add_constant(f"{name}_to", np.array(sides, np.int64))
    return graph.make("Reshape", [value, shape], name)
