"""Which widths meet a budget and lose least: a multiple-choice knapsack whose weights are coupled.

An operator's cost depends on the widths of all groups that it touches, so the budget is not a sum
over groups. The method is Lagrange's: for a price of an instruction, groups take in turn the width
that loses least with its cost paid, until none changes; prices are tried over their whole range,
and the cheapest that meets the budget is improved by moves of one group and of two.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

PRICES = 60
"""Prices that are tried."""
ROUNDS = 30
"""Of moves, at most; each lowers the loss."""

Choice = dict[str, int]
"""A width for each group."""


@dataclass(frozen=True)
class Part:
    """What a few groups cost together."""

    groups: tuple[str, ...]
    cost: Callable[[tuple[int, ...]], float]
    """Of their widths, in the same order."""


@dataclass
class Problem:
    """Groups, what each width of theirs loses, and what widths cost together."""

    losses: Mapping[str, Mapping[int, float]]
    """By group, by width, falling as widths rise; their sum is made small."""
    parts: Sequence[Part]
    fixed: float = 0.0
    """Cost of what no width changes."""
    _known: dict[tuple[int, tuple[int, ...]], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Find which parts a group is in."""
        self.touching: dict[str, list[int]] = {group: [] for group in self.losses}
        for number, part in enumerate(self.parts):
            for group in part.groups:
                self.touching[group].append(number)

    @property
    def widest(self) -> Choice:
        """Every group at its widest."""
        return {group: max(losses) for group, losses in self.losses.items()}

    def loss(self, choice: Mapping[str, int]) -> float:
        """Return the sum over groups."""
        return sum(self.losses[group][width] for group, width in choice.items())

    def cost(self, choice: Mapping[str, int]) -> float:
        """Return what all of it costs."""
        return self.fixed + sum(self.part_cost(number, choice) for number in range(len(self.parts)))

    def around(self, group: str, choice: Choice) -> float:
        """Return the cost of the parts that a group is in."""
        return sum(self.part_cost(number, choice) for number in self.touching[group])

    def part_cost(self, number: int, choice: Mapping[str, int]) -> float:
        """Return what one part costs."""
        part = self.parts[number]
        key = number, tuple(choice[group] for group in part.groups)
        if key not in self._known:
            self._known[key] = part.cost(key[1])
        return self._known[key]


def cheapest(problem: Problem) -> Choice:
    """Return widths that cost as little as any that were found, whatever they lose."""
    return _converged(problem, problem.widest, None)


def choose_widths(problem: Problem, budget: float) -> Choice | None:
    """Return widths whose cost is within the budget, with as little loss as is found.

    None if none are found within it.
    """
    widest = problem.widest
    if problem.cost(widest) <= budget and problem.loss(widest) == 0:
        return widest
    found = [cheapest(problem)]
    scale = max(problem.cost(widest) / max(len(widest), 1), 1.0)
    choice = widest
    for step in range(PRICES):
        price = 10.0 ** (step * 8 / PRICES - 4) / scale
        choice = _converged(problem, choice, price)
        found += [dict(choice), _converged(problem, widest, price)]
    within = [choice for choice in found if problem.cost(choice) <= budget]
    if not within:
        return None
    best = sorted(within, key=problem.loss)[:3]
    return min((_improved(problem, choice, budget) for choice in best), key=problem.loss)


def _converged(problem: Problem, start: Choice, price: float | None) -> Choice:
    """Let groups take the best width in turn until none changes; no price: cost alone counts."""
    choice, changed = dict(start), True
    for _ in range(ROUNDS):
        if not changed:
            break
        changed = False
        for group, losses in problem.losses.items():

            def worth(width: int, group: str = group) -> tuple[float, float]:
                cost = problem.around(group, {**choice, group: width})
                lost = problem.losses[group][width]
                return (cost, lost) if price is None else (lost + price * cost, cost)

            best = min(sorted(losses, reverse=True), key=worth)
            changed |= best != choice[group]
            choice[group] = best
    return choice


def _improved(problem: Problem, start: Choice, budget: float) -> Choice:
    """Widen groups while there is room, and narrow one to widen another where that loses less."""
    choice, spent = dict(start), problem.cost(start)
    for _ in range(ROUNDS * len(choice)):
        moves = _moves(problem, choice)
        best = _best_move(problem, choice, moves, budget - spent)
        best = best or _best_together(problem, choice, budget - spent)
        if best is None:
            return choice
        choice.update(best)
        spent = problem.cost(choice)
    return choice


Move = tuple[float, float, str, int]
"""What is lost more, what it costs more, and the group with its width."""


def _moves(problem: Problem, choice: Choice) -> list[Move]:
    found = []
    for group, losses in problem.losses.items():
        now, lost = problem.around(group, choice), losses[choice[group]]
        for width, loss in losses.items():
            if width != choice[group]:
                cost = problem.around(group, {**choice, group: width}) - now
                found.append((loss - lost, cost, group, width))
    return found


def _best_move(
    problem: Problem, choice: Choice, moves: Sequence[Move], room: float
) -> Choice | None:
    """Return the move of one group or of two that gains most and fits; None if none gains."""
    gains = sorted(move for move in moves if move[0] < -1e-12)
    pairs: list[tuple[tuple[Move, ...], float]] = [
        ((gain,), gain[0]) for gain in gains if gain[1] <= room
    ]
    pays = sorted(move for move in moves if move[1] < 0)
    for gain in gains:
        for pay in pays:
            if gain[0] + pay[0] >= -1e-12:
                break
            if pay[2] != gain[2] and gain[1] + pay[1] <= room:
                pairs.append(((gain, pay), gain[0] + pay[0]))
                break
    before = problem.cost(choice)
    for pair, _ in sorted(pairs, key=lambda each: each[1]):
        changed = {group: width for _, _, group, width in pair}
        if problem.cost({**choice, **changed}) - before <= room + 1e-9:
            return changed
    return None


def _best_together(problem: Problem, choice: Choice, room: float) -> Choice | None:
    """Return the move of two groups of one part that gains most and fits, by their joint cost."""
    pairs = {
        pair for part in problem.parts for pair in itertools.combinations(sorted(part.groups), 2)
    }
    best, found = -1e-12, None
    for first, second in sorted(pairs):
        numbers = {*problem.touching[first], *problem.touching[second]}
        before = sum(problem.part_cost(number, choice) for number in numbers)
        lost = problem.losses[first][choice[first]] + problem.losses[second][choice[second]]
        for one, loss in problem.losses[first].items():
            for two, other in problem.losses[second].items():
                if loss + other - lost < best:
                    changed = {**choice, first: one, second: two}
                    after = sum(problem.part_cost(number, changed) for number in numbers)
                    if after - before <= room:
                        best, found = loss + other - lost, {first: one, second: two}
    return found
