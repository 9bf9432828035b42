"""Nodes for all channels of a network's layers, and what each layer's own form joins."""

from __future__ import annotations

from torch import nn

from toolchain.surgery.channels import Flow
from toolchain.surgery.layers import Layer, layers_of


def flow_of(network: nn.Module) -> tuple[Flow, dict[str, Layer]]:
    """Return a flow in which each channel that a layer reads or writes has a node; the layers."""
    layers, flow = layers_of(network), Flow()
    for name, layer in layers.items():
        flow.out_nodes[name] = flow.classes.new(layer.out_channels)
        flow.in_nodes[name] = flow.classes.new(layer.in_channels)
        _join_inside(flow, layer)
    return flow, layers


def _join_inside(flow: Flow, layer: Layer) -> None:
    """Join what a depthwise convolution reads and writes, and what groups must lose together."""
    reads, writes = flow.in_nodes[layer.name], flow.out_nodes[layer.name]
    if layer.is_depthwise:
        multiplier = layer.out_channels // layer.in_channels
        for index, node in enumerate(writes):
            flow.classes.join(node, reads[index // multiplier])
    elif layer.is_grouped:  # at the same place of every group, so that all stay as wide
        for nodes in (reads, writes):
            width = len(nodes) // layer.groups
            for index, node in enumerate(nodes):
                flow.classes.join(node, nodes[index % width])
