"""The largest of a few channels, taken by comparing them whole.

Reductions over a short axis run number by number; two operators that compare channel with channel
run in vectors. S3FD's max-out of three background scores is such a one. The values are the same.
"""

from __future__ import annotations

import numpy as np
import onnx

from toolchain.exporting.graph import Graph, attributes

MOST = 8
"""Channels; from more a reduction is as fast."""


def compare_channels(graph: Graph) -> int:
    """Rewrite reductions to the largest channel; return how many were."""
    found = [node for node in graph.nodes if _channels(graph, node)]
    for node in found:
        count = _channels(graph, node)
        sizes = graph.add_constant(f"{node.name}_sizes", np.ones(count, np.int64))
        parts = [graph.free(f"{node.name}_channel") for _ in range(count)]
        split = onnx.helper.make_node(
            "Split", [node.input[0], sizes], parts, name=f"{node.name}_split", axis=1
        )
        largest = onnx.helper.make_node("Max", parts, list(node.output), name=f"{node.name}_max")
        graph.replace(node, (split, largest))
    return len(found)


def _channels(graph: Graph, node: onnx.NodeProto) -> int:
    """Return over how many channels a node takes the largest; 0 if it does something else."""
    axes, shape = graph.input_constant(node, 1), graph.shape(node.input[0])
    if node.op_type != "ReduceMax" or axes is None or shape is None or len(shape) < 2:
        return 0
    if axes.tolist() not in ([1], [1 - len(shape)]) or not attributes(node).get("keepdims", 1):
        return 0
    return shape[1] if shape[1] is not None and 2 <= shape[1] <= MOST else 0
