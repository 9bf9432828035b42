"""What one run of a network showed of its channels."""

from __future__ import annotations

from dataclasses import dataclass, field

from toolchain.operators.classes import Classes, Nodes


@dataclass(frozen=True)
class Parts:
    """Channels that an operator divides into equal parts: all must lose as many."""

    operator: str
    parts: tuple[tuple[int, ...], ...]
    """The nodes of each part."""


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
    parts: list[Parts] = field(default_factory=list)
    """What is divided into equal parts, call by call."""
    moved: dict[int, str] = field(default_factory=dict)
    """Nodes that an operator put elsewhere -> the first that did. Torch-pruning, which would take
    them for what was there before, is not asked about them."""
    output_layers: set[str] = field(default_factory=set)
    """Layers whose values reach the network's output without another layer in between."""
    peeked: set[str] = field(default_factory=set)
    """Parameters and buffers that other than their own layer's operator reads."""
    second_opinion: str = ""
    """Why torch-pruning could not follow the network; empty if it could, and was joined."""
