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
    "weight_read",
    "leaves_torch",
    "no_layer_writes",
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
- ``never_called``: its layer was not called in the run that was watched.

Why channels stay whatever their values are:

- ``output``: they are outputs of the network;
- ``operator``: ``operator`` does not keep them apart: it mixes them or picks some by position;
- ``unknown_operator``: nothing is known of what ``operator`` does with channels;
- ``spread``: ``operator`` spreads one of them over many;
- ``groups``: ``layers``, a convolution of several groups, reads or writes them;
- ``weight_read``: ``operator`` reads ``parameter``, which belongs to ``layers``;
- ``leaves_torch``: the method ``operator`` of a tensor hands their values to other code;
- ``no_layer_writes``: the network's input, or a fixed tensor, is joined with them; ``layers`` read
  it, where that is known.
"""


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
    """The ``aten`` name of the operator that holds it, without ``aten.``; or nothing."""
    parameter: str = ""
    """The parameter or buffer that ``operator`` reads; or nothing."""
