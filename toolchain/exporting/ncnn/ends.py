"""A detector's last layers left as maps: what comes after them is order alone, and done elsewhere.

After the convolutions that give offsets and scores a detector lays rows of cells one after the
other, and takes the largest of some scores. No number is computed there. Runtimes copy every value
three times for it. Which channel of which map becomes what is found by running that part on numbers
that say where they come from, so it does not matter how the network writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from toolchain.deploy.detector.ncnn_facts import Column, Level
from toolchain.deploy.detector.ncnn_maps import joined
from toolchain.exporting.graph import Graph
from toolchain.exporting.ncnn.columns import find_columns
from toolchain.system.sessions import open_session

ORDER = (
    "Concat", "Flatten", "Identity", "Max", "ReduceMax", "Reshape", "Slice", "Split", "Squeeze",
    "Transpose", "Unsqueeze",
)  # fmt: skip
"""Operators that compute no number."""
LOW = -(2.0**23)
Arrays = Mapping[str, NDArray[np.float32]]
Run = Callable[[Arrays], list[NDArray[np.float32]]]
"""Gives the two outputs for the maps."""


@dataclass(frozen=True)
class Ends:
    """The maps that a detector ends in, finest level first."""

    values: tuple[str, ...]
    """Their names in the graph."""
    levels: tuple[Level, ...] | None
    columns: tuple[Column, ...] | None = None


def find_ends(model: onnx.ModelProto) -> Ends | None:
    """Return the maps that a network ends in; None if it ends in anything else.

    Those of a face detector with outputs (1, P, 4) and (1, P, 2), or columns of each output.
    """
    faces = _find_levels(model)
    columns = find_columns(model) if faces is None else None
    return faces if columns is None else Ends(columns[0], None, columns[1])


def _find_levels(model: onnx.ModelProto) -> Ends | None:
    graph = Graph(model)
    outputs = [output.name for output in model.graph.output]
    maps = maps_of(graph, outputs)
    shapes = {name: graph.shape(name) for name in maps}
    if len(outputs) != 2 or not maps:
        return None
    sizes: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        if shape is None or len(shape) != 4 or None in shape or graph.maker(name) is None:
            return None
        sizes[name] = tuple(side for side in shape if side is not None)
    tail = onnx.utils.Extractor(model).extract_model(maps, outputs)
    session = open_session(tail.SerializeToString())

    def run(values: Arrays) -> list[NDArray[np.float32]]:
        found: list[NDArray[np.float32]] = session.run(outputs, dict(values))
        return found

    found = _levels(run, sizes)
    return found if found is not None and _holds(run, found, sizes) else None


def keep_ends(model: onnx.ModelProto, ends: Ends) -> None:
    """Let a model give its maps in place of its outputs, in place."""
    shapes = {value.name: value for value in model.graph.value_info}
    kept = [
        onnx.ValueInfoProto.FromString(shapes[name].SerializeToString()) for name in ends.values
    ]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    graph = Graph(model)
    graph.sweep()
    graph.write()


def maps_of(graph: Graph, outputs: Sequence[str]) -> list[str]:
    """Return the values from which outputs are made by order alone."""
    found: dict[str, None] = {}
    todo, seen = list(outputs), set[str]()
    while todo:
        name = todo.pop(0)
        if name in seen or graph.constant(name) is not None:
            continue
        seen.add(name)
        node = graph.maker(name)
        if node is not None and node.op_type in ORDER:
            todo += [each for each in node.input if each]
        else:
            found[name] = None
    return list(found)


def _levels(run: Run, sizes: Mapping[str, tuple[int, ...]]) -> Ends | None:
    """Read off which channels become what, by numbers that say where they come from."""
    labels: dict[str, NDArray[np.float32]] = {}
    start = 0
    for name, shape in sizes.items():
        count = int(np.prod(shape))
        labels[name] = np.arange(start, start + count, dtype=np.float32).reshape(shape)
        start += count
    if start >= 2**23:  # more than float32 can tell apart
        return None
    loc, logits = run(labels)
    if loc.ndim != 3 or loc.shape[::2] != (1, 4) or logits.shape != (1, loc.shape[1], 2):
        return None
    names, levels, row = list[str](), list[Level](), 0
    while row < loc.shape[1]:
        origin = _origin(labels, float(loc[0, row, 0]))
        if origin is None:
            return None
        cells, first = sizes[origin][2] * sizes[origin][3], float(labels[origin].flat[0])
        boxes = tuple(int((value - first) // cells) for value in loc[0, row])
        face = int((logits[0, row, 1] - first) // cells)
        background = tuple(
            channel
            for channel in range(sizes[origin][1])
            if _counts(run, sizes, origin, channel, row)
        )
        if not background or not 0 <= face < sizes[origin][1]:
            return None
        names.append(origin)
        levels.append(Level(boxes, background, face))
        row += cells
    return Ends(tuple(names), tuple(levels))


def _origin(labels: Arrays, label: float) -> str | None:
    """Return the map that a label is of."""
    for name, each in labels.items():
        if each.flat[0] <= label <= each.flat[-1]:
            return name
    return None


def _counts(
    run: Run, sizes: Mapping[str, tuple[int, ...]], name: str, channel: int, row: int
) -> bool:
    """Tell whether a channel is one of those of which the background is the largest."""
    values = {each: np.full(shape, LOW, np.float32) for each, shape in sizes.items()}
    values[name][0, channel] = 0.0
    return bool(run(values)[1][0, row, 0] == 0.0)


def _holds(run: Run, ends: Ends, sizes: Mapping[str, tuple[int, ...]]) -> bool:
    """Tell whether random maps, joined, give the very outputs."""
    if sorted(ends.values) != sorted(sizes):
        return False
    random = np.random.default_rng(0)
    for _ in range(2):
        values = {n: random.standard_normal(s).astype(np.float32) for n, s in sizes.items()}
        ours = joined([values[name][0] for name in ends.values], ends.levels or ())
        theirs = run(values)
        if not all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)):
            return False
    return True
