"""Factors folded into the convolutions around them.

A feature pyramid weighs what it adds: two products, a sum and a quotient for every level, over
whole features. A factor can be multiplied into the weights of a convolution that makes the value,
or of all that read it; it passes through what is linear, and, if it is positive, through ReLU and
its kin. A sum a·x + b·y becomes b·(a/b·x + y). All this is exact but for the rounding of weights.
What is multiplied by nought, as trained weights of a pyramid often are, goes out of the sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx

from toolchain.exporting.graph import Array, Graph, attributes

RECTIFIERS = ("Relu", "LeakyRelu", "PRelu")
"""f(s * x) = s * f(x) for a positive s."""
SMALLEST, LARGEST = 1e-4, 1e4
"""Factors outside may over- or underflow, a few together, so they stay."""

Edit = Callable[[], None]
Edits = list[Edit] | None
"""What folds a factor, not done yet; None if it cannot be folded."""


def fold_factors(graph: Graph) -> int:
    """Fold factors into convolutions; return how many operators are gone."""
    before = len(graph.nodes)
    while any(_drop(graph, node) for node in graph.nodes) or any(
        _fold(graph, node) for node in graph.nodes if _factor(graph, node)
    ):
        graph.sweep()  # what is not read any more must not count as a reader
    return before - len(graph.nodes)


def _drop(graph: Graph, node: onnx.NodeProto) -> bool:
    """Take out a sum one of whose addends is something times nought."""
    if node.op_type != "Add" or node.output[0] in graph.outputs:
        return False
    for index, name in enumerate(node.input):
        maker, other = graph.maker(name), node.input[1 - index]
        if maker is None or _number(graph, maker) != 0 or maker.op_type != "Mul":
            continue
        shape = graph.shape(other)
        if shape is not None and None not in shape and shape == graph.shape(node.output[0]):
            graph.bypass(node, other)
            return True
    return False


def _factor(graph: Graph, node: onnx.NodeProto) -> float | None:
    """Return by what a node multiplies a value, if it is safe to fold; None if it does not."""
    number = _number(graph, node)
    if number is None or not SMALLEST <= abs(number) <= LARGEST:
        return None
    return 1 / number if node.op_type == "Div" else number


def _number(graph: Graph, node: onnx.NodeProto) -> float | None:
    """Return the one number that a node multiplies or divides by; None if there is none."""
    place = _place(graph, node)
    if place is None:
        return None
    value = graph.constant(node.input[1 - place])
    return None if value is None else float(value.reshape(-1)[0])


def _place(graph: Graph, node: onnx.NodeProto) -> int | None:
    """Return which input a node multiplies by one constant number."""
    places = {"Mul": (0, 1), "Div": (0,)}.get(node.op_type, ())
    for place in places:
        number, shape = graph.constant(node.input[1 - place]), graph.shape(node.input[place])
        if number is None or number.size != 1 or number.dtype != np.float32:
            continue
        if number.ndim <= (0 if shape is None else len(shape)):  # or the result has more sides
            return place if graph.constant(node.input[place]) is None else None
    return None


def _fold(graph: Graph, node: onnx.NodeProto) -> bool:
    """Fold one factor away, if that can be."""
    place, factor = _place(graph, node), _factor(graph, node)
    assert place is not None
    assert factor is not None
    if node.output[0] in graph.outputs:
        return False
    value, result = node.input[place], node.output[0]
    edits = _upwards(graph, value, factor)
    if edits is None:
        edits = _downwards(graph, result, factor)
    if edits is None:
        edits = _through_sum(graph, result, factor)
    if edits is None:
        return False
    for edit in edits:
        edit()
    graph.bypass(node, value)
    return True


def _upwards(graph: Graph, value: str, factor: float) -> Edits:
    """Multiply a value by changing what makes it; it must have this one reader."""
    node = graph.maker(value)
    if node is None or not graph.read_once(value):
        return None
    if node.op_type == "Conv":
        return _into_filters(graph, node, factor)
    if _factor(graph, node) is not None:
        return [lambda: _multiply(graph, node, factor)]
    if node.op_type == "Add":
        return _both(*(_upwards(graph, name, factor) for name in node.input))
    if _passes(node, factor):
        return _upwards(graph, node.input[0], factor)
    return None


def _downwards(graph: Graph, value: str, factor: float) -> Edits:
    """Multiply a value by changing all that read it."""
    if value in graph.outputs or not graph.readers(value):
        return None
    return _both(*(_into_reader(graph, reader, value, factor) for reader in graph.readers(value)))


def _into_reader(graph: Graph, node: onnx.NodeProto, value: str, factor: float) -> Edits:
    if node.op_type == "Conv" and node.input[0] == value:
        return _into_slices(graph, node, factor)
    if _factor(graph, node) is not None:
        return [lambda: _multiply(graph, node, factor)]
    if _passes(node, factor) and node.input[0] == value:
        return _downwards(graph, node.output[0], factor)
    return None


def _through_sum(graph: Graph, value: str, factor: float) -> Edits:
    """Take the factor of one addend out of the sum: the other is divided by it."""
    if not graph.read_once(value):
        return None
    (node,) = graph.readers(value)
    if node.op_type != "Add":
        return None
    other = next(name for name in node.input if name != value)
    return _both(_upwards(graph, other, 1 / factor), _downwards(graph, node.output[0], factor))


def _both(*parts: Edits) -> Edits:
    found: list[Edit] = []
    for part in parts:
        if part is None:
            return None
        found += part
    return found


def _passes(node: onnx.NodeProto, factor: float) -> bool:
    if node.op_type == "Resize":
        return attributes(node).get("coordinate_transformation_mode") != b"tf_crop_and_resize"
    return node.op_type in RECTIFIERS and factor > 0


def _into_filters(graph: Graph, node: onnx.NodeProto, factor: float) -> Edits:
    """Multiply a convolution's output, by its weight and bias; None if others read these."""
    names = [name for name in node.input[1:] if name]
    if not all(_is_own(graph, name) for name in names):
        return None
    return [lambda: _scale_inputs(graph, node, range(1, 1 + len(names)), factor)]


def _into_slices(graph: Graph, node: onnx.NodeProto, factor: float) -> Edits:
    """Multiply a convolution's input, by its weight."""
    if not _is_own(graph, node.input[1]):
        return None
    return [lambda: _scale_inputs(graph, node, (1,), factor)]


def _is_own(graph: Graph, name: str) -> bool:
    value = graph.constant(name)
    return value is not None and value.dtype == np.float32 and graph.read_once(name)


def _scale_inputs(graph: Graph, node: onnx.NodeProto, places: Sequence[int], factor: float) -> None:
    for place in places:
        value = graph.constant(node.input[place])
        assert value is not None
        graph.set_constant(node.input[place], _scaled(value, factor))


def _multiply(graph: Graph, node: onnx.NodeProto, factor: float) -> None:
    """Let a node that multiplies by a number multiply by ``factor`` as well."""
    place = _place(graph, node)
    assert place is not None
    by = 1 / factor if node.op_type == "Div" else factor
    value = graph.constant(node.input[1 - place])
    assert value is not None
    graph.set_input(node, 1 - place, graph.add_constant("factor", _scaled(value, by)))


def _scaled(value: Array, factor: float) -> Array:
    return (value.astype(np.float64) * factor).astype(np.float32)
