"""Zeroing filters once, layer by layer as the paper does, or group by group.

In scope ``layer`` each convolution loses its own filters, so that in a residual stream hardly a
channel is zero in all of its writers, and the constants of batch norm stay. In scope ``group`` a
channel is scored by all filters that write it, and is zeroed in all of them together with its
batch norm's scale and shift: then everything that is zero can be removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from toolchain.errors import RecipeError
from toolchain.models.sizes import Example
from toolchain.prune.asked import Asked, asked_by_group, asked_by_layer
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
from toolchain.shrink.running import fresh


@dataclass(frozen=True)
class Zeroed:
    """A network with zeroed filters, and what was asked for."""

    network: nn.Module
    asked: Asked


def zero_filters(
    network: nn.Module,
    example: Tensor | Example,
    prune: PruneSection,
    *,
    zeros_first: bool = False,
) -> nn.Module:
    """Return a copy of ``network`` with filters zeroed: :func:`zero_and_tell` in short."""
    return zero_and_tell(network, example, prune, zeros_first=zeros_first).network


def zero_and_tell(
    network: nn.Module,
    example: Tensor | Example,
    prune: PruneSection,
    *,
    zeros_first: bool = False,
) -> Zeroed:
    """Zero floor(rate * n) filters of each layer or group in a copy of ``network``.

    Of a group that has a width of its own, all but as many are zeroed, or those that are named.
    ``example`` is an input (N, C, H, W), or all tensors of one, used for their shapes. With
    ``zeros_first`` filters that are zero already are counted among them; without, each is chosen by
    its score alone.
    """
    network = fresh(network).eval()
    if (prune.widths or prune.gone) and prune.scope == "layer":
        raise RecipeError("prune.widths are of groups; prune.scope must be group (got 'layer')")
    if not prune.zeroes:
        return Zeroed(network, Asked())
    zero = _zero_by_layer if prune.scope == "layer" else _zero_by_group
    return Zeroed(network, zero(network, example, prune, zeros_first=zeros_first))


def _zero_by_layer(
    network: nn.Module, example: Tensor | Example, prune: PruneSection, *, zeros_first: bool
) -> Asked:
    """Each convolution on its own, but for those that make the output."""
    flow, rate = trace_flow(network, example), prune.rate or 0.0
    for name, layer in free_layers(network, prune.protected).items():
        if name not in flow.output_layers:
            filters = layer.filters().detach()
            layer.zero(choose(filters, rate, prune.criterion, zeros_first=zeros_first))
    return asked_by_layer(network, flow, prune)


def _zero_by_group(
    network: nn.Module, example: Tensor | Example, prune: PruneSection, *, zeros_first: bool
) -> Asked:
    flow, layers = trace_flow(network, example), layers_of(network)
    groups = groups_of(network, flow, prune.protected)
    counts, named = zeroed_counts(groups, prune), named_filters(groups, prune)
    shifts = shifts_of(network, flow)
    for group in groups:
        rows, count = group.filters(layers), counts[group.name]
        chosen = choose_count(rows, count, prune.criterion, zeros_first=zeros_first)
        zero_channels(network, flow, group, named.get(group.name, chosen), shifts)
    return asked_by_group(network, flow, groups, prune)


Shifts = Mapping[int, Sequence[tuple[str, int]]]
"""Class of channels -> the batch norms that they pass, by name, and the channel there."""


def shifts_of(network: nn.Module, flow: Flow) -> Shifts:
    """Return which batch norms each class of channels passes."""
    found: dict[int, dict[tuple[str, int], None]] = {}
    for name, nodes in flow.tensor_nodes.items():
        owner = name.rpartition(".")[0]
        if isinstance(network.get_submodule(owner), nn.modules.batchnorm._BatchNorm):
            for channel, node in enumerate(nodes):
                found.setdefault(flow.classes.find(node), {})[owner, channel] = None
    return {index: tuple(places) for index, places in found.items()}


def zero_channels(
    network: nn.Module,
    flow: Flow,
    group: ChannelGroup,
    indices: Iterable[int],
    shifts: Shifts | None = None,
) -> None:
    """Zero channels of a group in all that writes them, batch norm's scale and shift too.

    ``shifts`` are those of :func:`shifts_of`, for a caller that zeroes many groups.
    """
    layers = layers_of(network)
    passed = shifts_of(network, flow) if shifts is None else shifts
    filters: dict[str, list[int]] = {}
    scales: dict[str, list[int]] = {}
    for index in indices:
        for name, channel in group.channels[index]:
            filters.setdefault(name, []).append(channel)
        name, channel = group.channels[index][0]
        for norm, place in passed.get(flow.classes.find(flow.out_nodes[name][channel]), ()):
            scales.setdefault(norm, []).append(place)
    for name, channels in filters.items():
        layers[name].zero(channels)
    with torch.no_grad():
        for norm, places in scales.items():
            for parameter in network.get_submodule(norm).parameters(recurse=False):
                parameter[places] = 0.0
