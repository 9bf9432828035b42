"""Recurrent layers in the one form that the converter knows: all states, time step by time step.

pnnx takes an LSTM, a GRU or an RNN for a layer of the runtime only if its states, and they alone,
are read in PyTorch's order (T, N, directions * H); anything else it writes as a layer without
weights, which the runtime does not open. Here whoever reads states in another order, or the last
ones, is given them from that. What the runtime has no layer for is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from toolchain.errors import ExportError
from toolchain.exporting.graph import Graph, attributes
from toolchain.exporting.ncnn.opened import INSTEAD
from toolchain.exporting.ncnn.order import reshaped

ACTIVATIONS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
"""Of one direction: what the runtime computes."""
SWAPPED = [1, 0, 2]
"""(T, N, numbers) as (N, T, numbers), and back."""
KEPT = ("hidden_size", "direction", "linear_before_reset")


@dataclass(frozen=True)
class _Sizes:
    """Of a layer's states."""

    steps: int
    sequences: int
    ways: int
    """2 if it goes through time both ways, else 1."""
    hidden: int


def plain_recurrence(graph: Graph) -> set[str]:
    """Rewrite recurrent layers in place; return the outputs of nodes that must stay as they are.

    Raises :class:`ExportError` for a layer that the runtime does not have.
    """
    fixed: set[str] = set()
    for node in list(graph.nodes):
        if node.op_type in ACTIVATIONS:
            sizes = _sizes(graph, node)
            reason = _why_not(graph, node, sizes)
            if sizes is None or reason is not None:
                raise ExportError(
                    f"ncnn has no layer for {node.op_type} {node.name}: {reason}; {INSTEAD}, or "
                    f"change that layer of the network"
                )
            fixed |= _rewrite(graph, node, sizes)
    return fixed


def _why_not(graph: Graph, node: onnx.NodeProto, sizes: _Sizes | None) -> str | None:
    """Say what of a layer the runtime lacks; None if nothing."""
    given = attributes(node)
    if sizes is None:
        return "its weights and the sizes of its input must be constant"
    direction = given.get("direction", b"forward")
    ways = 2 if direction == b"bidirectional" else 1
    found = [each.decode() for each in given.get("activations", ())]
    if direction == b"reverse":
        return "it goes through time backwards alone"
    if found and found != ACTIVATIONS[node.op_type] * ways:
        return f"its activations are {', '.join(found)}"
    if given.get("layout", 0) or "clip" in given or given.get("input_forget", 0):
        return "it has a layout, a clip or an input_forget, which PyTorch's layers have not"
    if node.op_type == "GRU" and not given.get("linear_before_reset", 0):
        return "it resets its state before the product with the weights"
    if any(node.input[4:5]):
        return "it is given the lengths of sequences"
    if _is_started(graph, node) and sizes.sequences > 1:
        return f"it is given first states of {sizes.sequences} sequences, and one is possible"
    if _is_started(graph, node) and ways > 1 and _has_constants(graph, node.input[5:]):
        return "its first states of both directions are constant, and must be computed"
    if len(node.output) > 2 and _is_read(graph, node.output[2]):
        return "its last cell state is read"
    return None


def _sizes(graph: Graph, node: onnx.NodeProto) -> _Sizes | None:
    """Return a layer's sizes; None if they, or its weights, are not constant."""
    shape, weights = graph.shape(node.input[0]), graph.input_constant(node, 2)
    if shape is None or None in shape or weights is None or graph.constant(node.input[1]) is None:
        return None
    return _Sizes(shape[0] or 0, shape[1] or 0, int(weights.shape[0]), int(weights.shape[2]))


def _is_started(graph: Graph, node: onnx.NodeProto) -> bool:
    """Tell whether a layer is given first states that are not zero."""
    values = [graph.constant(name) for name in node.input[5:] if name]
    return any(value is None or bool(np.any(value)) for value in values)


def _has_constants(graph: Graph, names: Iterable[str]) -> bool:
    """Tell whether one is constant: the runtime keeps the rows of such states apart."""
    return any(graph.constant(name) is not None for name in names)


def _is_read(graph: Graph, name: str) -> bool:
    return bool(name) and (bool(graph.readers(name)) or name in graph.outputs)


def _rewrite(graph: Graph, node: onnx.NodeProto, sizes: _Sizes) -> set[str]:
    """Put the layer's plain form in its place; return the outputs that make that form."""
    name, given = node.name, attributes(node)
    kept: Mapping[str, Any] = {key: given[key] for key in KEPT if key in given}
    joint = graph.add_constant(f"{name}_joint", np.array([0, 0, -1], np.int64))
    first = graph.make("Transpose", [node.input[0]], f"{name}_first", perm=SWAPPED)
    entry = graph.make("Transpose", [first.output[0]], f"{name}_steps", perm=SWAPPED)
    inputs = node.input[1:] if _is_started(graph, node) else node.input[1:4]
    layer = graph.make(node.op_type, [entry.output[0], *inputs], name, **kept)
    turned = graph.make("Transpose", list(layer.output), f"{name}_turned", perm=[0, 2, 1, 3])
    joined = graph.make("Reshape", [turned.output[0], joint], f"{name}_joined")
    states = graph.make("Transpose", [joined.output[0]], f"{name}_states", perm=SWAPPED)
    form = [entry, layer, turned, joined, states]
    made, found = [first, *form], states.output[0]
    if _is_read(graph, node.output[0]):
        made += _all_states(graph, node, found, sizes)
    if len(node.output) > 1 and _is_read(graph, node.output[1]):
        made += _last_states(graph, node, found, sizes)
    graph.replace(node, made)
    return {each.output[0] for each in form}


def _all_states(
    graph: Graph, node: onnx.NodeProto, states: str, sizes: _Sizes
) -> list[onnx.NodeProto]:
    """(N, T, directions * H) -> (T, directions, N, H)."""
    sides = (sizes.sequences, sizes.steps, sizes.ways, sizes.hidden)
    apart = reshaped(graph, states, sides, f"{node.name}_apart")
    last = graph.make("Transpose", list(apart.output), f"{node.name}_all", perm=[1, 2, 0, 3])
    last.output[0] = node.output[0]
    return [apart, last]


def _last_states(
    graph: Graph, node: onnx.NodeProto, states: str, sizes: _Sizes
) -> list[onnx.NodeProto]:
    """(N, T, directions * H) -> (directions, N, H): forward's last step, and backward's first."""
    made: list[onnx.NodeProto] = []
    parts: list[str] = []
    for way in range(sizes.ways):
        step = 0 if way else sizes.steps - 1
        made.append(_part(graph, states, (step, step + 1), 1, f"{node.name}_last"))
        if sizes.ways > 1:
            bounds = (way * sizes.hidden, (way + 1) * sizes.hidden)
            made.append(_part(graph, made[-1].output[0], bounds, 2, f"{node.name}_way"))
        parts.append(made[-1].output[0])
    if sizes.ways > 1:
        made.append(graph.make("Concat", parts, f"{node.name}_lasts", axis=1))
    last = graph.make("Transpose", list(made[-1].output), f"{node.name}_end", perm=SWAPPED)
    last.output[0] = node.output[1]
    return [*made, last]


def _part(
    graph: Graph, value: str, bounds: tuple[int, int], axis: int, name: str
) -> onnx.NodeProto:
    """Return a new node that gives a part of a value along an axis."""
    inputs = [
        graph.add_constant(f"{name}_{word}", np.array([number], np.int64))
        for word, number in zip(("from", "to", "axis"), (*bounds, axis), strict=True)
    ]
    return graph.make("Slice", [value, *inputs], name)
