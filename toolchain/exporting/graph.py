"""An ONNX graph: who makes a value, who reads it, what is constant; and adding to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int | None, ...]


class Graph:
    """The nodes and constants of a model, to be changed; :meth:`write` puts them back."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self.nodes: list[onnx.NodeProto] = list(model.graph.node)
        self.outputs = frozenset(output.name for output in model.graph.output)
        self._constants: dict[str, Array] = {
            tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }
        values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
        self._shapes: dict[str, Shape] = {
            value.name: tuple(
                side.dim_value if side.HasField("dim_value") else None
                for side in value.type.tensor_type.shape.dim
            )
            for value in values
            if value.type.tensor_type.HasField("shape")
        }
        self._taken = {*self._constants, *self._shapes, *(node.name for node in self.nodes)}
        self._taken |= {name for node in self.nodes for name in (*node.input, *node.output)}
        self._index()

    def _index(self) -> None:
        self._makers = {name: node for node in self.nodes for name in node.output}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in filter(None, node.input):
                self._readers.setdefault(name, []).append(node)

    @property
    def has_branches(self) -> bool:
        """True if a node holds a graph of its own, which may read any value of this one."""
        kinds = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
        return any(each.type in kinds for node in self.nodes for each in node.attribute)

    def maker(self, name: str) -> onnx.NodeProto | None:
        """Return the node that makes a value; None for inputs and constants."""
        return self._makers.get(name)

    def readers(self, name: str) -> Sequence[onnx.NodeProto]:
        """Return the nodes that read a value, each as often as it does."""
        return tuple(self._readers.get(name, ()))

    def read_once(self, name: str) -> bool:
        """Tell whether one node reads a value once, and nothing else does."""
        return len(self.readers(name)) == 1 and name not in self.outputs

    def constant(self, name: str) -> Array | None:
        """Return a constant; None for what is none."""
        return self._constants.get(name)

    def input_constant(self, node: onnx.NodeProto, index: int) -> Array | None:
        """Return a node's constant input; None if it has none there."""
        return self.constant(node.input[index]) if len(node.input) > index else None

    def shape(self, name: str) -> Shape | None:
        """Return a value's shape, with None for sides that are free; None if it is not known."""
        return self._shapes.get(name)

    def add_constant(self, name: str, value: Array) -> str:
        """Add a constant; return its name, which begins with ``name``."""
        free = self.free(name)
        self._constants[free] = value
        return free

    def set_constant(self, name: str, value: Array) -> None:
        """Give a constant another value, for all who read it."""
        self._constants[name] = value

    def make(self, kind: str, inputs: Sequence[str], name: str, **given: Any) -> onnx.NodeProto:
        """Return a new node with one output; its name and its output's begin with ``name``."""
        output = self.free(name)
        return onnx.helper.make_node(kind, list(inputs), [output], name=output, **given)

    def free(self, name: str) -> str:
        """Return a name that begins with ``name`` and that nothing has; it is taken then."""
        free, count = name, 1
        while free in self._taken:
            count += 1
            free = f"{name}_{count}"
        self._taken.add(free)
        return free

    def set_input(self, node: onnx.NodeProto, index: int, name: str) -> None:
        """Let a node read another value."""
        node.input[index] = name
        self._index()

    def replace(self, old: onnx.NodeProto, new: Sequence[onnx.NodeProto]) -> None:
        """Put nodes where another was."""
        place = next(index for index, node in enumerate(self.nodes) if node is old)
        self.nodes[place : place + 1] = new
        self._index()

    def bypass(self, node: onnx.NodeProto, name: str) -> None:
        """Take out a node; who read its only output reads the value ``name``."""
        for reader in self.readers(node.output[0]):
            for index, given in enumerate(reader.input):
                if given == node.output[0]:
                    reader.input[index] = name
        self.replace(node, ())

    def sweep(self) -> None:
        """Take out nodes whose outputs nothing reads."""
        while True:
            kept = [
                node
                for node in self.nodes
                if any(name in self._readers or name in self.outputs for name in node.output)
            ]
            if len(kept) == len(self.nodes):
                return
            self.nodes = kept
            self._index()

    def write(self) -> None:
        """Write nodes and constants that are read back into the model, with all shapes."""
        proto = self._model.graph
        nodes = [_copy(node) for node in self.nodes]
        del proto.node[:]
        proto.node.extend(nodes)
        del proto.initializer[:]
        proto.initializer.extend(
            onnx.numpy_helper.from_array(value, name)
            for name, value in self._constants.items()
            if name in self._readers or name in self.outputs
        )
        del proto.value_info[:]
        self._model.CopyFrom(onnx.shape_inference.infer_shapes(self._model, strict_mode=True))


class Additions:
    """Nodes and constants that are added to a model, under names of their own.

    Constants go in at once; :attr:`nodes` are put where they belong by whoever adds them.
    """

    def __init__(self, model: onnx.ModelProto, prefix: str) -> None:
        self.proto, self._prefix = model.graph, prefix
        self.nodes: list[onnx.NodeProto] = []

    def constant(self, name: str, values: Any) -> str:
        """Add an array; return its name."""
        full = self._prefix + name
        tensor = onnx.numpy_helper.from_array(np.asarray(values, order="C"), full)
        self.proto.initializer.append(tensor)
        return full

    def scalar(self, name: str, value: float) -> str:
        """Add a float32 scalar; return its name."""
        return self.constant(name, np.float32(value))

    def node(self, kind: str, inputs: list[str], name: str, **given: Any) -> str:
        """Add a node with one output; return the output's name."""
        return self._add(kind, inputs, [name], given)[0]

    def halves(self, value: str, axis: int, names: tuple[str, str]) -> tuple[str, str]:
        """Split a tensor in two along an axis."""
        first, second = self._add("Split", [value], names, {"axis": axis, "num_outputs": 2})
        return first, second

    def _add(
        self, kind: str, inputs: list[str], names: Sequence[str], given: Mapping[str, Any]
    ) -> list[str]:
        outputs = [self._prefix + name for name in names]
        own = f"{outputs[0]}_{kind}"
        self.nodes.append(onnx.helper.make_node(kind, inputs, outputs, name=own, **given))
        return outputs


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def attributes(node: onnx.NodeProto) -> Mapping[str, Any]:
    """Return a node's attributes by name."""
    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
