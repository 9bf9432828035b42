"""Dependency groups of a network: the only room that imports torch-pruning.

Torch-pruning traces a network by autograd and knows which channels of which layers can only be
removed together. This room asks it for the groups of given layers and hands on plain pairs, so
that nothing else depends on its types.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from unittest import mock

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch_pruning.pruner import function

from toolchain.errors import AnalysisError
from toolchain.surgery.running import fresh
from toolchain.system.quiet import without_warnings

MAX_GROUP_ITEMS = 4_000
"""A group with more members does not end: torch-pruning takes a concatenation of positions for
one of channels and goes round in circles."""


@dataclass(frozen=True)
class Slot:
    """One channel of one layer."""

    layer: str
    """Dotted name of the module."""
    side: Literal["out", "in"]
    index: int


def coupled_slots(
    network: nn.Module, example: tuple[Tensor, ...], roots: Sequence[str]
) -> list[tuple[Slot, Slot]]:
    """Return pairs of channels that can only be removed together.

    ``example`` is what the network is called with; ``roots`` names the convolutions and linear
    layers whose output channels are asked for. Raises :class:`AnalysisError` if torch-pruning
    cannot follow.
    """
    network = fresh(network).eval().requires_grad_(True)
    names = {module: name for name, module in network.named_modules()}
    asked = set(roots)
    try:
        with without_warnings(), mock.patch("torch_pruning.dependency.graph.Group", _BoundedGroup):
            graph = _build_graph(network, example)
            found = [
                pair
                for module in graph.module2node
                if names.get(module) in asked
                for pair in _pairs_of_group(graph, module, names)
            ]
            _take_apart(graph)
            return found
    except Exception as error:  # torch-pruning raises bare errors of every kind
        raise AnalysisError(
            f"torch-pruning cannot follow this network ({type(error).__name__}: {error})"
        ) from error


_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)
_LAYERS_WITH_CHANNEL_PARAMETERS = (*_LAYERS, nn.modules.batchnorm._BatchNorm, nn.PReLU)


class _BoundedGroup(tp.Group):  # type: ignore[misc]
    """A group that refuses to grow for ever."""

    def add_dep(self, dep: Any, idxs: Any) -> None:
        if len(self) >= MAX_GROUP_ITEMS:
            raise RecursionError(f"a dependency group has over {MAX_GROUP_ITEMS:,} members")
        super().add_dep(dep, idxs)


def _build_graph(network: nn.Module, example: tuple[Tensor, ...]) -> tp.DependencyGraph:
    in_layers = {
        id(parameter)
        for module in network.modules()
        if isinstance(module, _LAYERS_WITH_CHANNEL_PARAMETERS)
        for parameter in module.parameters(recurse=False)
    }
    # Torch-pruning takes the last dimension of parameters outside layers for channels, and ties
    # together all that such a parameter touches. Both are wrong for EResFD's fusion weights
    # (2, 9), scalars per level; where one really has channels, our own run sees it.
    outside = [parameter for parameter in network.parameters() if id(parameter) not in in_layers]
    for parameter in outside:
        parameter.requires_grad_(False)
    with torch.enable_grad():
        return tp.DependencyGraph().build_dependency(
            network, example_inputs=example, ignored_params=outside, verbose=False
        )


def _take_apart(graph: tp.DependencyGraph) -> None:
    """Let go of the network and of all values of its run: the graph's nodes know each other."""
    for node in list(graph.module2node.values()):
        vars(node).clear()
    vars(graph).clear()


def _pairs_of_group(
    graph: tp.DependencyGraph, root: nn.Module, names: dict[nn.Module, str]
) -> Iterator[tuple[Slot, Slot]]:
    prune = (
        function.prune_linear_out_channels
        if isinstance(root, nn.Linear)
        else function.prune_conv_out_channels
    )
    group = graph.get_pruning_group(root, prune, list(range(graph.get_out_channels(root))))
    for item in group:
        module = item.dep.target.module
        if isinstance(module, _LAYERS) and module in names:
            side: Literal["out", "in"] = (
                "out" if graph.is_out_channel_pruning_fn(item.dep.handler) else "in"
            )
            for index, source in zip(item.idxs, item.root_idxs, strict=True):
                yield Slot(names[root], "out", int(source)), Slot(names[module], side, int(index))
