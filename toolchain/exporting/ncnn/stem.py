"""A first layer that reads patches, laid out by whoever feeds the network.

A first convolution has three channels to read, which fills no block, so the runtime reads number by
number: of EResFD's 5x5 at every fourth pixel that takes a seventh of all instructions. Its patches
hardly overlap; laid side by side, the layer is a product of matrices, in a third of them.
"""

from __future__ import annotations

import numpy as np
import onnx

from toolchain.deploy.detector.ncnn_facts import LANES, Patches
from toolchain.exporting.graph import Array, Graph, attributes

OVERLAP = 2.0
"""Patches together may hold so many times the picture's numbers."""


def read_patches(model: onnx.ModelProto) -> Patches | None:
    """Let a model take patches of its one input, in place; None where it cannot or need not."""
    graph = Graph(model)
    entry = model.graph.input[0].name
    cut = cut_of(graph, entry)
    if cut is None:
        return None
    (node,) = graph.readers(entry)
    weight = graph.input_constant(node, 1)
    assert weight is not None
    graph.set_constant(node.input[1], _as_product(weight))
    given = {
        name: value
        for name, value in attributes(node).items()
        if name not in ("kernel_shape", "strides", "pads", "auto_pad")
    }
    product = onnx.helper.make_node(
        "Conv", list(node.input), list(node.output), name=node.name, kernel_shape=[1, 1], **given
    )
    graph.replace(node, (product,))
    rows, columns = (side or 0 for side in (graph.shape(node.output[0]) or ())[2:])
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for dim, side in zip(dims, (1, _as_product(weight).shape[1], rows, columns), strict=True):
        dim.dim_value = side
    graph.write()
    return cut


def cut_of(graph: Graph, entry: str) -> Patches | None:
    """Return the patches of the one layer that reads the input; None if it has none that pay."""
    readers = graph.readers(entry)
    if len(readers) != 1 or readers[0].op_type != "Conv":
        return None
    node, given = readers[0], attributes(readers[0])
    weight, shape = graph.input_constant(node, 1), graph.shape(node.output[0])
    if weight is None or weight.ndim != 4 or not graph.read_once(node.input[1]):
        return None
    if shape is None or None in shape or given.get("group", 1) != 1:
        return None
    kernel, strides = weight.shape[2:], list(given.get("strides", (1, 1)))
    pads, dilations = set(given.get("pads", (0,))), set(given.get("dilations", (1,)))
    square = kernel[0] == kernel[1] and strides[0] == strides[1]
    plain = len(pads) == 1 and dilations == {1} and given.get("auto_pad", b"NOTSET") == b"NOTSET"
    whole = strides[0] * weight.shape[1] % LANES == 0
    if not (square and plain and whole) or kernel[0] ** 2 > OVERLAP * strides[0] ** 2:
        return None
    return Patches(int(kernel[0]), int(strides[0]), int(pads.pop()))


def _as_product(weight: Array) -> Array:
    """Return filters (O, C, K, K) as (O, K * V * LANES, 1, 1), in the order of the patches."""
    filters, channels, kernel, _ = weight.shape
    row = kernel * channels
    filled = np.zeros((filters, kernel, -(-row // LANES) * LANES), weight.dtype)
    filled[:, :, :row] = weight.transpose(0, 2, 3, 1).reshape(filters, kernel, row)
    return filled.reshape(filters, -1, 1, 1)
