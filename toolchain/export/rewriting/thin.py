"""Depthwise convolutions with a stride computed everywhere, and thinned out.

onnxruntime has a kernel of its own for depthwise 3x3 convolutions on ARM, but not for those with a
stride, which take eight times as long for each output: less than the four of computing all of them
and leaving out three. The outputs are the same.
"""

from __future__ import annotations

import numpy as np
import onnx

from toolchain.export.rewriting.graph import LAST, Graph, attributes


def thin_out(graph: Graph) -> int:
    """Rewrite depthwise convolutions with a stride of 2; return how many were."""
    found = [node for node in graph.nodes if _is_strided(graph, node)]
    for node in found:
        full = graph.make("Conv", list(node.input), f"{node.name}_full")
        full.attribute.extend(each for each in node.attribute if each.name != "strides")
        bounds = [
            graph.add_constant(f"{node.name}_thin{index}", np.array(numbers, np.int64))
            for index, numbers in enumerate(([0, 0], [LAST, LAST], [2, 3], [2, 2]))
        ]
        thin = onnx.helper.make_node(
            "Slice", [full.output[0], *bounds], list(node.output), name=f"{node.name}_thin"
        )
        graph.replace(node, (full, thin))
    return len(found)


def _is_strided(graph: Graph, node: onnx.NodeProto) -> bool:
    if node.op_type != "Conv":
        return False
    given, weight = attributes(node), graph.input_constant(node, 1)
    return (
        weight is not None
        and weight.shape[1:] == (1, 3, 3)
        and given.get("group", 1) == len(weight)
        and list(given.get("strides", ())) == [2, 2]
        and list(given.get("pads", ())) == [1, 1, 1, 1]
        and list(given.get("dilations", (1, 1))) == [1, 1]
        and given.get("auto_pad", b"NOTSET") == b"NOTSET"
    )
