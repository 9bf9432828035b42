"""Convolutions computed row by row of their kernels, and summed.

onnxruntime multiplies matrices on ARM: it lays out, for every pixel, all inputs of a kernel, k·k
times the feature. Kernels of one row, with the filters of all rows side by side, need k times the
feature only; the k results are then added, each shifted by its rows. That pays where few filters
read many channels. The same products are summed in another order.
"""

from __future__ import annotations

import numpy as np
import onnx

from toolchain.exporting.graph import Array, Graph, attributes

NARROWING = 1.5
"""So many times as many channels as filters make it pay, on a Cortex-A72."""
PIXELS = 400
"""Of smaller features the additional operators cost more than they bring."""
LAST = np.iinfo(np.int64).max
"""Where a slice ends that goes to the end."""


def sum_rows(graph: Graph) -> int:
    """Rewrite convolutions; return how many were."""
    found = [node for node in graph.nodes if _pays(graph, node)]
    for node in found:
        _rewrite(graph, node)
    return len(found)


def _pays(graph: Graph, node: onnx.NodeProto) -> bool:
    weight = graph.input_constant(node, 1)
    if node.op_type != "Conv" or weight is None or weight.ndim != 4 or len(weight) == 0:
        return False
    given, shape = attributes(node), graph.shape(node.output[0])
    plain = (
        given.get("group", 1) == 1
        and list(given.get("dilations", (1, 1))) == [1, 1]
        and given.get("strides", (1, 1))[0] == 1
        and given.get("auto_pad", b"NOTSET") == b"NOTSET"
    )
    sides = [side for side in shape[2:] if side is not None] if shape is not None else []
    large = len(sides) < 2 or sides[0] * sides[1] >= PIXELS
    narrowing = weight.shape[1] >= NARROWING * weight.shape[0]
    return plain and large and narrowing and weight.shape[2] > 1


def _rewrite(graph: Graph, node: onnx.NodeProto) -> None:
    weight = graph.input_constant(node, 1)
    assert weight is not None
    filters, _, height, width = weight.shape
    stacked = np.concatenate([weight[:, :, row : row + 1] for row in range(height)])
    names = [node.input[0], graph.add_constant(f"{node.input[1]}.rows", stacked)]
    bias = graph.input_constant(node, 2)
    if bias is not None:
        names.append(graph.add_constant(f"{node.input[1]}.rows_bias", _padded(bias, len(stacked))))
    given = {**attributes(node), "kernel_shape": [1, width]}
    rows = graph.make("Conv", names, f"{node.name}_rows", **given)
    parts = [_part(graph, rows.output[0], node, row, filters, height) for row in range(height)]
    sums: list[onnx.NodeProto] = []
    total = parts[0].output[0]
    for row, part in enumerate(parts[1:], start=1):
        name = f"{node.name}_sum{row}"
        output = node.output[0] if row == height - 1 else graph.free(name)
        sums.append(onnx.helper.make_node("Add", [total, part.output[0]], [output], name=name))
        total = output
    graph.replace(node, (rows, *parts, *sums))


def _padded(bias: Array, length: int) -> Array:
    return np.concatenate([bias, np.zeros(length - len(bias), bias.dtype)])


def _part(
    graph: Graph, value: str, node: onnx.NodeProto, row: int, filters: int, height: int
) -> onnx.NodeProto:
    """Return the node that cuts out one kernel row's filters, shifted by that row."""
    below = height - 1 - row
    bounds = {
        "starts": [row * filters, row],
        "ends": [(row + 1) * filters, -below if below else LAST],
        "axes": [1, 2],
    }
    names = [
        graph.add_constant(f"{node.name}_row{row}_{what}", np.array(numbers, np.int64))
        for what, numbers in bounds.items()
    ]
    return graph.make("Slice", [value, *names], f"{node.name}_row{row}")
