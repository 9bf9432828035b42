"""Widths filled up with zero filters to whole blocks of channels.

ncnn keeps four channels side by side; a width that is no multiple of four falls out of its fast
kernels. Here such a value gets channels that are zero and that whoever reads it multiplies by zero:
the same sums, with zeros added. Channels keep their order; where values are laid side by side,
zeros stand between them, and the readers' weights move along.

Values that go through one another channel by channel (activations, sums, resizing) share a layout.
What is read by an operator that is not known here keeps its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import onnx
from numpy.typing import NDArray

from toolchain.exporting.graph import Array, Graph, attributes

BLOCK = 4
CHANNELWISE = (
    "Add", "AveragePool", "Clip", "Dropout", "Elu", "GlobalAveragePool", "HardSigmoid",
    "HardSwish", "Identity", "LeakyRelu", "Max", "MaxPool", "Min", "Mul", "PRelu", "Relu", "Resize",
    "Sigmoid", "Sub", "Tanh",
)  # fmt: skip
"""Operators that leave channels where they are."""
Layout = NDArray[np.intp]
"""Where each channel lies in the filled-up value; its last entry is the new width."""
WidthOf = Callable[[str], int | None]


def align_widths(graph: Graph, free: Collection[str] = (), block: int = BLOCK) -> int:
    """Fill up widths in place; return how many values have new ones.

    ``free`` are outputs of the graph that may be filled up as well.
    """
    shares = Shares(graph, free)
    layouts = shares.layouts(block)
    changed = {name for name, layout in layouts.items() if layout[-1] != len(layout) - 1}
    if not changed:
        return 0
    for node in graph.nodes:
        if node.op_type == "Conv":
            _fill_convolution(graph, node, layouts)
        elif node.op_type == "PRelu":
            _fill_slopes(graph, node, layouts)
        elif node.op_type == "Resize":
            _fill_sizes(graph, node, layouts)
    return len(changed)


class Shares:
    """Which values share a layout, and which may be filled up."""

    def __init__(self, graph: Graph, free: Collection[str]) -> None:
        self.graph = graph
        self._parents: dict[str, str] = {}
        self.kept: set[str] = set()
        """Values whose layout stays."""
        self.joins = [node for node in graph.nodes if _is_join(graph, node)]
        for node in graph.nodes:
            self._take(node)
        self.kept |= {name for name in graph.outputs if name not in free}

    def root(self, name: str) -> str:
        """Return the value that stands for all that share a layout with this one."""
        parent = self._parents.setdefault(name, name)
        if parent != name:
            parent = self._parents[name] = self.root(parent)
        return parent

    def _take(self, node: onnx.NodeProto) -> None:
        graph = self.graph
        values = [name for name in node.input if name and graph.constant(name) is None]
        if node.op_type == "Conv":
            if is_depthwise(graph, node):
                self._share(node.input[0], node.output[0])
            elif attributes(node).get("group", 1) != 1 or not _owns_weights(graph, node):
                self.kept |= {*values, *node.output}
        elif _is_channelwise(graph, node):
            for name in values:
                self._share(name, node.output[0])
        elif not _is_join(graph, node):
            self.kept |= {*values, *node.output}
        self.kept |= {name for name in values if graph.maker(name) is None}

    def _share(self, one: str, other: str) -> None:
        self._parents[self.root(one)] = self.root(other)

    def layouts(self, block: int, width_of: WidthOf | None = None) -> dict[str, Layout]:
        """Return the layout of every value of the graph that has channels.

        ``width_of`` gives a value's channels, None where it has none: other widths than the
        graph's own.
        """
        own: WidthOf = width_of or (lambda name: _width(self.graph, name))
        kept = {self.root(name) for name in self.kept}
        while True:
            found, clash = self._attempt(kept, block, own)
            if clash is None:
                return found
            kept |= clash

    def _attempt(
        self, kept: set[str], block: int, width_of: WidthOf
    ) -> tuple[dict[str, Layout], set[str] | None]:
        """Lay out everything, or return what must be kept so that it can be."""
        roots: dict[str, Layout] = {}
        joined = {self.root(node.output[0]): node for node in self.joins}
        for node in self.graph.nodes:
            for name in node.output:
                width, root = width_of(name), self.root(name)
                if width is None or root in roots:
                    continue
                if root in kept:
                    roots[root] = _plain(width, width)
                elif root not in joined:
                    roots[root] = _plain(width, -(-width // block) * block)
            if _is_join(self.graph, node):
                root = self.root(node.output[0])
                parts = [roots.get(self.root(name)) for name in node.input]
                if any(part is None for part in parts):
                    return {}, {root, *(self.root(name) for name in node.input)}
                layout = _side_by_side([part for part in parts if part is not None])
                if root in roots and not np.array_equal(roots[root], layout):
                    return {}, {root, *(self.root(name) for name in node.input)}
                roots[root] = layout
        names = {name for node in self.graph.nodes for name in node.output}
        return {name: roots[self.root(name)] for name in names if self.root(name) in roots}, None


def _plain(width: int, filled: int) -> Layout:
    return np.append(np.arange(width), filled)


def _side_by_side(parts: list[Layout]) -> Layout:
    starts = np.cumsum([0, *(int(part[-1]) for part in parts)])
    moved = [part[:-1] + start for part, start in zip(parts, starts, strict=False)]
    return np.append(np.concatenate(moved), starts[-1])


def _width(graph: Graph, name: str) -> int | None:
    shape = graph.shape(name)
    return shape[1] if shape is not None and len(shape) == 4 else None


def _is_join(graph: Graph, node: onnx.NodeProto) -> bool:
    return (
        node.op_type == "Concat"
        and attributes(node).get("axis") == 1
        and all(graph.constant(name) is None for name in node.input)
        and _width(graph, node.output[0]) is not None
    )


def is_depthwise(graph: Graph, node: onnx.NodeProto) -> bool:
    """Tell whether a convolution has a filter of its own for every channel, and owns them."""
    weight = graph.input_constant(node, 1)
    group = attributes(node).get("group", 1)
    return (
        weight is not None
        and _owns_weights(graph, node)
        and group > 1
        and group == len(weight)
        and weight.shape[1] == 1
        and group == _width(graph, node.input[0])
    )


def _owns_weights(graph: Graph, node: onnx.NodeProto) -> bool:
    """Tell whether a convolution's constants are its own, so that they may be changed."""
    names = [name for name in node.input[1:] if name]
    return all(graph.constant(name) is not None and graph.read_once(name) for name in names)


def _is_channelwise(graph: Graph, node: onnx.NodeProto) -> bool:
    """Tell whether an operator leaves channels where they are, with constants for all alike."""
    if node.op_type not in CHANNELWISE or _width(graph, node.output[0]) is None:
        return False
    width = _width(graph, node.output[0])
    for index, name in enumerate(node.input):
        value = graph.constant(name) if name else None
        if value is None and name:
            if _width(graph, name) != width:  # broadcast over channels
                return False
        elif node.op_type == "PRelu" and index == 1:
            own = value is None or value.size == 1 or graph.read_once(name)
            if not own or (value is not None and value.size > 1 and value.ndim < 3):
                return False
        elif value is not None and node.op_type != "Resize" and value.size > 1:
            return False
    return True


def _fill_convolution(graph: Graph, node: onnx.NodeProto, layouts: dict[str, Layout]) -> None:
    weight = graph.input_constant(node, 1)
    if weight is None:
        return
    out, into = layouts.get(node.output[0]), layouts.get(node.input[0])
    names = [name for name in node.input[1:] if name]
    if is_depthwise(graph, node):
        if out is not None:
            for name in names:
                _set(graph, name, 0, out)
            given = [each for each in node.attribute if each.name != "group"]
            del node.attribute[:]
            node.attribute.extend([*given, onnx.helper.make_attribute("group", int(out[-1]))])
        return
    if into is not None and attributes(node).get("group", 1) == 1:
        _set(graph, names[0], 1, into)
    if out is not None:
        for name in names:
            _set(graph, name, 0, out)


def _fill_slopes(graph: Graph, node: onnx.NodeProto, layouts: dict[str, Layout]) -> None:
    slopes, layout = graph.input_constant(node, 1), layouts.get(node.output[0])
    if slopes is not None and slopes.size > 1 and layout is not None:
        _set(graph, node.input[1], slopes.ndim - 3, layout)


def _fill_sizes(graph: Graph, node: onnx.NodeProto, layouts: dict[str, Layout]) -> None:
    """Let a resizing to whole sizes (1, C, H, W) have the new number of channels."""
    sizes, layout = graph.input_constant(node, 3), layouts.get(node.output[0])
    if sizes is not None and sizes.size == 4 and layout is not None and sizes[1] != layout[-1]:
        filled = sizes.copy()
        filled[1] = layout[-1]
        graph.set_input(node, 3, graph.add_constant(f"{node.name}_sizes", filled))


def _set(graph: Graph, name: str, axis: int, layout: Layout) -> None:
    value = graph.constant(name)
    assert value is not None
    if len(layout) - 1 == value.shape[axis] != layout[-1] or _moves(layout):
        graph.set_constant(name, _placed(value, axis, layout))


def _moves(layout: Layout) -> bool:
    return not np.array_equal(layout[:-1], np.arange(len(layout) - 1))


def _placed(value: Array, axis: int, layout: Layout) -> Array:
    shape = list(value.shape)
    shape[axis] = int(layout[-1])
    filled = np.zeros(shape, value.dtype)
    where: list[slice | Layout] = [slice(None)] * value.ndim
    where[axis] = layout[:-1]
    filled[tuple(where)] = value
    return filled
