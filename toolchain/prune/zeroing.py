"""Zeroing filters once, layer by layer as the paper does, or group by group.

In scope ``layer`` each convolution loses its own filters, so that in a residual stream hardly a
channel is zero in all of its writers, and the constants of batch norm stay. In scope ``group`` a
channel is scored by all filters that write it, and is zeroed in all of them together with its
batch norm's scale and shift: then everything that is zero can be removed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from toolchain.errors import RecipeError
from toolchain.prune.criteria import choose, choose_count
from toolchain.prune.groups import (
    ChannelGroup,
    free_layers,
    groups_of,
    named_filters,
    zeroed_counts,
)
from toolchain.recipe import PruneSection
from toolchain.shrink.channels import Flow
from toolchain.shrink.flow import trace_flow
from toolchain.shrink.layers import layers_of


def zero_filters(
    network: nn.Module, example: Tensor, prune: PruneSection, *, zeros_first: bool = False
) -> nn.Module:
    """Return a copy of ``network`` with floor(rate * n) filters of each layer or group zeroed.

    Of a group that has a width of its own, all but as many are zeroed, or those that are named.
    ``example`` is an input (N, C, H, W), used for its shape. With ``zeros_first`` filters that are
    zero already are counted among them; without, each is chosen by its score alone.
    """
    network = copy.deepcopy(network).eval()
    if (prune.widths or prune.gone) and prune.scope == "layer":
        raise RecipeError("prune.widths are of groups; prune.scope must be group (got 'layer')")
    if not prune.zeroes:
        return network
    if prune.scope == "layer":
        _zero_by_layer(network, example, prune, zeros_first=zeros_first)
    else:
        _zero_by_group(network, example, prune, zeros_first=zeros_first)
    return network


def _zero_by_layer(
    network: nn.Module, example: Tensor, prune: PruneSection, *, zeros_first: bool
) -> None:
    """Each convolution on its own, but for those that make the output."""
    flow, rate = trace_flow(network, example), prune.rate or 0.0
    for name, layer in free_layers(network, prune.protected).items():
        if name not in flow.output_layers:
            filters = layer.filters().detach()
            layer.zero(choose(filters, rate, prune.criterion, zeros_first=zeros_first))


def _zero_by_group(
    network: nn.Module, example: Tensor, prune: PruneSection, *, zeros_first: bool
) -> None:
    flow, layers = trace_flow(network, example), layers_of(network)
    groups = groups_of(network, flow, prune.protected)
    counts, named = zeroed_counts(groups, prune), named_filters(groups, prune)
    for group in groups:
        rows, count = group.filters(layers), counts[group.name]
        chosen = choose_count(rows, count, prune.criterion, zeros_first=zeros_first)
        zero_channels(network, flow, group, named.get(group.name, chosen))


def zero_channels(
    network: nn.Module, flow: Flow, group: ChannelGroup, indices: Iterable[int]
) -> None:
    """Zero channels of a group in all that writes them, batch norm's scale and shift too."""
    layers = layers_of(network)
    for index in indices:
        for name, channel in group.channels[index]:
            layers[name].zero([channel])
        _zero_shifts(network, flow, group.channels[index][0])


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
