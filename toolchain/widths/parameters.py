"""What widths cost in parameters and in multiply-accumulates: counted, so it needs no board."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from torch import nn

from toolchain.pruning.groups import ChannelGroup
from toolchain.surgery.channels import Flow
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
    return _problem(network, flow, groups, losses, {})


def macs_problem(
    network: nn.Module,
    flow: Flow,
    groups: Sequence[ChannelGroup],
    losses: Mapping[str, Mapping[int, float]],
    macs: int,
    macs_of: Mapping[str, int],
) -> Problem:
    """Return the choice to be made, where ``network`` costs its ``macs``.

    ``macs_of`` is how many of them each weight is used in, by the parameter's name; all others
    count as if they stayed. The rest is as in :func:`parameter_problem`.
    """
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    uses = {name: macs_of.get(name, 0) // size for name, size in sizes.items() if size}
    problem = _problem(network, flow, groups, losses, uses)
    problem.fixed += macs - sum(uses[name] * sizes[name] for name in uses)
    return problem


def _problem(
    network: nn.Module,
    flow: Flow,
    groups: Sequence[ChannelGroup],
    losses: Mapping[str, Mapping[int, float]],
    uses: Mapping[str, int],
) -> Problem:
    """Every entry of a parameter costs its ``uses``, or 1 where there are none."""
    ties, parts, fixed = ties_of(network, flow, groups), [], 0
    for name, parameter in network.named_parameters():
        each, axes = uses.get(name, 0) if uses else 1, ties.get(name, ())
        touched = tuple(sorted({place[0] for axis in axes for place in axis if place}))
        if touched:
            rest = each * parameter.numel() // math.prod(len(axis) for axis in axes)
            parts.append(Part(touched, _counting(touched, axes, rest)))
        else:
            fixed += each * parameter.numel()
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
