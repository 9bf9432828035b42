"""Which channel of which dependency group every entry of a parameter belongs to, axis by axis."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from toolchain.operators.classes import Nodes
from toolchain.pruning.groups import ChannelGroup
from toolchain.surgery.channels import Flow
from toolchain.surgery.layers import Layer, layers_of

Place = tuple[str, int] | None
"""A channel's group and its place there; None for one that always stays."""
Places = tuple[Place, ...]


def ties_of(
    network: nn.Module, flow: Flow, groups: Sequence[ChannelGroup]
) -> dict[str, tuple[Places, ...]]:
    """Return, by parameter, the places of the channels along each axis.

    Axes that are not there have no channels; nor has a parameter that is not named.
    """
    where: dict[int, Place] = {
        flow.classes.find(flow.out_nodes[layer][index]): (group.name, position)
        for group in groups
        for position, slots in enumerate(group.channels)
        for layer, index in slots
    }

    def places(nodes: Nodes) -> Places:
        return tuple(where.get(flow.classes.find(node)) for node in nodes)

    ties: dict[str, tuple[Places, ...]] = {
        name: (places(nodes),) for name, nodes in flow.tensor_nodes.items()
    }
    for name, layer in layers_of(network).items():
        written, read = places(flow.out_nodes[name]), places(flow.in_nodes[name])
        whole = name in flow.whole_groups
        ties[layer.weight_name] = _axes(layer, written, read, whole_groups=whole)
        if layer.bias is not None:
            ties[layer.bias_name] = (written,)
    return ties


def _axes(layer: Layer, written: Places, read: Places, *, whole_groups: bool) -> tuple[Places, ...]:
    if layer.is_depthwise:
        return (read,) if layer.is_transposed else (written,)
    if layer.is_grouped and whole_groups:
        outer, inner = (read, written) if layer.is_transposed else (written, read)
        return (outer, (None,) * (len(inner) // layer.groups))
    if layer.is_grouped:  # the same places in every group
        if layer.is_transposed:
            return (read, written[: len(written) // layer.groups])
        return (written, read[: len(read) // layer.groups])
    return (read, written) if layer.is_transposed else (written, read)
