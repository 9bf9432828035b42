"""Costs: what every dependency group costs at every width, the others being whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from toolchain.records.cost_tables import GroupCost
from toolchain.widths.costs import CostModel


def widths_of(whole: int, every: int, block: int = 1) -> tuple[int, ...]:
    """Return the widths that are measured, rising: every so many, the narrowest and the whole.

    Of those between two multiples of ``block`` the wider one stands for all.
    """
    step = math.ceil(every / block) * block
    return tuple(sorted({min(block, whole), whole, *range(step, whole + 1, step)}))


def measure_group_costs(
    costs: CostModel, every: int, on_stage: Callable[[str], None]
) -> tuple[GroupCost, ...]:
    """Measure all groups at ``every`` so many widths; groups that share no operator together."""
    whole = costs.template.whole
    asked = {group: widths_of(width, every, costs.block) for group, width in whole.items()}
    apart = apart_groups(whole, [operator.groups for operator in costs.operators])
    costs.measure([widths for groups in apart for widths in _together(groups, asked)], on_stage)
    return tuple(
        GroupCost(
            group,
            costs.template.groups[group].layers,
            widths,
            tuple(_cost_of(group, width, costs) for width in widths),
        )
        for group, widths in asked.items()
    )


def apart_groups(
    names: Sequence[str] | Mapping[str, int], touched: Sequence[frozenset[str]]
) -> list[list[str]]:
    """Return the groups in sets within which no two are touched by the same operator."""
    sets: list[list[str]] = []
    for name in names:
        beside = {other for groups in touched if name in groups for other in groups}
        home = next((each for each in sets if not beside.intersection(each)), None)
        if home is None:
            sets.append([name])
        else:
            home.append(name)
    return sets


def _together(groups: Sequence[str], asked: Mapping[str, Sequence[int]]) -> list[dict[str, int]]:
    """Return widths that have each group at each of its widths once, narrowing all at a time."""
    most = max(len(asked[group]) for group in groups)
    return [
        {group: asked[group][-1 - step] for group in groups if step < len(asked[group])}
        for step in range(1, most)
    ]


def _cost_of(group: str, width: int, costs: CostModel) -> int:
    return sum(
        costs.measured(operator, {group: width})
        for operator in costs.operators
        if group in operator.groups
    )
