"""Nodes for all channels of a network's layers, and what each layer's own form joins."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn

from toolchain.records.reasons import Reason
from toolchain.surgery.channels import Flow, Parts
from toolchain.surgery.layers import Layer, RecurrentLayer, layers_of


def flow_of(
    network: nn.Module, whole_groups: Collection[str] | None = None
) -> tuple[Flow, dict[str, Layer]]:
    """Return a flow in which each channel that a layer reads or writes has a node; the layers.

    ``whole_groups`` names the grouped convolutions that lose whole groups; None lets their own
    weights say.
    """
    layers, flow = layers_of(network), Flow()
    if whole_groups is None:
        whole_groups = {name for name, layer in layers.items() if loses_groups(layer)}
    flow.whole_groups = frozenset(whole_groups)
    for name, layer in layers.items():
        flow.out_nodes[name] = flow.classes.new(layer.out_channels)
        flow.in_nodes[name] = flow.classes.new(layer.in_channels)
        _join_inside(flow, layer)
    modules: dict[str, list[RecurrentLayer]] = {}
    for name, layer in layers.items():
        if isinstance(layer, RecurrentLayer):
            modules.setdefault(name.rpartition(".")[0], []).append(layer)
    for parts in modules.values():
        _join_recurrent(flow, parts)
    return flow, layers


def loses_groups(layer: Layer, read: Tensor | None = None, written: Tensor | None = None) -> bool:
    """Tell whether a grouped convolution loses whole groups, or the same places of every group.

    By what is left of more: ``read`` and ``written``, bool (in,) and (out,), are True for channels
    that may go; without them its zero filters may. If that is none, by what divides it more finely.
    """
    if not layer.is_grouped:
        return False
    of_groups = (layer.zero_filters() if written is None else written).view(layer.groups, -1)
    places = [of_groups] if read is None else [of_groups, read.view(layer.groups, -1)]
    by_place = max(float(each.all(dim=0).float().mean()) for each in places)
    by_group = float(of_groups.all(dim=1).float().mean())
    return by_group > by_place or (by_group == by_place and layer.groups > of_groups.shape[1])


def _join_inside(flow: Flow, layer: Layer) -> None:
    """Join what a depthwise convolution reads and writes, and what groups must lose together."""
    reads, writes = flow.in_nodes[layer.name], flow.out_nodes[layer.name]
    if layer.is_depthwise:
        multiplier = layer.out_channels // layer.in_channels
        for index, node in enumerate(writes):
            flow.classes.join(node, reads[index // multiplier])
    elif layer.is_grouped and layer.name in flow.whole_groups:
        for nodes in (reads, writes):
            width = len(nodes) // layer.groups
            for index, node in enumerate(nodes):
                flow.classes.join(node, reads[index // width * (len(reads) // layer.groups)])
    elif layer.is_grouped:  # at the same place of every group, so that all stay as wide
        for nodes in (reads, writes):
            width = len(nodes) // layer.groups
            for index, node in enumerate(nodes):
                flow.classes.join(node, nodes[index % width])


def _join_recurrent(flow: Flow, parts: list[RecurrentLayer]) -> None:
    """Join what one unit of an LSTM, GRU or RNN has: its rows in all gates, and its state.

    All layers and directions have as many units. With a projection all of them stay.
    """
    module = parts[0].recurrent
    states = [layer for layer in parts if layer.reads_state]
    for layer in parts:
        nodes = flow.out_nodes[layer.name]
        for row, node in enumerate(nodes):
            flow.classes.join(node, nodes[row % layer.units])
        if module.proj_size:
            reason = Reason("operator", operator=module.mode.lower())
            flow.classes.protect(nodes, reason)
            if layer.reads_state:
                flow.classes.protect(flow.in_nodes[layer.name], reason)
    if module.proj_size:
        return
    for state in states:
        reads = state.name.replace("weight_hh", "weight_ih")
        flow.classes.join_all(flow.out_nodes[state.name], flow.out_nodes[reads])
        units = flow.out_nodes[state.name][: state.units]
        flow.classes.join_all(flow.in_nodes[state.name], units)
    if len(states) > 1:
        lists = tuple(tuple(flow.in_nodes[state.name]) for state in states)
        flow.parts.append(Parts(module.mode.lower(), lists))
