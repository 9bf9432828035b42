"""What one run of a network showed of its channels."""

from __future__ import annotations

from dataclasses import dataclass, field

from toolchain.models.places import Value
from toolchain.operators.classes import Classes, Nodes
from toolchain.surgery.told import Form, Key


@dataclass(frozen=True)
class Parts:
    """Channels that an operator divides into equal parts: all must lose as many."""

    operator: str
    parts: tuple[tuple[int, ...], ...]
    """The nodes of each part."""


@dataclass(frozen=True)
class Product:
    """Channels over which an operator sums products of two tensors."""

    operator: str
    number: int
    """Which of such operators' calls it is, from 0."""
    nodes: tuple[int, ...]


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


@dataclass(frozen=True)
class Pick:
    """Channels that an operator picks by their positions."""

    operator: str
    key: Key
    """The place of the positions in the code or in an attribute; or a buffer, with no module."""
    nodes: tuple[int, ...]
    """The channels of which it picks."""
    positions: tuple[int, ...]
    """Which of them; of negative ones the last is -1."""
    cut: slice | None = None
    """The slice that stands there, where it is no list."""

    @property
    def picked(self) -> tuple[int, ...]:
        """The nodes of the channels that are picked, of which one must be left."""
        return tuple(self.nodes[position] for position in self.positions)


@dataclass
class Flow:
    """Where channels flow in a network."""

    classes: Classes = field(default_factory=Classes)
    out_nodes: dict[str, Nodes] = field(default_factory=dict)
    """Layer name -> the nodes of the channels that it writes."""
    in_nodes: dict[str, Nodes] = field(default_factory=dict)
    """Layer name -> the nodes of the channels that it reads."""
    whole_groups: frozenset[str] = frozenset()
    """Grouped convolutions that lose whole groups; of others every group loses the same places."""
    tensor_nodes: dict[str, Nodes] = field(default_factory=dict)
    """Parameter or buffer with one entry per channel (batch norm, PReLU, a scale) -> nodes."""
    dims_given: dict[str, list[tuple[int | None, ...]]] = field(default_factory=dict)
    """Module -> for each of its calls, along which dimension channels lie in each tensor that it
    gives; None where no layer's channels are known in it."""
    calls: dict[str, int] = field(default_factory=dict)
    """Layer name -> how often it is called in one run."""
    parts: list[Parts] = field(default_factory=list)
    """What is divided into equal parts, call by call."""
    products: list[Product] = field(default_factory=list)
    """Channels that end in sums of products, as queries and keys do."""
    multiplied: int = 0
    """How many calls there were of operators that multiply two tensors."""
    moved: dict[int, str] = field(default_factory=dict)
    """Nodes that an operator put elsewhere -> the first that did. Torch-pruning, which would take
    them for what was there before, is not asked about them."""
    cuts: set[tuple[str, tuple[int, ...]]] = field(default_factory=set)
    """Operators that put channels elsewhere or divide them, and the nodes that each then gave."""
    uses: list[Use] = field(default_factory=list)
    """Numbers of channels that stand in attributes and in the code of ``in_code``."""
    values: dict[Key, int] = field(default_factory=dict)
    """What stands at each place."""
    picks: dict[Key, Pick] = field(default_factory=dict)
    """Positions that can follow: in attributes, in the code of ``in_code``, and in buffers."""
    fixed: set[Key] = field(default_factory=set)
    """Places of lists that something else is given as well, so that they must stay as they are."""
    lists: dict[Key, Value] = field(default_factory=dict)
    """Lists, and slices with a step, at each place."""
    shapes: dict[Key, tuple[int, ...]] = field(default_factory=dict)
    """Keys of numbers that were read from a shape -> the channels that lie there."""
    readers: dict[Key, str | None] = field(default_factory=dict)
    """Such keys -> the module whose code read the shape."""
    roots: dict[Key, frozenset[Key]] = field(default_factory=dict)
    """Places in the code of ``in_code`` of which a root is taken, which stay what they are -> what
    they are worked out from."""
    worked_out: dict[Key, Form] = field(default_factory=dict)
    """Places in the code of ``in_code`` that hold no number but what works one out, from a shape
    say -> how."""
    pins: set[Key] = field(default_factory=set)
    """Keys of numbers of which a root was taken, or another number that is not whole."""
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

    def follow(self, pick: Pick) -> bool:
        """Remember positions that can follow; False where they pick otherwise elsewhere.

        What one list picks in two places stays or goes together.
        """
        known = self.picks.setdefault(pick.key, pick)
        if len(known.nodes) != len(pick.nodes) or known.positions != pick.positions:
            return False
        self.classes.join_all([*known.nodes], [*pick.nodes])
        return True
