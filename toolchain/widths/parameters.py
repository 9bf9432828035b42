"""What widths cost in parameters: counted from the network, so a plan by them needs no board."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from torch import nn

from toolchain.prune.groups import ChannelGroup
from toolchain.shrink.channels import Flow
from toolchain.widths.choosing import Part, Problem
from toolchain.widths.ties import Places, ties_of


def parameter_problem(
    network: nn.Module,
    flow: Flow,
    groups: Sequence[ChannelGroup],
    losses: Mapping[str, Mapping[int, float]],
) -> Problem:
    """Return the choice to be made, where ``network`` (batch norm folded) costs its parameters.

    ``flow`` and ``groups`` are of that very network. Exact where every channel can be cut by
    itself; a grouped convolution counts as if it stayed whole. What dies along with removed
    channels is not foreseen, so a shrunk network has at most so many.
    """
    ties, parts, fixed = ties_of(network, flow, groups), [], 0
    for name, parameter in network.named_parameters():
        axes = ties.get(name, ())
        touched = tuple(sorted({place[0] for axis in axes for place in axis if place}))
        if touched:
            rest = parameter.numel() // math.prod(len(axis) for axis in axes)
            parts.append(Part(touched, _counting(touched, axes, rest)))
        else:
            fixed += parameter.numel()
    return Problem(losses, parts, fixed)


def _counting(
    groups: tuple[str, ...], axes: Sequence[Places], rest: int
) -> Callable[[tuple[int, ...]], float]:
    """Return what counts a parameter's entries; ``rest`` is that of all axes without channels."""

    def count(widths: tuple[int, ...]) -> float:
        width = dict(zip(groups, widths, strict=True))
        kept = (
            sum(1 for place in axis if not place or place[1] < width[place[0]]) for axis in axes
        )
        return float(rest * math.prod(kept))

    return count
