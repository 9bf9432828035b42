"""Exact rewrites of a network into forms that runtimes execute faster, each with a name.

``leaky`` changes the network before it is exported, the others the ONNX graph, one after the other.
Each counts what it changed, and says what it looked for where it found nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import onnx
from torch import nn

from toolchain.exporting.graph import Graph
from toolchain.exporting.rewriting.activations import rewrite_activations
from toolchain.exporting.rewriting.factors import fold_factors
from toolchain.exporting.rewriting.heads import merge_heads
from toolchain.exporting.rewriting.largest import compare_channels
from toolchain.exporting.rewriting.rows import sum_rows
from toolchain.records.stages import Rewritten

LEAKY = "leaky"
LACKING = {
    LEAKY: "there is no PReLU whose slopes are all the same",
    "factors": "no product with a number stands where convolutions can take it in",
    "heads": "no two convolutions without an activation read the same",
    "largest": "nothing takes the largest of 2 to 8 channels",
    "rows": "no convolution reads half as many channels again as it has filters, on 400 pixels",
}
"""Why a rewrite does not apply."""
ON_GRAPHS: dict[str, Callable[[Graph], int]] = {
    "factors": fold_factors,
    "heads": merge_heads,
    "largest": compare_channels,
    "rows": sum_rows,
}
"""In the order in which they are done."""
ONNXRUNTIME_ALONE = ("rows",)
"""What other runtimes are slower for."""
BRANCHES = "the graph has branches or loops, which are not looked into"


@dataclass(frozen=True)
class Rewrites:
    """The rewrites that are asked for, and what is told of each."""

    names: Collection[str]
    on_done: Callable[[Rewritten], None] = lambda _done: None

    def of_network(self, network: nn.Module) -> None:
        """Rewrite a network in place."""
        if LEAKY in self.names:
            self._tell(LEAKY, rewrite_activations(network))

    def of_model(self, model: onnx.ModelProto) -> Iterator[str]:
        """Rewrite a model in place; yield the name of each rewrite that changed it, when it has."""
        for name, rewrite in ON_GRAPHS.items():
            if name not in self.names:
                continue
            graph = Graph(model)
            if graph.has_branches:
                self.on_done(Rewritten(name, 0, BRANCHES))
                continue
            changed = rewrite(graph)
            self._tell(name, changed)
            if changed:
                graph.write()
                yield name

    def _tell(self, name: str, changed: int) -> None:
        self.on_done(Rewritten(name, changed, None if changed else LACKING[name]))
