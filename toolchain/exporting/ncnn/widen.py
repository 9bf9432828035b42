"""Convolutions from four channels to four, which the runtime has no fast kernel for.

Winograd's way, by which ncnn computes 3x3 convolutions, is taken from eight channels on, on either
side. From four to eight, or from eight to four, takes two thirds of the instructions that four to
four take on a Cortex-A72. So every other of such convolutions gets four filters more, of zeros, and
the next reads all eight; who else reads it is given the first four.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from toolchain.exporting.graph import Graph, attributes

NARROW, WIDE = 4, 8
PIXELS = 1600
"""Of smaller features it does not pay."""
ACTIVATIONS = ("Relu", "LeakyRelu", "Clip", "Sigmoid", "HardSwish")


def widen_narrow(graph: Graph) -> int:
    """Widen convolutions in place; return how many are faster for it."""
    wide: dict[str, str] = {}
    changed = 0
    for node in list(graph.nodes):
        if not _is_narrow(graph, node):
            continue
        changed += 1
        if node.input[0] in wide:
            _read_all(graph, node, wide[node.input[0]])
        else:
            before, after = _give_more(graph, node)
            wide[before] = after
    return changed


def _is_narrow(graph: Graph, node: onnx.NodeProto) -> bool:
    weight = graph.input_constant(node, 1)
    return (
        weight is not None and weight.shape[:2] == (NARROW, NARROW) and may_be_narrow(graph, node)
    )


def may_be_narrow(graph: Graph, node: onnx.NodeProto) -> bool:
    """Tell whether a convolution would be widened if it went from four channels to four."""
    weight, given = graph.input_constant(node, 1), attributes(node)
    shape = graph.shape(node.output[0]) if node.output else None
    return (
        node.op_type == "Conv"
        and weight is not None
        and weight.shape[2:] == (3, 3)
        and list(given.get("strides", (1, 1))) == [1, 1]
        and list(given.get("dilations", (1, 1))) == [1, 1]
        and given.get("group", 1) == 1
        and all(graph.read_once(name) for name in node.input[1:] if name)
        and node.output[0] not in graph.outputs
        and shape is not None
        and None not in shape
        and (shape[2] or 0) * (shape[3] or 0) >= PIXELS
    )


def _read_all(graph: Graph, node: onnx.NodeProto, value: str) -> None:
    """Let a convolution read the eight channels of which it read the first four."""
    weight = graph.input_constant(node, 1)
    assert weight is not None
    graph.set_constant(node.input[1], np.concatenate([weight, np.zeros_like(weight)], axis=1))
    graph.set_input(node, 0, value)


def _give_more(graph: Graph, node: onnx.NodeProto) -> tuple[str, str]:
    """Give a convolution four filters of zeros; return its four channels' name, and all eight's.

    Its activation goes along, if that is all that reads it.
    """
    for name in node.input[1:]:
        value = graph.constant(name) if name else None
        if value is not None:
            graph.set_constant(name, np.concatenate([value, np.zeros_like(value)]))
    last = node
    readers: Sequence[onnx.NodeProto] = graph.readers(node.output[0])
    if len(readers) == 1 and readers[0].op_type in ACTIVATIONS:
        last = readers[0]
    narrow, wide = last.output[0], graph.free(f"{last.output[0]}_wide")
    last.output[0] = wide
    bounds = [
        graph.add_constant(f"{node.name}_{what}", np.array([number], np.int64))
        for what, number in (("from", 0), ("to", NARROW), ("axis", 1))
    ]
    cut = onnx.helper.make_node("Slice", [wide, *bounds], [narrow], name=graph.free("narrowed"))
    graph.replace(last, (last, cut))
    return narrow, wide
