"""What may be merged: convolutions whose weights are their own, with nothing computed along."""

from __future__ import annotations

import numpy as np
import onnx

from toolchain.exporting.graph import Array, Graph

FUSED = ("Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "Add", "Sum")
"""What runtimes compute together with the convolution before it: cut apart, no longer."""


def own_weight(graph: Graph, node: onnx.NodeProto) -> Array | None:
    """Return the weight of a convolution in float32 that nothing shares; None of any other."""
    if node.op_type != "Conv":
        return None
    names = [name for name in node.input[1:] if name]
    constants = [graph.constant(name) for name in names]
    own = all(graph.read_once(name) for name in names)
    if not own or any(value is None or value.dtype != np.float32 for value in constants):
        return None
    fused = any(reader.op_type in FUSED for reader in graph.readers(node.output[0]))
    return None if fused else constants[0]


def weight_and_bias(graph: Graph, node: onnx.NodeProto) -> tuple[Array, Array]:
    """Return what :func:`own_weight` found, and its bias: zeros where there is none."""
    weight, bias = graph.input_constant(node, 1), graph.input_constant(node, 2)
    assert weight is not None
    return weight, np.zeros(len(weight), np.float32) if bias is None else bias
