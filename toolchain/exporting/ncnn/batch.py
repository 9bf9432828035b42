"""Operators whose values are a batch of one, as the converter takes them to be.

pnnx takes the first axis for the batch, whatever it is, and leaves it out. So an operator that
reads or gives a value with another first axis (time steps, windows, heads), or works on that axis,
gets views of its values in which the first is one, and those before and after the axis that it
works on are joined.

Sums, means and the largest along one axis are written along two, or as pooling: of one alone pnnx
loses which it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import onnx

from toolchain.exporting.graph import Graph, attributes
from toolchain.exporting.ncnn.order import AXES, Sides, is_odd, sides_of
from toolchain.exporting.ncnn.views import (
    Viewed,
    any_sides,
    around,
    back_to,
    rows,
    three,
    write_viewed,
)

ALONE = (
    "Abs", "Cast", "Ceil", "Clip", "Cos", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid",
    "HardSwish", "LeakyRelu", "Log", "Mish", "Neg", "Reciprocal", "Relu", "Selu", "Sigmoid", "Sign",
    "Sin", "Softplus", "Softsign", "Sqrt", "Tanh",
)  # fmt: skip
"""Operators of each number on its own."""
PAIRS = ("Add", "Div", "Max", "Min", "Mul", "Pow", "Sub")
PARTS = ("Gather", "Slice")
REDUCED = ("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceProd", "ReduceSum")
Rule = Callable[[Graph, onnx.NodeProto], Viewed | None]


def slices_apart(graph: Graph) -> None:
    """Make of a Slice along several axes, which is not had as it is, one along each, in place."""
    for node in list(graph.nodes):
        values = [graph.input_constant(node, index) for index in range(1, len(node.input))]
        parts = [value for value in values if value is not None]
        if node.op_type != "Slice" or len(parts) < len(values) or not 3 <= len(parts) <= 4:
            continue
        if parts[0].size > 1 and _is_needed(graph, node):
            made, name = list[onnx.NodeProto](), node.input[0]
            for numbers in zip(*parts, strict=True):
                inputs = [name, *_constants(graph, node, numbers)]
                made.append(graph.make("Slice", inputs, node.name or "slice"))
                name = made[-1].output[0]
            made[-1].output[0] = node.output[0]
            graph.replace(node, made)


def batch_of_one(graph: Graph) -> int:
    """Give operators views with a batch of one, in place; return how many needed them."""
    count = 0
    for node in list(graph.nodes):
        if node.op_type not in RULES or not all(sides_of(graph, name) for name in node.output):
            continue
        if not sides_of(graph, node.input[0]) and graph.constant(node.input[0]) is None:
            continue
        if not _is_needed(graph, node):
            continue
        viewed = RULES[node.op_type](graph, node)
        if viewed is not None and viewed.kind == "Identity":
            graph.replace(node, [back_to(graph, node.input[0], node.output[0])])
        elif viewed is not None:
            write_viewed(graph, node, viewed)
        count += viewed is not None
    return count


def _is_needed(graph: Graph, node: onnx.NodeProto) -> bool:
    """Tell whether pnnx does not get an operator right, as it is, or has not its values."""
    return _is_lost(graph, node) or any(is_odd(graph, name) for name in (*node.input, *node.output))


def _is_lost(graph: Graph, node: onnx.NodeProto) -> bool:
    """Tell whether an operator is none that pnnx gets right on a batch of one."""
    if node.op_type in REDUCED:
        return True
    axes, steps = (
        graph.input_constant(node, index) if node.op_type == "Slice" else None for index in (3, 4)
    )
    if steps is not None and np.any(steps != 1):
        return True
    found = [attributes(node).get("axis", 1)] if axes is None else axes.tolist()
    rank = len(any_sides(graph, node.input[0]) or ())
    on_the_batch = any(axis in (0, -rank) for axis in found)
    return on_the_batch and node.op_type in (*PARTS, "Concat", "Split")


def _alone(graph: Graph, node: onnx.NodeProto) -> Viewed | None:
    sides = any_sides(graph, node.input[0])
    return Viewed(node.op_type, {0: rows(sides)}, attributes(node)) if sides else None


def _pair(graph: Graph, node: onnx.NodeProto) -> Viewed | None:
    """Two values, perhaps of other sides: axes along which both go alike are joined."""
    out, found = sides_of(graph, node.output[0]), [any_sides(graph, name) for name in node.input]
    if out is None or len(found) != 2 or None in found:
        return None
    both = [(1,) * (len(out) - len(sides or ())) + (sides or ()) for sides in found]
    joined: list[Sides] = []
    last = (False, False)
    for side, *pair in zip(out, *both, strict=True):
        alike = (pair[0] == side, pair[1] == side)
        if side > 1 and joined and alike == last:
            joined[-1] = (joined[-1][0] * pair[0], joined[-1][1] * pair[1])
        elif side > 1:
            joined.append((pair[0], pair[1]))
            last = alike
    if len(joined) > AXES:
        return None
    views = {
        index: (1, *(pair[index] for pair in joined))
        for index in range(2)
        if math.prod(both[index]) > 1
    }
    return Viewed(node.op_type, views, attributes(node))


def _along(graph: Graph, node: onnx.NodeProto) -> Viewed | None:
    """Softmax and Split: along an axis that is an attribute."""
    sides, given = any_sides(graph, node.input[0]), attributes(node)
    if not sides:
        return None
    view, at = around(sides, given.get("axis", 0 if node.op_type == "Split" else -1))
    return Viewed(node.op_type, {0: view}, {**given, "axis": at})


def _joined(graph: Graph, node: onnx.NodeProto) -> Viewed | None:
    found = [any_sides(graph, name) for name in node.input]
    axis = attributes(node)["axis"]
    views = {index: (1, *three(sides, axis)) for index, sides in enumerate(found) if sides}
    return Viewed("Concat", views, {"axis": 2}) if len(views) == len(found) else None


def _part(graph: Graph, node: onnx.NodeProto) -> Viewed | None:
    """Slice along one axis; Gather of one index, which is a Slice as well."""
    sides = any_sides(graph, node.input[0])
    values = [graph.input_constant(node, index) for index in range(1, len(node.input))]
    numbers = [int(value.reshape(-1)[0]) for value in values if value is not None and value.size]
    if not sides or any(value is None or value.size != 1 for value in values):
        return None
    if node.op_type == "Gather":
        axis = attributes(node).get("axis", 0)
        start = numbers[0] % sides[axis]
        stop, step = start + 1, 1
    else:
        start, stop, axis, step = (*numbers, *(0, 1)[len(numbers) - 2 :])
    if step < 1:
        return None
    if sides_of(graph, node.output[0]) == sides or sides[axis] == 1:
        return Viewed("Identity", {})
    if step > 1:
        return _every(graph, node, sides, axis, (start, step))
    view, at = around(sides, axis)
    return Viewed("Slice", {0: view}, {}, _constants(graph, node, (start, stop, at, step)))


def _every(
    graph: Graph, node: onnx.NodeProto, sides: Sides, axis: int, bounds: tuple[int, int]
) -> Viewed | None:
    """Every so many rows of a whole number of those: one part of rows that are so many as long."""
    start, step = bounds
    before, length, after = three(sides, axis)
    start = start + length if start < 0 else start
    count = any_sides(graph, node.output[0])
    if count is None or count[axis] * step != length or start >= step:
        return None
    numbers = (start * after, (start + 1) * after, 2, 1)
    view = (1, before * length // step, step * after)
    return Viewed("Slice", {0: view}, {}, _constants(graph, node, numbers))


def _constants(graph: Graph, node: onnx.NodeProto, numbers: Iterable[int]) -> list[str]:
    return [
        graph.add_constant(f"{node.name}_number", np.array([number], np.int64))
        for number in numbers
    ]


def _reduced(graph: Graph, node: onnx.NodeProto) -> Viewed | None:
    """Along one axis: along that and one that is there for it; the largest by pooling."""
    sides, axes = any_sides(graph, node.input[0]), graph.input_constant(node, 1)
    if not sides or axes is None or axes.size != 1:
        return None
    before, length, after = three(sides, int(axes.reshape(-1)[0]))
    if node.op_type == "ReduceMax":
        kernel = {"kernel_shape": [length, 1]}
        return Viewed("MaxPool", {0: (1, before, length, after)}, kernel, ())
    view: Sides = (1, 1, length, after)
    pair = [1, 2]
    if before > 1:
        view = (1, before, length, 1, after) if after > 1 else (1, before, length, 1)
        pair = [2, 3]
    both = graph.add_constant(f"{node.name}_axes", np.array(pair, np.int64))
    return Viewed(node.op_type, {0: view}, {"keepdims": 0}, (both,))


def _normalised(graph: Graph, node: onnx.NodeProto) -> Viewed | None:
    sides, given = any_sides(graph, node.input[0]), attributes(node)
    if not sides or given.get("axis", -1) % len(sides) != len(sides) - 1:
        return None
    return Viewed(node.op_type, {0: rows(sides)}, {**given, "axis": -1})


def _product(graph: Graph, node: onnx.NodeProto) -> Viewed | None:
    """Matrices with matrices, or rows with one matrix that is constant."""
    one, other = (any_sides(graph, name) for name in node.input)
    if one is None or other is None or min(len(one), len(other)) < 2:
        return None
    if len(other) == 2 and graph.constant(node.input[1]) is not None:
        return Viewed("MatMul", {0: rows(one)})
    counts = math.prod(one[:-2]), math.prod(other[:-2])
    if one[:-2] != other[:-2] and 1 not in counts:
        return None
    return Viewed("MatMul", {0: (1, counts[0], *one[-2:]), 1: (1, counts[1], *other[-2:])})


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(ALONE, _alone),
    **dict.fromkeys(PAIRS, _pair),
    **dict.fromkeys(PARTS, _part),
    **dict.fromkeys(REDUCED, _reduced),
    **dict.fromkeys(("LogSoftmax", "Softmax", "Split"), _along),
    "Concat": _joined,
    "LayerNormalization": _normalised,
    "MatMul": _product,
}
