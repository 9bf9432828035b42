"""Depthwise convolutions of parts of one value become one of the whole, cut apart afterwards.

Light detectors end each kind of output in a 1x1 convolution and a depthwise one. Where the first
are merged (see :mod:`~toolchain.exporting.rewriting.heads`), those that come after are of 1, 4 or
10 channels, for which no runtime has a fast kernel. Each channel has the same sum as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import onnx

from toolchain.exporting.graph import Graph, attributes
from toolchain.exporting.rewriting.merging import own_weight, weight_and_bias


@dataclass(frozen=True)
class Part:
    """Some channels of a value, cut out, and the convolution that reads them."""

    cut: onnx.NodeProto
    start: int
    end: int
    convolution: onnx.NodeProto


def merge_parts(graph: Graph) -> int:
    """Merge depthwise convolutions of the parts of a value; return how many are gone."""
    merged = 0
    for value in {node.input[0]: None for node in graph.nodes if node.op_type == "Slice"}:
        parts = _parts(graph, value)
        if len(parts) > 1:
            _merge(graph, value, parts)
            merged += len(parts) - 1
    return merged


def _parts(graph: Graph, value: str) -> list[Part]:
    """Return the parts of a value in the order of channels; none if that is not all of it."""
    found = [_part(graph, reader) for reader in graph.readers(value)]
    parts = sorted((part for part in found if part), key=lambda part: part.start)
    shape = graph.shape(value) or _shape_of_maker(graph, value)
    whole = shape is not None and len(parts) == len(found) > 0 and value not in graph.outputs
    if not whole or shape is None or (parts[0].start, parts[-1].end) != (0, shape[1]):
        return []
    alike = {_form(each.convolution, graph) for each in parts}
    adjacent = all(one.end == other.start for one, other in pairwise(parts))
    return parts if len(alike) == 1 and adjacent else []


def _shape_of_maker(graph: Graph, value: str) -> tuple[int | None, ...] | None:
    """Return (None, channels) of what a convolution makes, whose shape nothing tells."""
    maker = graph.maker(value)
    if maker is None or maker.op_type != "Conv":
        return None
    weight = graph.input_constant(maker, 1)
    return None if weight is None else (None, len(weight))


def _part(graph: Graph, cut: onnx.NodeProto) -> Part | None:
    """Return the part that a node cuts out, if a depthwise convolution alone reads it."""
    bounds = [graph.input_constant(cut, index) for index in range(1, 5)]
    start, end, axis, step = (
        int(each[0]) if each is not None and each.size == 1 else None for each in bounds
    )
    readers = graph.readers(cut.output[0])
    if cut.op_type != "Slice" or start is None or end is None or axis != 1 or step not in (None, 1):
        return None
    if not 0 <= start < end or not graph.read_once(cut.output[0]):
        return None
    fits = _is_depthwise(graph, readers[0], end - start)
    return Part(cut, start, end, readers[0]) if fits else None


def _is_depthwise(graph: Graph, node: onnx.NodeProto, channels: int) -> bool:
    """Tell whether a convolution has one filter for each channel, with weights of its own."""
    weight = own_weight(graph, node)
    one_each = weight is not None and weight.ndim == 4 and weight.shape[:2] == (channels, 1)
    return one_each and attributes(node).get("group", 1) == channels


def _form(node: onnx.NodeProto, graph: Graph) -> tuple[tuple[str, str], ...]:
    """Return all that convolutions of parts of one value must share to become one."""
    given = {name: str(value) for name, value in attributes(node).items() if name != "group"}
    weight = graph.input_constant(node, 1)
    given["kernel_shape"] = str(() if weight is None else weight.shape[2:])
    return tuple(sorted(given.items()))


def _merge(graph: Graph, value: str, parts: Sequence[Part]) -> None:
    order = {id(node): place for place, node in enumerate(graph.nodes)}
    first = min((part.convolution for part in parts), key=lambda node: order[id(node)])
    found = [weight_and_bias(graph, part.convolution) for part in parts]
    weights, biases = (np.concatenate(each) for each in zip(*found, strict=True))
    names = [
        value,
        graph.add_constant(f"{first.input[1]}.merged", weights),
        graph.add_constant(f"{first.input[1]}.merged_bias", biases),
    ]
    given = {**attributes(first), "group": parts[-1].end}
    merged = graph.make("Conv", names, f"{first.name}_merged", **given)
    cuts = [
        onnx.helper.make_node(
            "Slice",
            [merged.output[0], *part.cut.input[1:]],
            list(part.convolution.output),
            name=graph.free(f"{part.convolution.name}_channels"),
        )
        for part in parts
    ]
    for part in parts:
        graph.replace(part.cut, ())
    for part in parts:
        if part.convolution is not first:
            graph.replace(part.convolution, ())
    graph.replace(first, (merged, *cuts))
