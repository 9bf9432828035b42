"""What one run of a network showed of its channels."""

from __future__ import annotations

from dataclasses import dataclass, field

from toolchain.operators.classes import Classes, Nodes


@dataclass
class Flow:
    """Where channels flow in a network."""

    classes: Classes = field(default_factory=Classes)
    out_nodes: dict[str, Nodes] = field(default_factory=dict)
    """Layer name -> the nodes of the channels that it writes."""
    in_nodes: dict[str, Nodes] = field(default_factory=dict)
    """Layer name -> the nodes of the channels that it reads."""
    tensor_nodes: dict[str, Nodes] = field(default_factory=dict)
    """Parameter or buffer with one entry per channel (batch norm, PReLU, a scale) -> nodes."""
    calls: dict[str, int] = field(default_factory=dict)
    """Layer name -> how often it is called in one run."""
    output_layers: set[str] = field(default_factory=set)
    """Layers whose values reach the network's output without another layer in between."""
    peeked: set[str] = field(default_factory=set)
    """Parameters and buffers that other than their own layer's operator reads."""
    second_opinion: str = ""
    """Why torch-pruning could not follow the network; empty if it could, and was joined."""
