"""What layers of ncnn cost on a board, by widths: each measured alone, once, and kept.

The runtime has no profiler on the board; but what a layer costs depends on its parameters and on
the sizes of what it reads alone, so each is run as a network of its own. What a whole file takes
beyond its layers (asking for outputs, layers of no known kind) is measured once, and does not
change with the widths.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx

from toolchain.errors import AnalysisError
from toolchain.exporting.graph import Graph, attributes
from toolchain.exporting.ncnn.align import BLOCK
from toolchain.exporting.ncnn.ends import find_ends, keep_ends
from toolchain.exporting.ncnn.layers import Layer, Layers, Size, unknown_kinds
from toolchain.exporting.ncnn.ncnn_file import write_ncnn
from toolchain.exporting.rewriting import ONNXRUNTIME_ALONE, Rewrites
from toolchain.records.run_folder import NCNN
from toolchain.widths.costs import Book, CostModel, Touching
from toolchain.widths.template import Dimension, Template, Widths

TOGETHER = 128
"""Layers that one process of the board runs."""

RunLayers = Callable[[Sequence[Layer], Sequence[Path]], tuple[list[int], list[int]]]
"""Runs layers, and whole files, on the board; returns what each takes."""


@dataclass(frozen=True)
class Place:
    """A node of the graph, whatever layers it becomes; the last one stands for all that is else."""

    name: str
    groups: frozenset[str]


class NcnnCosts(CostModel):
    """Those of ncnn, layer by layer."""

    block = BLOCK

    def __init__(
        self,
        template: Template,
        rewrites: Collection[str],
        book: Book,
        run: RunLayers,
        *,
        for_detect: bool,
    ) -> None:
        """Find the layers of the whole network; measure nothing yet but what is fixed.

        ``rewrites`` are those of the exported file. Raises :class:`AnalysisError` where sizes
        cannot be followed, and :class:`ExportError` where ncnn does not know the network.
        """
        self.template, self.book, self.run = template, book, run
        self.rewrites = set(rewrites) - set(ONNXRUNTIME_ALONE)
        self.for_detect = for_detect
        graph, free = self._ended({})
        self.layers = Layers(graph, free, for_detect=for_detect)
        self._sizes = self._followed(graph)
        self._known: dict[tuple[int, ...], Mapping[str, tuple[Layer, ...]]] = {}
        self._places = tuple(Place(node.output[0], self._groups_of(node)) for node in graph.nodes)
        self.unknown = unknown_kinds(self._at({}), graph)
        keys = sorted(layer.key for layer in self._layers({}))
        self._rest = "rest of " + hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]
        if self._rest not in book.costs:
            self._measure_rest()

    @property
    def operators(self) -> Sequence[Place]:
        """The graph's nodes, and the rest."""
        return (*self._places, Place("", frozenset()))

    def known(self, operator: Touching, widths: Widths) -> int | None:
        """Return what the layers of a node take at these widths; None if one is not measured."""
        assert isinstance(operator, Place)
        if not operator.name:
            return self.book.costs[self._rest]
        found = [self.book.costs.get(layer.key) for layer in self._at(widths)[operator.name]]
        known = [each for each in found if each is not None]
        return sum(known) if len(known) == len(found) else None

    def measure(self, wanted: Sequence[Widths], on_stage: Callable[[str], None]) -> None:
        """Measure the layers that are missing at these widths."""
        missing = self._missing([layer for widths in wanted for layer in self._layers(widths)])
        for start in range(0, len(missing), TOGETHER):
            some = missing[start : start + TOGETHER]
            if len(missing) > TOGETHER:
                on_stage(f"measure layers, {start} of {len(missing)}")
            self._take(some, ())

    def _missing(self, layers: Sequence[Layer]) -> list[Layer]:
        unknown = {layer.key: layer for layer in layers if layer.key not in self.book.costs}
        return list(unknown.values())

    def _take(self, layers: Sequence[Layer], files: Sequence[Path]) -> list[int]:
        found, whole = self.run(layers, files)
        self.book.add({layer.key: cost for layer, cost in zip(layers, found, strict=True)})
        return whole

    def write(self, widths: Widths, folder: Path) -> Path:
        """Write an ncnn file of the network at these widths; return the folder of three files.

        What it computes is of no use, what it costs is what the shrunk network costs.
        """
        model = self._rewritten(widths)
        graph = Graph(model)
        for node in graph.nodes:
            shape = graph.shape(node.output[0])
            if node.op_type == "Resize" and len(node.input) > 3 and "axes" in attributes(node):
                sizes = graph.add_constant("sizes", np.array(shape, np.int64))
                graph.set_input(node, 3, sizes)
                given = [each for each in node.attribute if each.name != "axes"]
                del node.attribute[:]
                node.attribute.extend(given)
        graph.write()
        write_ncnn(model, folder, texts={}, for_detect=self.for_detect)
        return (folder / NCNN).parent

    def _measure_rest(self) -> None:
        layers = self._layers({})
        with TemporaryDirectory(prefix="ncnn.") as room:
            (whole,) = self._take(self._missing(layers), [self.write({}, Path(room))])
        known = sum(self.book.costs[layer.key] for layer in layers)
        self.book.add({self._rest: max(0, whole - known)})

    def _rewritten(self, widths: Widths) -> onnx.ModelProto:
        model = self.template.file(widths)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        for _ in Rewrites(self.rewrites).of_model(model):
            pass
        return model

    def _ended(self, widths: Widths) -> tuple[Graph, Sequence[str]]:
        """Return the network before widths are filled up, and the outputs that may be."""
        model = self._rewritten(widths)
        ends = find_ends(model) if self.for_detect else None
        if ends is not None:
            keep_ends(model, ends)
        return Graph(model), ends.values if ends else ()

    def _followed(self, graph: Graph) -> dict[str, tuple[Dimension, ...]]:
        """Return the sizes of the graph's values by widths; what rewrites add has its own.

        Raises :class:`AnalysisError` where that is not so.
        """
        found: dict[str, tuple[Dimension, ...]] = {}
        for name in {name for node in graph.nodes for name in node.output}:
            shape = graph.shape(name)
            if shape is not None and None not in shape:
                fixed = tuple(Dimension(side or 0) for side in shape)
                found[name] = self.template.dimensions.get(name, fixed)
        less = {name: max(1, width - 1) for name, width in self.template.whole.items()}
        narrowed, _ = self._ended(less)
        removed = self.template.removed(less)
        for name, sides in found.items():
            if narrowed.shape(name) != tuple(side.at(removed) for side in sides):
                raise AnalysisError(
                    f"the rewrites change {name} with the widths, so ncnn's layers cannot be told; "
                    f"take --runtime onnxruntime"
                )
        for name in {name for node in graph.nodes for name in node.input} - set(found):
            shape = graph.shape(name)
            if shape is not None and None not in shape:
                found[name] = tuple(Dimension(side or 0) for side in shape)
        return found

    def _layers(self, widths: Widths) -> list[Layer]:
        return [layer for layers in self._at(widths).values() for layer in layers]

    def _at(self, widths: Widths) -> Mapping[str, tuple[Layer, ...]]:
        """Return the layers of all nodes at these widths."""
        removed = self.template.removed(widths)
        key = tuple(removed.values())
        if key not in self._known:

            def size_of(name: str) -> Size | None:
                sides = self._sizes.get(name)
                if sides is None or len(sides) != 4:
                    return None
                _, channels, rows, columns = (side.at(removed) for side in sides)
                return channels, rows, columns

            self._known[key] = self.layers.at(size_of)
        return self._known[key]

    def _groups_of(self, node: onnx.NodeProto) -> frozenset[str]:
        """Return those whose widths decide what a node becomes.

        Whether a convolution from four channels to four is widened depends on whether those before
        it are.
        """
        found = self._own(node)
        for name in filter(None, node.input):
            for maker in self._before(name):
                found |= self._groups_of(maker)
                for reader in self.layers.graph.readers(name):
                    found |= self._own(reader)
        return frozenset(found)

    def _own(self, node: onnx.NodeProto) -> set[str]:
        names = (*node.input, *node.output)
        return {
            group
            for name in names
            for side in self._sizes.get(name, ())
            for group, _ in side.shares
        }

    def _before(self, name: str) -> tuple[onnx.NodeProto, ...]:
        """Return the convolution that makes a value, if it may be widened; none if none does."""
        graph = self.layers.graph
        maker = graph.maker(name)
        if maker is not None and maker.op_type != "Conv" and maker.input:
            before = graph.maker(maker.input[0])
            fused = before is not None and self.layers.activation_of(before) is maker
            maker = before if fused else None
        if maker is None or maker.output[0] not in self.layers.may_be_narrow:
            return ()
        return (maker,)
