"""Which outputs of a file are probabilities: what a sigmoid or a softmax gave, in another order.

Runtimes compute these by approximations that are off by a step of their type at 1, however small
the probability is. So where all are near zero, their own range says nothing of what is exact.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import onnx

from toolchain.exporting.graph import Graph
from toolchain.exporting.ncnn.ends import maps_of

BETWEEN_0_AND_1 = ("Sigmoid", "HardSigmoid", "Softmax")


@lru_cache(maxsize=8)
def _probabilities_at(path: Path, changed: int) -> frozenset[int]:  # noqa: ARG001
    model = onnx.load(path)
    graph = Graph(model)
    found = set[int]()
    for index, output in enumerate(model.graph.output):
        makers = [graph.maker(name) for name in maps_of(graph, [output.name])]
        kinds = {None if maker is None else maker.op_type for maker in makers}
        if kinds and kinds <= set(BETWEEN_0_AND_1):
            found.add(index)
    return frozenset(found)


def probabilities_in(path: Path) -> frozenset[int]:
    """Return the places of the outputs of an ONNX file that are probabilities; none of no file."""
    if path.suffix != ".onnx" or not path.is_file():
        return frozenset()
    return _probabilities_at(path, path.stat().st_mtime_ns)
