"""How many filters of each group go: by a rate, by rates of layers, by widths, or by a target."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from toolchain.checking.cost import macs_by_weight
from toolchain.errors import InputError, RecipeError
from toolchain.exporting.fold import fold_batch_norm
from toolchain.exporting.ncnn.align import BLOCK
from toolchain.library.board_costs import instructions_of
from toolchain.library.pruner_arguments import PrunerArguments, Rate, demand_matches, matches
from toolchain.library.taking import Taken
from toolchain.pruning.blocks import counts_in_blocks
from toolchain.pruning.criteria import count_of
from toolchain.pruning.groups import ChannelGroup, groups_of, zeroed_counts
from toolchain.pruning.prunable import Prunable
from toolchain.surgery.flow import trace_flow
from toolchain.widths.choosing import Problem
from toolchain.widths.parameters import macs_problem, parameter_problem
from toolchain.widths.planning import mildest_rate


def counts_of(prunable: Prunable, taken: Taken, wanted: PrunerArguments) -> dict[str, int]:
    """Return how many filters of each group go.

    Raises :class:`RecipeError` where that is none at all though more than that is asked for, and
    :class:`InputError` where a target is out of reach.
    """
    groups = prunable.groups
    if wanted.widths is not None:
        return zeroed_counts(groups, wanted.prune)
    if wanted.rate is not None:
        rates = _rates(groups, wanted.rate)
    else:
        rates = dict.fromkeys((group.name for group in groups), _target(prunable, taken, wanted))
    counts = _counts(groups, rates, wanted)
    if any(rates.values()) and not any(counts.values()):
        widest = max(group.width for group in groups)
        least = f"at least 1 / {widest} = {1 / widest:.3g}"
        raise RecipeError(
            f"a rate of {max(rates.values()):g} takes no filter of any layer; give {least}, the "
            f"widest has {widest} filters" + (", or no round_to" if wanted.round_to > 1 else "")
        )
    return counts


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


def _rates(groups: Sequence[ChannelGroup], rate: Rate) -> dict[str, float]:
    """Return each group's rate: the smallest of its layers, of which unnamed ones have none."""
    if not isinstance(rate, Mapping):
        return {group.name: rate for group in groups}
    layers = [layer for group in groups for layer in group.layers]
    demand_matches("rate", list(rate), layers)

    def of_layer(layer: str) -> float:
        matching = (value for key, value in rate.items() if matches(layer, key))
        return next(matching, 0.0)

    return {group.name: min(map(of_layer, group.layers)) for group in groups}


def _target(prunable: Prunable, taken: Taken, wanted: PrunerArguments) -> float:
    """Return the mildest rate, equal in all groups, that meets a target."""
    cost_of, budget, unit = _cost(taken, wanted)
    groups = prunable.groups

    def widths(rate: float) -> dict[str, int]:
        rates = dict.fromkeys((group.name for group in groups), rate)
        counts = _counts(groups, rates, wanted)
        return {group.name: group.width - counts[group.name] for group in groups}

    def cost(rate: float) -> float:
        return cost_of(widths(rate))

    rate = mildest_rate(groups, budget, cost)
    least = round(cost(rate))
    if least > budget:
        raise InputError(
            f"{unit}={budget} is out of reach: the highest rate leaves {least}, of {round(cost(0))}"
            f"; give more, ignore fewer layers, or round less"
        )
    return rate


def _cost(
    taken: Taken, wanted: PrunerArguments
) -> tuple[Callable[[Mapping[str, int]], float], int, str]:
    """Return what tells a target's cost by widths, the target, and its name."""
    if wanted.instructions is not None:
        return instructions_of(taken, wanted), wanted.instructions, "instructions"
    problem, budget, unit = _problem(taken, wanted)
    return problem.cost, budget, unit


def _problem(taken: Taken, wanted: PrunerArguments) -> tuple[Problem, int, str]:
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
