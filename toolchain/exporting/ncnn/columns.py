"""Outputs that are columns of maps: channels of a map, laid out cell by cell, perhaps as scores.

Networks without anchors give ``(1, cells, numbers)`` for every level and kind. The runtime cuts a
map into parts and turns each about, copying every value three times. Here maps are left as they
are; whoever reads them takes views, and computes the sigmoid of the few channels that are scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from toolchain.deploy.detector.ncnn_facts import Column
from toolchain.exporting.graph import Graph
from toolchain.system.sessions import open_session

TURNS = ("Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")
"""Operators of one value that compute no number."""
SIGMOID = "Sigmoid"
EXACT = 2**23
"""Whole numbers that float32 can tell apart."""

Sizes = Mapping[str, tuple[int, ...]]


def find_columns(model: onnx.ModelProto) -> tuple[tuple[str, ...], tuple[Column, ...]] | None:
    """Return the maps by name, and what of them each output is; None where one is anything else.

    Found by running that part on numbers that say where they come from.
    """
    graph = Graph(model)
    outputs = [output.name for output in model.graph.output]
    sources = [_source(graph, name) for name in outputs]
    sizes = _sizes(graph, [source for source, _ in sources])
    if sizes is None or all(graph.shape(name) == sizes.get(name) for name in outputs):
        return None
    found = _turned(model, outputs, sizes)
    if found is None:
        return None
    labels, values = found
    maps, columns = tuple(sizes), list[Column]()
    for (source, scored), value in zip(sources, values, strict=True):
        channels = _channels(labels[source], value)
        if channels is None:
            return None
        columns.append(Column(maps.index(source), channels, scored))
    return maps, tuple(columns)


def _source(graph: Graph, name: str) -> tuple[str, bool]:
    """Return the value that an output is in another order, and whether a sigmoid lies between."""
    scored = False
    while (node := graph.maker(name)) is not None:
        given = [each for each in node.input if each and graph.constant(each) is None]
        if len(given) != 1 or not (
            node.op_type in TURNS or (node.op_type == SIGMOID and not scored)
        ):
            break
        scored = scored or node.op_type == SIGMOID
        name = given[0]
    return name, scored


def _sizes(graph: Graph, names: Sequence[str]) -> Sizes | None:
    """Return the sizes (1, C, rows, columns) of maps; None where one is no map that is made."""
    found = dict[str, tuple[int, ...]]()
    for name in names:
        shape = graph.shape(name)
        made = graph.maker(name) is not None
        if not made or shape is None or len(shape) != 4 or None in shape or shape[0] != 1:
            return None
        found[name] = tuple(side or 0 for side in shape)
    return found if found and sum(map(np.prod, found.values())) < EXACT else None


def _turned(
    model: onnx.ModelProto, outputs: Sequence[str], sizes: Sizes
) -> tuple[dict[str, NDArray[np.float32]], list[NDArray[np.float32]]] | None:
    """Return numbers for the maps that tell where they are, and the outputs for them.

    None where the part between, cut out, cannot be run.
    """
    tail = onnx.utils.Extractor(model).extract_model(list(sizes), list(outputs))
    for node in tail.graph.node:
        if node.op_type == SIGMOID:
            node.op_type = "Identity"
    labels, start = dict[str, NDArray[np.float32]](), 0
    for name, shape in sizes.items():
        count = int(np.prod(shape))
        labels[name] = np.arange(start, start + count, dtype=np.float32).reshape(shape)
        start += count
    session = open_session(tail.SerializeToString())
    return labels, list(session.run(list(outputs), labels))


def _channels(labels: NDArray[np.float32], value: NDArray[np.float32]) -> tuple[int, ...] | None:
    """Return which channels of a map are the columns of an output; None if that is not all."""
    rows = labels[0].reshape(labels.shape[1], -1)
    if value.ndim != 3 or value.shape[:2] != (1, rows.shape[1]):
        return None
    first = value[0, 0] - rows[0, 0]
    channels = (first // rows.shape[1]).astype(int)
    if (channels < 0).any() or (channels >= len(rows)).any():
        return None
    exact = np.array_equal(value[0], rows[channels].T)
    return tuple(map(int, channels)) if exact else None
