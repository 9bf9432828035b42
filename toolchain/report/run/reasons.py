"""The sentences of a surgery's reasons: the only place where a reason becomes words.

Channels are counted as in the network before the surgery, as the records count them.
"""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.records.reasons import Channels, Code, Reason, operator_words
from toolchain.records.stages import FilterVerdict

NAMED = 3
"""Layers that a sentence names; the record has all."""

NUMBERED = 12
"""Channels that a sentence names; the record has all."""

_WENT: dict[Code, str] = {
    "unread": "nothing reads it",
    "adds_nothing": "it adds nothing to what {layers} compute{s}",
    "in_bias": "its constant went into the bias of {layers}",
    "in_weights": "its constant went into the weights with which {layers} read{s} other constant "
    "channels ({carriers})",
}
"""What a sentence says of a filter that went."""

_STAYS: dict[Code, str] = {
    "carrier": "must stay to carry a constant that {layers} need{s} and no bias can hold (zero "
    "padding, or another value in another call)",
    "last": "must stay: {layers} cannot be empty",
    "still_written": "{verb} still written by {layers}",
    "joined": "{verb} joined with values that depend on the image before {layers} read{s} {it}",
    "never_called": "{verb} never computed: the layer is not called",
    "output": "must stay: {it_is} part of the network's output",
    "operator": "must stay: the operator {operator} does not keep channels apart",
    "unknown_operator": "must stay: the operator {operator} is not known to keep channels apart",
    "spread": "must stay: the operator {operator} spreads one channel over many",
    "groups": "must stay: {layers} is a convolution of several groups, none of which can take its "
    "constant over",
    "parts": "must stay: the operator {operator} makes parts of one width, and others lose fewer",
    "product": "must stay: the operator {operator} multiplies {its_constant} with values that "
    "depend on the image",
    "weight_read": "must stay: the operator {operator} reads {parameter}, which must stay as it is",
    "leaves_torch": "must stay: {method}() hands {it} to code outside PyTorch",
    "no_layer_writes": "must stay: {it_is} joined with the network's input or a fixed tensor",
    "shared_weight": "must stay: {layers} has no weight of its own that could be cut",
}
"""What a sentence says of channels that stay, after their names."""


def sentence(item: FilterVerdict) -> str:
    """Return why one filter went or stays."""
    if item.verdict == "kept":
        return kept_words(item.layer, [item.index], item.reason)
    return _filled(_WENT[item.reason.code], item.reason)


def kept_words(layer: str, channels: Sequence[int], reason: Reason) -> str:
    """Return why some channels of ``layer`` stay."""
    many = len(channels) > 1
    subject = f"channel{'s' if many else ''} {_numbers(channels)} of {layer}"
    return f"{subject} {_filled(_STAYS[reason.code], reason, many=many)}"


def held_words(reason: Reason) -> str:
    """Return why channels stay, after "which": ``must stay: ...``, ``are still written by ...``."""
    return _filled(_STAYS[reason.code], reason, many=True)


def _filled(template: str, reason: Reason, *, many: bool = False) -> str:
    return template.format(
        layers=listed(reason.layers),
        s="s" if len(reason.layers) == 1 else "",
        carriers="; ".join(map(_carriers, reason.carriers[:NAMED])),
        operator=operator_words(reason.operator),
        method=reason.operator,
        parameter=reason.parameter,
        verb="are" if many else "is",
        it="them" if many else "it",
        its_constant="their constants" if many else "its constant",
        it_is="they are" if many else "it is",
    )


def _carriers(those: Channels) -> str:
    return f"of {those.layer}: {_numbers(those.channels)}"


def _numbers(channels: Sequence[int]) -> str:
    return listed([str(channel) for channel in channels], NUMBERED)


def listed(words: Sequence[str], most: int = NAMED) -> str:
    """Return words as a list in a sentence: ``a, b and c``; of more than ``most``, the first."""
    if len(words) > most:
        words = [*words[:most], "others"]
    *before, last = words or ["nothing that is known"]
    return f"{', '.join(before)} and {last}" if before else last
