"""How many filters of each group go: by a rate, by rates of layers, by widths, or by a target."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from toolchain.checking.cost import macs_by_weight
from toolchain.errors import InputError, RecipeError
from toolchain.exporting.fold import fold_batch_norm
from toolchain.exporting.ncnn.align import BLOCK
from toolchain.library.board_costs import instructions_of
from toolchain.library.pruner_arguments import (
    Amount,
    PrunerArguments,
    Rate,
    demand_matches,
    matches,
)
from toolchain.library.taking import Taken
from toolchain.pruning.blocks import counts_in_blocks
from toolchain.pruning.criteria import count_of
from toolchain.pruning.groups import ChannelGroup, groups_of, zeroed_counts
from toolchain.pruning.prunable import Prunable
from toolchain.records.cost_tables import Reached
from toolchain.surgery.flow import trace_flow
from toolchain.widths.choosing import Problem
from toolchain.widths.parameters import macs_problem, parameter_problem
from toolchain.widths.planning import mildest_rate


@dataclass(frozen=True)
class Amounts:
    """How many filters go."""

    counts: Mapping[str, int]
    """By group."""
    reached: Reached | None = None
    """What a target came to; None where there was none."""


def amounts_of(prunable: Prunable, taken: Taken, wanted: PrunerArguments) -> Amounts:
    """Return how many filters of each group go.

    Raises :class:`RecipeError` where that is none at all though more than that is asked for, and
    :class:`InputError` where a target is out of reach.
    """
    groups = prunable.groups
    if wanted.widths is not None:
        return Amounts(zeroed_counts(groups, wanted.prune))
    reached = None if wanted.rate is not None else _reached(prunable, taken, wanted)
    rates = _rates(groups, wanted.rate if reached is None else reached.rate)
    counts = _counts(groups, rates, wanted)
    if any(rates.values()) and not any(counts.values()):
        widest = max(group.width for group in groups)
        least = f"at least 1 / {widest} = {1 / widest:.3g}"
        raise RecipeError(
            f"a rate of {max(rates.values()):g} takes no filter of any layer; give {least}, the "
            f"widest has {widest} filters" + (", or no round_to" if wanted.round_to > 1 else "")
        )
    return Amounts(counts, reached)


def _counts(
    groups: Sequence[ChannelGroup], rates: Mapping[str, float], wanted: PrunerArguments
) -> dict[str, int]:
    align = wanted.align
    if wanted.instructions is not None and align == wanted.round_to == 1:
        align = BLOCK  # narrower widths would cost the same: ncnn's, and nearly onnxruntime's
    if align > 1:
        return counts_in_blocks(groups, rates, align)
    multiple = wanted.round_to
    return {group.name: gone_of(rates[group.name], group.width, multiple) for group in groups}


def gone_of(rate: float, width: int, multiple: int = 1) -> int:
    """Return how many of ``width`` filters go by a rate, where what stays is a multiple.

    What stays is rounded up, so never more goes than is asked for: of 64 filters at a rate of 0.3,
    19 go and 45 stay; in multiples of 8, 48 stay.
    """
    stays = math.ceil((width - count_of(rate, width)) / multiple) * multiple
    return max(0, width - stays)


def _rates(groups: Sequence[ChannelGroup], rate: Rate | None) -> dict[str, float]:
    """Return each group's rate: the smallest of its layers, of which unnamed ones have none."""
    assert rate is not None
    if not isinstance(rate, Mapping):
        return {group.name: rate for group in groups}
    layers = [layer for group in groups for layer in group.layers]
    demand_matches("rate", list(rate), layers)

    def of_layer(layer: str) -> float:
        matching = (value for key, value in rate.items() if matches(layer, key))
        return next(matching, 0.0)

    return {group.name: min(map(of_layer, group.layers)) for group in groups}


def _reached(prunable: Prunable, taken: Taken, wanted: PrunerArguments) -> Reached:
    """Return the mildest rate, equal in all groups, that meets a target, and what it comes to."""
    cost_of, amount, unit = _cost(taken, wanted)
    groups = prunable.groups

    def widths(rate: float) -> dict[str, int]:
        rates = dict.fromkeys((group.name for group in groups), rate)
        counts = _counts(groups, rates, wanted)
        return {group.name: group.width - counts[group.name] for group in groups}

    def cost(rate: float) -> float:
        return cost_of(widths(rate))

    whole = round(cost(0))
    budget = int(amount * whole) if isinstance(amount, float) else amount
    rate = mildest_rate(groups, budget, cost)
    least = round(cost(rate))
    if least > budget:
        raise InputError(
            f"{unit}={amount} is out of reach: the highest rate leaves {least}, of {whole}; give "
            f"more, ignore fewer layers, or round less"
        )
    return Reached("MACs" if unit == "macs" else unit, budget, least, whole, rate)


def _cost(
    taken: Taken, wanted: PrunerArguments
) -> tuple[Callable[[Mapping[str, int]], float], Amount, str]:
    """Return what tells a target's cost by widths, the target, and its name."""
    if wanted.instructions is not None:
        return instructions_of(taken, wanted), wanted.instructions, "instructions"
    problem, budget, unit = _problem(taken, wanted)
    return problem.cost, budget, unit


def _problem(taken: Taken, wanted: PrunerArguments) -> tuple[Problem, Amount, str]:
    """Return what counts a target's cost by widths, the target, and its name."""
    folded = fold_batch_norm(taken.network, taken.example)
    flow = trace_flow(folded, taken.example)
    groups = groups_of(folded, flow, (*wanted.ignored, *taken.computed))
    losses: dict[str, dict[int, float]] = {group.name: {group.width: 0.0} for group in groups}
    if wanted.parameters is not None:
        problem = parameter_problem(folded, flow, groups, losses)
        return problem, wanted.parameters, "parameters"
    total, each = macs_by_weight(folded, taken.example)
    assert wanted.macs is not None
    return macs_problem(folded, flow, groups, losses, total, each), wanted.macs, "macs"
