"""An exported network at any widths of its dependency groups: as a file, and what its operators
then read and write.

The network is exported once. A file of other widths is made of that one by cutting every weight to
the first so many channels: what it computes is of no use, what it costs is what the shrunk network
costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference
from torch import nn

from toolchain.errors import AnalysisError, first_line
from toolchain.pruning.groups import ChannelGroup
from toolchain.surgery.channels import Flow
from toolchain.surgery.layers import layers_of
from toolchain.widths.free_shapes import set_attribute, without_fixed_shapes
from toolchain.widths.ties import Places, ties_of

Widths = Mapping[str, int]
"""Group -> how many of its filters stay."""


@dataclass(frozen=True)
class Dimension:
    """A size of a tensor, as the widths of groups decide it."""

    whole: int
    shares: tuple[tuple[str, int], ...] = ()
    """By how much it falls for every channel that a group loses."""

    def at(self, removed: Widths) -> int:
        """Return the size when groups have lost so many channels."""
        return self.whole - sum(share * removed[group] for group, share in self.shares)


@dataclass(frozen=True)
class Node:
    """An operator of the file."""

    kind: str
    """Its type with its attributes, and the types of those that read it: runtimes fuse them."""
    inputs: tuple[tuple[Dimension, ...], ...]
    outputs: tuple[tuple[Dimension, ...], ...]

    @property
    def groups(self) -> frozenset[str]:
        """Those whose widths it depends on."""
        shapes = (*self.inputs, *self.outputs)
        return frozenset(group for shape in shapes for each in shape for group, _ in each.shares)

    def shapes(self, removed: Widths) -> str:
        """Return what it reads and writes: ``1x16x80x80 16x16x3x3 16 -> 1x16x80x80``."""
        sides = (self.inputs, self.outputs)
        return " -> ".join(" ".join(_written(shape, removed) for shape in side) for side in sides)


def _written(shape: Sequence[Dimension], removed: Widths) -> str:
    return "x".join(str(each.at(removed)) for each in shape) or "scalar"


class Template:
    """An exported network whose widths are free."""

    def __init__(
        self,
        model: onnx.ModelProto,
        network: nn.Module,
        flow: Flow,
        groups: Sequence[ChannelGroup],
    ) -> None:
        """Tie the file's weights to the channels of ``network``, of which it was exported.

        Raises :class:`AnalysisError` where that cannot be done.
        """
        self.groups = {group.name: group for group in groups}
        self.model = _named(without_fixed_shapes(model))
        ties = ties_of(network, flow, groups)
        self.ties = {name: axes for name, axes in ties.items() if _is_alone(network, name)}
        layers = layers_of(network).values()
        self.per_group = {
            layer.weight_name: 1 if layer.is_depthwise else len(layer.weight) // layer.groups
            for layer in layers
            if layer.is_depthwise or layer.name in flow.whole_groups
        }
        """Weights of layers that lose whole groups -> how much of their first axis a group has."""
        self.check_ties()
        self.dimensions: Mapping[str, tuple[Dimension, ...]] = {}
        """Of every value and weight."""
        self.nodes = self._find_nodes()

    @property
    def whole(self) -> dict[str, int]:
        """The widths of the network as it is."""
        return {name: group.width for name, group in self.groups.items()}

    def removed(self, widths: Widths) -> dict[str, int]:
        """Return how many channels each group has lost at these widths."""
        return {name: whole - widths.get(name, whole) for name, whole in self.whole.items()}

    def file(self, widths: Widths) -> onnx.ModelProto:
        """Return the network at these widths; groups that are not named are whole."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        for tensor in model.graph.initializer:
            places = self.ties.get(tensor.name)
            if places is not None:
                cut = _cut(numpy_helper.to_array(tensor), places, widths)
                tensor.CopyFrom(numpy_helper.from_array(cut, tensor.name))
        sizes = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
        for node in model.graph.node:
            if node.op_type.startswith("Conv") and node.input[1] in self.per_group:
                set_attribute(node, "group", sizes[node.input[1]] // self.per_group[node.input[1]])
        return model

    def check_ties(self) -> None:
        """Raise :class:`AnalysisError` if a weight is not in the file as the network has it."""
        shapes = {each.name: tuple(each.dims) for each in self.model.graph.initializer}
        for name, places in self.ties.items():
            if not any(place for axis in places for place in axis):
                continue
            found = shapes.get(name)
            if found is None or any(
                len(axis) not in (1, size) for axis, size in zip(places, found, strict=False)
            ):
                raise AnalysisError(
                    f"{name} is not in the exported file as it is in the network, so its cost at "
                    f"other widths cannot be measured; protect its layer in [prune]"
                )

    def _find_nodes(self) -> dict[str, Node]:
        """Return the operators by name; how sizes depend on widths is found by narrowing each."""
        whole = _sizes(self.file({}))
        shares: dict[str, list[dict[str, int]]] = {
            name: [{} for _ in sizes] for name, sizes in whole.items()
        }
        for group, width in self.whole.items():
            if width > 1:
                narrowed = _sizes(self.file({group: width - 1}))
                for name, sizes in whole.items():
                    for axis, (before, after) in enumerate(zip(sizes, narrowed[name], strict=True)):
                        if before != after:
                            shares[name][axis][group] = before - after
        dimensions = {
            name: tuple(
                Dimension(size, tuple(by_group.items()))
                for size, by_group in zip(sizes, shares[name], strict=True)
            )
            for name, sizes in whole.items()
        }
        self.dimensions = dimensions
        return {node.name: _node(node, self.model, dimensions) for node in self.model.graph.node}


def _node(
    node: onnx.NodeProto, model: onnx.ModelProto, dimensions: Mapping[str, tuple[Dimension, ...]]
) -> Node:
    readers = [
        each.op_type
        for each in model.graph.node
        if any(output in each.input for output in node.output)
    ]
    attributes = sorted(
        f"{each.name}={helper.get_attribute_value(each)}"
        for each in node.attribute
        if each.type != onnx.AttributeProto.TENSOR and each.name != "group"
    )
    return Node(
        f"{node.op_type}({' '.join(attributes)}) > {' '.join(sorted(readers))}",
        tuple(dimensions[name] for name in node.input if name in dimensions),
        tuple(dimensions[name] for name in node.output if name in dimensions),
    )


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give every operator a name of its own, in place."""
    for node in model.graph.node:
        node.name = f"node {node.output[0]}"
    return model


def _sizes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor; raise :class:`AnalysisError` where one does not fit."""
    try:
        inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except Exception as error:  # onnx raises errors of its own
        raise AnalysisError(
            f"the exported network does not take other widths ({first_line(error)})"
        ) from error
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    found = {
        value.name: tuple(each.dim_value for each in value.type.tensor_type.shape.dim)
        for value in values
    }
    return found | {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}


def _cut(
    tensor: NDArray[np.float32], places: Sequence[Places], widths: Widths
) -> NDArray[np.float32]:
    for axis, channels in enumerate(places):
        kept = [
            index
            for index, place in enumerate(channels)
            if place is None or place[1] < widths.get(place[0], place[1] + 1)
        ]
        if len(kept) < len(channels):
            tensor = tensor.take(kept, axis=axis)
    return np.ascontiguousarray(tensor)


def _is_alone(network: nn.Module, name: str) -> bool:
    """Tell whether a parameter or buffer belongs to what is no batch norm, which is folded."""
    module = network.get_submodule(name.rpartition(".")[0])
    return not isinstance(module, nn.modules.batchnorm._BatchNorm)
