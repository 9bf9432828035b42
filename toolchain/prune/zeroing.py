"""Zeroing filters once, layer by layer as the paper does, or group by group.

In scope ``layer`` each convolution loses its own filters, so that in a residual stream hardly a
channel is zero in all of its writers, and the constants of batch norm stay. In scope ``group`` a
channel is scored by all filters that write it, and is zeroed in all of them together with its
batch norm's scale and shift: then everything that is zero can be removed.
"""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from toolchain.prune.criteria import choose
from toolchain.recipe import PruneSection
from toolchain.shrink.channels import Flow
from toolchain.shrink.flow import trace_flow
from toolchain.shrink.layers import Layer, layers_of


def zero_filters(
    network: nn.Module, example: Tensor, prune: PruneSection, *, zeros_first: bool = False
) -> nn.Module:
    """Return a copy of ``network`` with floor(rate * n) filters of each layer or group zeroed.

    ``example`` is an input (N, C, H, W), used for its shape. With ``zeros_first`` filters that are
    zero already are counted among them; without, each is chosen by its score alone.
    """
    network = copy.deepcopy(network).eval()
    if not prune.rate:
        return network
    if prune.scope == "layer":
        _zero_by_layer(network, example, prune, zeros_first=zeros_first)
    else:
        _zero_by_group(network, example, prune, zeros_first=zeros_first)
    return network


def _free_layers(network: nn.Module, protected: Sequence[str]) -> dict[str, Layer]:
    """Return the convolutions that no pattern protects."""
    return {
        name: layer
        for name, layer in layers_of(network).items()
        if layer.is_convolution and not _matches(name, protected)
    }


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _zero_by_layer(
    network: nn.Module, example: Tensor, prune: PruneSection, *, zeros_first: bool
) -> None:
    """Each convolution on its own, but for those that make the output."""
    flow = trace_flow(network, example)
    assert prune.rate is not None
    for name, layer in _free_layers(network, prune.protected).items():
        if name not in flow.output_layers:
            filters = layer.filters().detach()
            layer.zero(choose(filters, prune.rate, prune.criterion, zeros_first=zeros_first))


def _zero_by_group(
    network: nn.Module, example: Tensor, prune: PruneSection, *, zeros_first: bool
) -> None:
    flow = trace_flow(network, example)
    layers = _free_layers(network, prune.protected)
    assert prune.rate is not None
    for group in _groups(flow, layers, layers_of(network)):
        rows = torch.stack([_vector(layers, slots) for slots in group])
        for index in choose(rows, prune.rate, prune.criterion, zeros_first=zeros_first):
            for name, channel in group[index]:
                layers[name].zero([channel])
            _zero_shifts(network, flow, group[index][0])


Slots = list[tuple[str, int]]
"""The (layer, filter) pairs that write one channel."""


def _groups(flow: Flow, free: dict[str, Layer], layers: dict[str, Layer]) -> Iterator[list[Slots]]:
    """Yield the channels of each dependency group: those that the same layers write."""
    writers: dict[int, Slots] = {}
    for name in layers:
        for channel, node in enumerate(flow.out_nodes[name]):
            writers.setdefault(flow.classes.find(node), []).append((name, channel))
    groups: dict[tuple[str, ...], list[Slots]] = {}
    for index, slots in sorted(writers.items()):
        names = tuple(name for name, _ in slots)
        if all(name in free for name in names) and flow.classes.protection(index) is None:
            groups.setdefault(names, []).append(slots)
    yield from groups.values()


def _vector(layers: dict[str, Layer], slots: Slots) -> Tensor:
    """Return all weights that write one channel, side by side."""
    return torch.cat([layers[name].filters()[channel].detach() for name, channel in slots])


def _zero_shifts(network: nn.Module, flow: Flow, slot: tuple[str, int]) -> None:
    """Zero scale and shift of every batch norm that the channel passes."""
    index = flow.classes.find(flow.out_nodes[slot[0]][slot[1]])
    for name, nodes in flow.tensor_nodes.items():
        module = network.get_submodule(name.rpartition(".")[0])
        if not isinstance(module, nn.modules.batchnorm._BatchNorm):
            continue
        for channel, node in enumerate(nodes):
            if flow.classes.find(node) == index:
                for parameter in module.parameters(recurse=False):
                    with torch.no_grad():
                        parameter[channel] = 0.0
