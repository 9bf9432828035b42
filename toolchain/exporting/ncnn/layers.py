"""The layers that ncnn runs for a graph at any widths, found without converting it.

What a layer costs depends on its kind, its parameters and the shapes that it reads, so two networks
that share a layer share its cost. Widths are those after they are filled up, and convolutions of
four channels those after they are widened, as :mod:`align` and :mod:`widen` do. A layer of no known
kind is not told of: it costs what it costs, whatever the widths.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import onnx

from toolchain.deploy.detector.ncnn_facts import LANES
from toolchain.exporting.graph import Graph, attributes
from toolchain.exporting.ncnn.align import BLOCK, Shares, is_depthwise
from toolchain.exporting.ncnn.stem import cut_of
from toolchain.exporting.ncnn.widen import NARROW, WIDE, may_be_narrow

Size = tuple[int, int, int]
"""Channels, rows and columns."""
SizeOf = Callable[[str], Size | None]
"""Gives a value's size, None where it is no picture's."""


@dataclass(frozen=True)
class Layer:
    """A layer by all that its cost depends on."""

    kind: str
    params: str
    """As a param file has them."""
    reads: tuple[Size, ...]

    @property
    def key(self) -> str:
        """What its cost is kept by: ``BinaryOp 0=0 of 16x80x80 16x80x80``."""
        sizes = " ".join("x".join(map(str, size)) for size in self.reads)
        return f"{self.kind} {self.params} of {sizes}"


BINARY = {"Add": 0, "Sub": 1, "Mul": 2, "Div": 3, "Max": 4, "Min": 5}
ALONE = {
    "Relu": "ReLU", "LeakyRelu": "ReLU", "Sigmoid": "Sigmoid", "Tanh": "TanH",
    "HardSwish": "HardSwish", "HardSigmoid": "HardSigmoid", "Elu": "ELU", "Clip": "Clip",
}  # fmt: skip
"""Activations by the runtime's names; their numbers cost alike whatever they are."""
FUSED = {"Relu": "9=1", "LeakyRelu": "9=2 -23310=1,0.1", "Clip": "9=3 -23310=2,0,6"} | {
    "Sigmoid": "9=4",
    "HardSwish": "9=6 -23310=2,0.166667,0.5",
}
"""What a convolution computes along with itself."""
CROPPED = f"-23310=1,{NARROW} -23311=1,0 -23309=1,0"


class Layers:
    """The layers of a graph that is as it was before widths are filled up."""

    def __init__(self, graph: Graph, free: Collection[str], *, for_detect: bool) -> None:
        """``free`` are outputs that may be filled up; see :func:`~.ncnn_file.prepare`."""
        self.graph = graph
        self._shares = Shares(graph, free)
        made = {name for node in graph.nodes for name in node.output}
        read = {name for node in graph.nodes for name in node.input if name}
        entries = [name for name in read - made if graph.constant(name) is None]
        self.cut = cut_of(graph, entries[0]) if for_detect and len(entries) == 1 else None
        self.entry = entries[0] if self.cut else ""
        self.may_be_narrow = {node.output[0] for node in graph.nodes if may_be_narrow(graph, node)}

    def at(self, size_of: SizeOf) -> dict[str, tuple[Layer, ...]]:
        """Return the layers of each node, by its first output, at the sizes that values have."""
        layouts = self._shares.layouts(
            BLOCK, lambda name: size[0] if (size := size_of(name)) else None
        )

        def filled(name: str) -> Size | None:
            size = size_of(name)
            if size is None or name not in layouts:
                return size
            return int(layouts[name][-1]), *size[1:]

        return _Lowered(self, filled).all()

    def activation_of(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """Return the activation that a convolution computes along; None if there is none."""
        readers = self.graph.readers(node.output[0])
        fits = len(readers) == 1 and readers[0].op_type in FUSED
        return readers[0] if fits and node.output[0] not in self.graph.outputs else None


class _Lowered:
    """One going through all nodes, in order."""

    def __init__(self, layers: Layers, size_of: SizeOf) -> None:
        self.layers, self.graph, self.size_of = layers, layers.graph, size_of
        self.wide: set[str] = set()
        """Values whose first four channels are the graph's, of eight."""
        self.cropped: set[str] = set()
        self.fused: set[str] = set()

    def all(self) -> dict[str, tuple[Layer, ...]]:
        found: dict[str, tuple[Layer, ...]] = {}
        for node in self.graph.nodes:
            made = [] if node.op_type == "Conv" else self._crops(node)
            if node.output[0] not in self.fused:
                made += self._of(node)
            found[node.output[0]] = tuple(made)
        return found

    def _of(self, node: onnx.NodeProto) -> list[Layer]:
        size = self.size_of(node.output[0])
        reads = [self.size_of(name) for name in self._values(node)]
        if size is None or not reads or None in reads:
            return []
        given: tuple[Size, ...] = tuple(each for each in reads if each is not None)
        kind, known = node.op_type, attributes(node)
        if kind == "Conv":
            return self._convolution(node, given[0], size)
        if kind in BINARY:
            constant = " 1=1 2=0.5" if len(given) == 1 else ""
            return [Layer("BinaryOp", f"0={BINARY[kind]}{constant}", given)]
        if kind in ALONE:
            return [Layer(ALONE[kind], "0=0.1" if kind == "LeakyRelu" else "", given)]
        if kind == "PRelu":
            return [Layer("PReLU", f"0={size[0]}", given)]
        if kind == "Resize":
            way = 1 if known.get("mode", b"nearest") == b"nearest" else 2
            return [Layer("Interp", f"0={way} 3={size[1]} 4={size[2]} 6=0", given)]
        if kind == "Concat" and known.get("axis") == 1:
            return [Layer("Concat", "0=0", given)]
        return self._pooling(node, given)

    def _pooling(self, node: onnx.NodeProto, reads: tuple[Size, ...]) -> list[Layer]:
        if node.op_type == "GlobalAveragePool":
            return [Layer("Pooling", "0=1 4=1", reads)]
        if node.op_type not in ("MaxPool", "AveragePool"):
            return []
        given = attributes(node)
        kernel, strides = given["kernel_shape"], given.get("strides", (1, 1))
        pads = given.get("pads", (0, 0, 0, 0))
        way = int(node.op_type == "AveragePool")
        params = f"0={way} 1={kernel[1]} 11={kernel[0]} 2={strides[1]} 12={strides[0]}"
        return [Layer("Pooling", f"{params} 3={pads[1]} 13={pads[0]} 5=1", reads)]

    def _values(self, node: onnx.NodeProto) -> list[str]:
        return [name for name in node.input if name and self.graph.constant(name) is None]

    def _crops(self, node: onnx.NodeProto) -> list[Layer]:
        """Return what gives a node the four channels of values that have eight."""
        made = []
        for name in dict.fromkeys(self._values(node)):
            size = self.size_of(name)
            if name in self.wide - self.cropped and size is not None:
                self.cropped.add(name)
                made.append(Layer("Crop", CROPPED, ((WIDE, *size[1:]),)))
        return made

    def _convolution(self, node: onnx.NodeProto, read: Size, size: Size) -> list[Layer]:
        weight, given = self.graph.input_constant(node, 1), attributes(node)
        if weight is None:
            return []
        kernel, pads = weight.shape[2:], given.get("pads", (0, 0, 0, 0))
        strides, dilations = given.get("strides", (1, 1)), given.get("dilations", (1, 1))
        groups, filters, made = given.get("group", 1), size[0], list[Layer]()
        activation = self.layers.activation_of(node)
        if activation is not None:
            self.fused.add(activation.output[0])
        if node.input[0] == self.layers.entry and self.layers.cut is not None:
            rows = self.layers.cut.kernel
            read = (rows * -(-rows * read[0] // LANES) * LANES, *size[1:])
            kernel, strides, pads = (1, 1), (1, 1), (0, 0, 0, 0)
        narrow = node.output[0] in self.layers.may_be_narrow and read[0] == filters == NARROW
        if narrow and node.input[0] in self.wide:
            read = (WIDE, *read[1:])
        elif narrow:
            made, filters = self._crops(node), WIDE
            self.wide.add((activation or node).output[0])
        else:
            made = self._crops(node)
        kind, each = "Convolution", read[0]
        if groups != 1:
            deep = is_depthwise(self.graph, node)
            kind, groups, each = "ConvolutionDepthWise", filters if deep else groups, 1
            each = 1 if deep else read[0] // groups
        params = (
            f"0={filters} 1={kernel[1]} 11={kernel[0]} 2={dilations[1]} 12={dilations[0]} "
            f"3={strides[1]} 13={strides[0]} 4={pads[1]} 14={pads[0]} 15={pads[3]} 16={pads[2]} "
            f"5={int(len(node.input) > 2)} 6={filters * each * kernel[0] * kernel[1]}"
        )
        params += f" 7={groups}" if kind != "Convolution" else ""
        params += f" {FUSED[activation.op_type]}" if activation is not None else ""
        return [*made, Layer(kind, params, (read,))]


def unknown_kinds(layers: Mapping[str, tuple[Layer, ...]], graph: Graph) -> tuple[str, ...]:
    """Return the kinds of nodes of which no layer is known, in the graph's order."""
    fused = {node.output[0] for node in graph.nodes if node.op_type in FUSED}
    return tuple(
        dict.fromkeys(
            node.op_type
            for node in graph.nodes
            if not layers[node.output[0]] and node.output[0] not in fused
        )
    )
