"""Convolutions that read the same become one.

Detectors end in pairs of small convolutions, of boxes and of scores, on the same feature. One with
the filters of both lays out the feature once, and fills blocks of 4 or 8 filters that each alone
leaves half empty. Its channels are cut apart again: the same sums of the same products. Depthwise
convolutions that read the parts follow, see :mod:`~toolchain.exporting.rewriting.parts`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from toolchain.exporting.graph import Graph, attributes
from toolchain.exporting.rewriting.merging import own_weight, weight_and_bias
from toolchain.exporting.rewriting.parts import merge_parts


def merge_heads(graph: Graph) -> int:
    """Merge convolutions of the same input; return how many are gone."""
    merged = 0
    for group in _groups(graph):
        _merge(graph, group)
        merged += len(group) - 1
    return merged + merge_parts(graph)


def _groups(graph: Graph) -> list[list[onnx.NodeProto]]:
    found: dict[tuple[object, ...], list[onnx.NodeProto]] = {}
    for node in graph.nodes:
        key = _key(graph, node)
        if key is not None:
            found.setdefault(key, []).append(node)
    return [group for group in found.values() if len(group) > 1]


def _key(graph: Graph, node: onnx.NodeProto) -> tuple[object, ...] | None:
    """Return what two convolutions must share to become one; None for what stays as it is."""
    weight = own_weight(graph, node)
    if weight is None or attributes(node).get("group", 1) != 1:
        return None
    given = {name: str(value) for name, value in attributes(node).items()}
    given["kernel_shape"] = str(weight.shape[2:])
    return node.input[0], *sorted(given.items())


def _merge(graph: Graph, group: Sequence[onnx.NodeProto]) -> None:
    first = group[0]
    weights, biases = zip(*(weight_and_bias(graph, node) for node in group), strict=True)
    weight = graph.add_constant(f"{first.input[1]}.merged", np.concatenate(weights))
    bias = graph.add_constant(f"{first.input[1]}.merged_bias", np.concatenate(biases))
    merged = graph.make("Conv", (first.input[0], weight, bias), f"{first.name}_merged")
    merged.attribute.extend(first.attribute)
    ends = np.cumsum([len(each) for each in weights])
    slices = [
        _slice(graph, merged.output[0], node, int(end) - len(w), int(end))
        for node, w, end in zip(group, weights, ends, strict=True)
    ]
    for node in group[1:]:
        graph.replace(node, ())
    graph.replace(first, (merged, *slices))


def _slice(graph: Graph, value: str, node: onnx.NodeProto, start: int, end: int) -> onnx.NodeProto:
    """Return the node that cuts channels out, under the name of the output that they were."""
    bounds = [
        graph.add_constant(f"{node.name}_{what}", np.array([number], np.int64))
        for what, number in (("start", start), ("end", end), ("axis", 1))
    ]
    return onnx.helper.make_node(
        "Slice", [value, *bounds], list(node.output), name=f"{node.name}_channels"
    )
