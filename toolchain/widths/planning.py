"""Plans: the widths of all groups within a budget, by measured costs and what widths lose.

Widths are chosen by what is measured so far and estimated elsewhere; what was chosen is measured,
and it is chosen again, until all of the choice is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from toolchain.errors import InputError
from toolchain.pruning.criteria import count_of
from toolchain.pruning.groups import ChannelGroup
from toolchain.records.cost_tables import GroupCost, PlannedGroup, Uniform
from toolchain.widths.choosing import Choice, Part, Problem, cheapest, choose_widths
from toolchain.widths.costs import CostModel, Touching
from toolchain.widths.importance import Importance

ROUNDS = 20
"""Of choosing and measuring, at most."""


@dataclass(frozen=True)
class Chosen:
    """Widths within a budget, whose costs are known and not estimated."""

    widths: Mapping[str, int]
    cost: int
    least: int
    loss: float


def plan_widths(
    costs: CostModel,
    groups: Sequence[GroupCost],
    importance: Importance,
    budget: int,
    least_share: float,
    on_stage: Callable[[str], None],
) -> Chosen:
    """Choose and measure in turn until all of the choice is measured.

    No group is left with less than ``least_share`` of its filters.

    Raises :class:`InputError` where the budget is out of reach, telling the least that was found.
    """
    widths = {group_cost.group: group_cost.widths for group_cost in groups}
    losses = losses_of(importance, widths, least_share)
    tried = _tried(costs, losses, budget, on_stage)
    least = cheapest(_problem(costs, losses))
    costs.measure([least], on_stage)
    within = [choice for choice in tried if costs.total(choice) <= budget]
    if not within:
        cheapest_known = min(map(costs.total, [*tried, least]))
        raise _out_of_reach(budget, cheapest_known, costs.total({}), "instructions")
    best = min(within, key=importance.loss)
    return Chosen(best, costs.total(best), costs.total(least), importance.loss(best))


def plan_counted(problem: Problem, budget: int, unit: str) -> Chosen:
    """Choose where costs are counted, in ``unit``; raise as :func:`plan_widths`."""
    best, least = choose_widths(problem, budget), cheapest(problem)
    if best is None:
        whole = round(problem.cost(problem.widest))
        raise _out_of_reach(budget, round(problem.cost(least)), whole, unit)
    return Chosen(best, round(problem.cost(best)), round(problem.cost(least)), problem.loss(best))


def plan_filters(
    groups: Sequence[ChannelGroup], losses: Mapping[str, Mapping[int, float]], rate: float
) -> Chosen:
    """Choose widths that lose least, where at least a share of all filters goes; raise likewise.

    A filter counts for every layer that writes it.
    """
    layers = {group.name: len(group.layers) for group in groups}

    def counting(group: str) -> Callable[[tuple[int, ...]], float]:
        return lambda widths: float(layers[group] * widths[0])

    problem = Problem(losses, [Part((group,), counting(group)) for group in losses])
    whole = problem.cost(problem.widest)
    budget = math.floor((1 - rate) * whole + 1e-6)
    best, least = choose_widths(problem, budget), cheapest(problem)
    if best is None:
        raise _out_of_reach(budget, round(problem.cost(least)), round(whole), "filters")
    return Chosen(best, round(problem.cost(best)), round(problem.cost(least)), problem.loss(best))


def losses_of(
    importance: Importance, widths: Mapping[str, Sequence[int]], least_share: float
) -> dict[str, dict[int, float]]:
    """Return what each width loses, by group, of those that keep at least such a share.

    The last of a group's ``widths`` is the whole of it.
    """
    return {
        group: {
            width: importance.sensitivity(group, width)
            for width in some
            if width >= least_share * some[-1]
        }
        for group, some in widths.items()
    }


def _tried(
    costs: CostModel,
    losses: Mapping[str, Mapping[int, float]],
    budget: int,
    on_stage: Callable[[str], None],
) -> list[Choice]:
    """Return what was chosen and measured; the last one stands, unless rounds were too few."""
    tried: list[Choice] = []
    for number in range(1, ROUNDS + 1):
        problem = _problem(costs, losses)
        choice = choose_widths(problem, budget) or cheapest(problem)
        tried.append(choice)
        if costs.knows(choice):
            break
        on_stage(f"measure what was chosen, round {number}")
        costs.measure([choice], on_stage)
    return tried


def _out_of_reach(budget: int, least: int, whole: int, unit: str) -> InputError:
    remedy = ", or a smaller --size" if unit == "instructions" else ", or a smaller --least"
    return InputError(
        f"the budget of {budget:,} {unit} is out of reach: the least that any widths need is "
        f"{least:,}, {least / whole:.2f} of the unpruned {whole:,}; give more{remedy}"
    )


def _problem(costs: CostModel, losses: Mapping[str, Mapping[int, float]]) -> Problem:
    """Return the choice to be made, operators of the same groups together."""
    together: dict[tuple[str, ...], list[Touching]] = {}
    for operator in costs.operators:
        together.setdefault(tuple(sorted(operator.groups)), []).append(operator)
    fixed = sum(costs.measured(each, {}) for each in together.pop((), []))
    parts = [Part(groups, _costing(groups, some, costs)) for groups, some in together.items()]
    return Problem(losses, parts, fixed)


def _costing(
    groups: tuple[str, ...], operators: Sequence[Touching], costs: CostModel
) -> Callable[[tuple[int, ...]], float]:
    def cost(widths: tuple[int, ...]) -> float:
        chosen = dict(zip(groups, widths, strict=True))
        return sum(cost_of(operator, chosen, costs) for operator in operators)

    return cost


def cost_of(operator: Touching, widths: Mapping[str, int], costs: CostModel) -> float:
    """Return an operator's measured cost; where there is none, the product of what is known.

    That is its cost when whole, times for every group the share that it has when that group alone
    is narrowed.
    """
    known = costs.known(operator, widths)
    if known is not None:
        return float(known)
    whole = costs.measured(operator, {})
    alone = [costs.measured(operator, {g: widths[g]}) for g in operator.groups if g in widths]
    return whole * math.prod(each / max(whole, 1) for each in alone)


def uniform_within(
    groups: Sequence[ChannelGroup],
    importance: Importance,
    budget: int,
    cost: Callable[[Mapping[str, int]], float],
) -> Uniform | None:
    """Return the mildest rate, in steps of the widest group, whose cost is within the budget."""
    rate = mildest_rate(groups, budget, lambda rate: cost(at_rate(groups, rate)))
    widths = at_rate(groups, rate)
    found = round(cost(widths))
    return Uniform(rate, found, importance.loss(widths)) if found <= budget else None


def mildest_rate(
    groups: Sequence[ChannelGroup], budget: int, cost: Callable[[float], float]
) -> float:
    """Return the mildest rate, in steps of the widest group, of a cost within the budget.

    Where there is none, it is the highest rate.
    """
    most = max(group.width for group in groups)
    low, high = 0, most - 1  # the answer is in low..high, if there is one
    while low < high:
        middle = (low + high) // 2
        if cost(middle / most) <= budget:
            high = middle
        else:
            low = middle + 1
    return low / most


def at_rate(groups: Sequence[ChannelGroup], rate: float) -> dict[str, int]:
    """Return the widths that a rate leaves."""
    return {group.name: group.width - count_of(rate, group.width) for group in groups}


def planned_groups(
    groups: Sequence[ChannelGroup], chosen: Chosen, importance: Importance
) -> tuple[PlannedGroup, ...]:
    """Return what becomes of each group."""
    whole = {group.name: group.width for group in groups}
    return tuple(
        PlannedGroup(group, whole[group], width, importance.kept(group, width))
        for group, width in chosen.widths.items()
    )
