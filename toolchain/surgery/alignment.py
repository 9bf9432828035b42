"""Do the channels that are left still lie where they lay? The code's own arithmetic says.

``chunk(2, 1)`` stays right when each half loses as many channels, and ``split(32, 1)`` does not:
which of the two it was, no operator shows. So the smaller network is watched as well. What it
joins must have been joined before; where it joins other channels, they came to lie elsewhere, and
those layers keep all that they have.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping, Sequence

from torch import nn

from toolchain.errors import AnalysisError
from toolchain.records.reasons import Reason
from toolchain.surgery.channels import Flow
from toolchain.surgery.flow import watch
from toolchain.surgery.running import Inputs

Kept = Mapping[str, tuple[Sequence[int], Sequence[int]]]
"""Layer -> its output and input channels that are left, as they were numbered before."""


class DisplacedError(AnalysisError):
    """Channels lie elsewhere once others are gone."""

    def __init__(self, held: Mapping[str, Reason]) -> None:
        super().__init__(
            f"channels of {', '.join(held)} lie elsewhere once others are removed: the network's "
            f"code holds a number of channels, so nothing is removed"
        )
        self.held = held


def demand_alignment(before: Flow, network: nn.Module, inputs: Inputs, kept: Kept) -> None:
    """Raise :class:`DisplacedError` unless the channels that are left meet as they met before.

    ``network`` is what is left of the network that ``before`` was seen of.
    """
    if not before.moved:
        return
    prepare = functools.partial(_join_as_before, before, kept=kept)
    after = watch(network, inputs, prepare, before.in_code, before.whole_groups)
    met: dict[int, set[int]] = {}
    for was, now in _pairs(before, after, kept):
        met.setdefault(after.classes.find(now), set()).add(before.classes.find(was))
    displaced = set[int]().union(*(classes for classes in met.values() if len(classes) > 1))
    if displaced:
        raise DisplacedError(held_layers(before, displaced))


def _join_as_before(before: Flow, after: Flow, kept: Kept) -> None:
    first: dict[int, int] = {}
    for was, now in _pairs(before, after, kept):
        after.classes.join(now, first.setdefault(before.classes.find(was), now))


def _pairs(before: Flow, after: Flow, kept: Kept) -> Iterator[tuple[int, int]]:
    """Yield a channel's node as it was and as it is, of every layer."""
    for name, (outputs, inputs) in kept.items():
        for was, now in zip(outputs, after.out_nodes[name], strict=True):
            yield before.out_nodes[name][was], now
        for was, now in zip(inputs, after.in_nodes[name], strict=True):
            yield before.in_nodes[name][was], now


def unlike_layers(network: nn.Module, sizes: Sequence[Inputs]) -> dict[str, Reason]:
    """Return the layers whose channels some operator cuts in another way at another size.

    Code does that by a number that it works out from the image's size. Sizes that the network does
    not take say nothing.
    """
    found: dict[str, Reason] = {}
    first: Flow | None = None
    for inputs in sizes:
        try:
            flow = watch(network, inputs)
        except Exception:  # a user's code may raise anything at a size that it does not take
            continue
        if first is None:
            first = flow
        if not first.cuts:
            return {}
        for operator, nodes in sorted(_cuts(first) ^ _cuts(flow)):
            for name, own in first.out_nodes.items():
                if not set(own).isdisjoint(nodes):
                    found.setdefault(name, Reason("operator", operator=operator))
    return found


def _cuts(flow: Flow) -> set[tuple[str, tuple[int, ...]]]:
    """Return what was cut, of layers' channels alone: others have other numbers in each run."""
    written = {node for nodes in flow.out_nodes.values() for node in nodes}
    return {(name, tuple(each for each in nodes if each in written)) for name, nodes in flow.cuts}


def held_layers(before: Flow, displaced: Collection[int]) -> dict[str, Reason]:
    """Return the layers that write such channels, and the operator that puts them elsewhere."""
    operators = {before.classes.find(node): name for node, name in before.moved.items()}
    found: dict[str, Reason] = {}
    for name, nodes in before.out_nodes.items():
        classes = [before.classes.find(node) for node in nodes]
        if not set(displaced).isdisjoint(classes):
            operator = next((operators[each] for each in classes if each in operators), "view")
            found[name] = Reason("operator", operator=operator)
    return found


def moved_layers(flow: Flow) -> dict[str, Reason]:
    """Return the layers that write channels which some operator puts elsewhere."""
    return held_layers(flow, {flow.classes.find(node) for node in flow.moved})
