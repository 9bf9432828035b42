"""Why a filter went or stays, as a record; only the report makes a sentence of it.

Every channel that a reason names is counted as in the network before the surgery.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Code = Literal[
    "unread",
    "adds_nothing",
    "in_bias",
    "in_weights",
    "carrier",
    "last",
    "still_written",
    "joined",
    "never_called",
    "output",
    "operator",
    "unknown_operator",
    "spread",
    "groups",
    "parts",
    "product",
    "weight_read",
    "leaves_torch",
    "no_layer_writes",
    "shared_weight",
]
"""Why a filter went:

- ``unread``: nothing reads its channel;
- ``adds_nothing``: its channel is zero, or read with zero weights alone, by ``layers``;
- ``in_bias``: the biases of ``layers`` took its constant over;
- ``in_weights``: the weights with which ``layers`` read ``carriers`` took its constant over.

Why a filter that is zero stays:

- ``carrier``: ``layers`` need its constant, which no bias can hold;
- ``last``: without it ``layers`` would be empty;
- ``still_written``: ``layers`` write its channel too, and their filters are not zero;
- ``joined``: its channel is joined with values that depend on the image before ``layers`` read it;
- ``parts``: ``operator`` divides its tensor into parts of one width, of which others lose fewer;
- ``product``: ``operator`` multiplies its constant with values that depend on the image;
- ``groups``: ``layers``, a convolution of several groups, cannot take its constant over;
- ``never_called``: its layer was not called in the run that was watched.

Why channels stay whatever their values are:

- ``output``: they are outputs of the network;
- ``operator``: ``operator`` does not keep them apart: it mixes them or picks some by position;
- ``unknown_operator``: nothing is known of what ``operator`` does with channels;
- ``spread``: ``operator`` spreads one of them over many;
- ``weight_read``: ``operator`` reads ``parameter``, which belongs to ``layers``;
- ``leaves_torch``: the method ``operator`` of a tensor hands their values to other code;
- ``no_layer_writes``: the network's input, or a fixed tensor, is joined with them; ``layers`` read
  it, where that is known;
- ``shared_weight``: ``layers`` have no weight of their own: another layer has it too, or it is
  computed from something else.
"""


def operator_words(name: str) -> str:
    """Return an operator's name with its namespace, ``aten`` where it has none."""
    return name if "." in name else f"aten.{name}"


@dataclass(frozen=True)
class Channels:
    """Some input channels of a layer, counted as in the network before the surgery."""

    layer: str
    channels: tuple[int, ...]


@dataclass(frozen=True)
class Reason:
    """Why a filter went, or why a channel stays."""

    code: Code
    layers: tuple[str, ...] = ()
    """The layers that hold it or that took its constant over; see :data:`Code`."""
    carriers: tuple[Channels, ...] = ()
    """By reader, the constant channels whose weights took the constant over."""
    operator: str = ""
    """The operator that holds it (``aten``'s without ``aten.``; see :func:`operator_words`), or
    nothing."""
    parameter: str = ""
    """The parameter or buffer that ``operator`` reads; or nothing."""


@dataclass(frozen=True)
class Held:
    """Filters that were to go and stay, all for one reason."""

    layers: tuple[str, ...]
    """The layers whose filters they are."""
    filters: int
    reason: Reason


@dataclass(frozen=True)
class Removal:
    """What a run was to remove, and what went."""

    asked: int
    """Filters that were to go: by the rate or widths, or else all that are zero."""
    removed: int
    """Filters that are gone from the layers that were asked, whether zeroed or not."""
    zeroed: int
    """Filters with only zero weights, before the surgery."""
    zeroed_before: int
    """Those of them that were zero in the weights that were given."""
    filters: int
    """Filters of all convolutions and linear layers, before the surgery."""
    by_rate: bool
    """True if filters were zeroed in this run, by a rate or by widths."""
    widest: int
    """Filters of the widest layer that may be narrowed; 0 where there is none."""
    held: tuple[Held, ...]
    """What stays of ``asked``, most first."""
