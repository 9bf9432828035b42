"""Views of values: the same numbers with other sides, for an operator to read and to give."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx

from toolchain.exporting.graph import Graph
from toolchain.exporting.ncnn.order import Sides, reshaped, sides_of


@dataclass(frozen=True)
class Viewed:
    """An operator on views."""

    kind: str
    views: Mapping[int, Sides]
    """The sides of inputs, by their index; others stay."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """Its attributes."""
    constants: Sequence[str] | None = None
    """All its inputs after the first; None: those of the node that it stands for."""


def write_viewed(graph: Graph, node: onnx.NodeProto, viewed: Viewed) -> None:
    """Put an operator on views in a node's place, with what makes the views and undoes them."""
    made = list[onnx.NodeProto]()
    inputs = [*node.input[:1], *(node.input[1:] if viewed.constants is None else viewed.constants)]
    for index, sides in viewed.views.items():
        value = graph.constant(inputs[index])
        if value is not None:
            inputs[index] = graph.add_constant(f"{node.name}_view", value.reshape(sides))
        elif sides_of(graph, inputs[index]) != sides:
            made.append(reshaped(graph, inputs[index], sides, f"{node.name}_view"))
            inputs[index] = made[-1].output[0]
    outputs = [graph.free(f"{name}_view") for name in node.output]
    name = graph.free(node.name or outputs[0])
    made.append(onnx.helper.make_node(viewed.kind, inputs, outputs, name=name, **viewed.given))
    made += [back_to(graph, name, old) for name, old in zip(outputs, node.output, strict=True)]
    graph.replace(node, made)


def back_to(graph: Graph, name: str, old: str) -> onnx.NodeProto:
    """Return a new node that makes a value that is there of one that has its numbers."""
    node = reshaped(graph, name, sides_of(graph, old) or (), f"{old}_back")
    node.output[0] = old
    return node


def any_sides(graph: Graph, name: str) -> Sides | None:
    """Return the sides of a value or a constant; None if one is free or not known."""
    value = graph.constant(name)
    return sides_of(graph, name) if value is None else tuple(map(int, value.shape))


def rows(sides: Sides) -> Sides:
    """Return the sides of a view whose last axis stays, and whose others are one."""
    return (1, math.prod(sides[:-1]), sides[-1])


def three(sides: Sides, axis: int) -> tuple[int, int, int]:
    """Return how many numbers there are before an axis, along it and after it."""
    axis %= len(sides)
    return math.prod(sides[:axis]), sides[axis], math.prod(sides[axis + 1 :])


def around(sides: Sides, axis: int) -> tuple[Sides, int]:
    """Return the sides of a view in which others are joined, and where the axis is then."""
    before, length, after = three(sides, axis)
    first = (1, before) if before > 1 else (1,)
    last = (after,) if after > 1 else ()
    return (*first, length, *last), len(first)
