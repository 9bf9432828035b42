"""The layers that ncnn would run for a network that is an ONNX file, without making its own."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from toolchain.exporting.graph import Graph
from toolchain.exporting.ncnn.ends import find_ends, keep_ends
from toolchain.exporting.ncnn.layers import Layer, Layers, Size, unknown_kinds


@dataclass(frozen=True)
class Foreseen:
    """What the runtime would run."""

    layers: tuple[Layer, ...]
    unknown: tuple[str, ...]
    """Kinds of nodes whose layers are not known."""

    @property
    def weight_bytes(self) -> int:
        """What the file of their weights takes: that of a layer which is called twice, twice."""
        return sum(map(_weight_bytes, self.layers))


def _weight_bytes(layer: Layer) -> int:
    """Return a tag, the weights and the biases of a convolution; of a PReLU the slopes."""
    given = dict(word.split("=", 1) for word in layer.params.split())
    if layer.kind == "PReLU":
        return 4 * int(given["0"])
    if not layer.kind.startswith("Convolution"):
        return 0
    biases = int(given["0"]) if given.get("5") == "1" else 0
    return 4 * (1 + int(given["6"]) + biases)


def foreseen_layers(model: onnx.ModelProto, *, for_detect: bool) -> Foreseen | None:
    """Return the layers; None for a network of free sizes, with branches, or of several inputs."""
    if len(model.graph.input) != 1 or Graph(model).has_branches:
        return None
    if any(not dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim):
        return None
    try:
        whole = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return None
    ends = find_ends(whole) if for_detect else None
    if ends is not None:
        keep_ends(whole, ends)
    graph = Graph(whole)

    def size_of(name: str) -> Size | None:
        shape = graph.shape(name)
        if shape is None or len(shape) != 4 or None in shape:
            return None
        return shape[1] or 0, shape[2] or 0, shape[3] or 0

    found = Layers(graph, ends.values if ends else (), for_detect=for_detect).at(size_of)
    every = tuple(layer for layers in found.values() for layer in layers)
    return Foreseen(every, unknown_kinds(found, graph))
