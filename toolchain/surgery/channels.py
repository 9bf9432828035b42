"""What one run of a network showed of its channels."""

from __future__ import annotations

from dataclasses import dataclass, field

from toolchain.operators.classes import Classes, Nodes
from toolchain.surgery.told import Form, Key


@dataclass(frozen=True)
class Parts:
    """Channels that an operator divides into equal parts: all must lose as many."""

    operator: str
    parts: tuple[tuple[int, ...], ...]
    """The nodes of each part."""


@dataclass(frozen=True)
class Use:
    """A number of channels that an operator was given from the network's code."""

    operator: str
    form: Form
    """How it was worked out from numbers at places."""
    keys: frozenset[Key]
    """The places whose numbers it was worked out from."""
    nodes: tuple[int, ...] | None
    """The nodes that it counts; None if it counts something else, and must stay as it is."""
    sign: int
    """-1 for what is counted from the end."""
    needed: bool
    """True if one of the channels must be left."""


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
    uses: list[Use] = field(default_factory=list)
    """Numbers of channels that stand in attributes and in the code of ``in_code``."""
    values: dict[Key, int] = field(default_factory=dict)
    """What stands at each place."""
    in_code: frozenset[str] = frozenset()
    """Modules whose code was interpreted, so that numbers in it are among ``uses``."""
    unknown: dict[str, list[tuple[str, tuple[int, ...]]]] = field(default_factory=dict)
    """Module -> operators that its code gave a number of channels of which nothing tells where it
    comes from, and the nodes that it counts."""
    output_layers: set[str] = field(default_factory=set)
    """Layers whose values reach the network's output without another layer in between."""
    peeked: set[str] = field(default_factory=set)
    """Parameters and buffers that other than their own layer's operator reads."""
    second_opinion: str = ""
    """Why torch-pruning could not follow the network; empty if it could, and was joined."""
