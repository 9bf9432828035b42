"""Widths within a budget: against all that there are, on problems small enough."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from toolchain.widths.choosing import Part, Problem, cheapest, choose_widths


def random_problem(seed: int, groups: int = 4, width: int = 5) -> Problem:
    """A chain of groups, each operator reading one and writing the next, costs in steps."""
    draw = random.Random(seed)
    names = [f"g{number}" for number in range(groups)]
    losses = {
        name: {each: -math.log(each / width) * draw.uniform(0.5, 2) for each in range(1, width + 1)}
        for name in names
    }

    def step(size: int, block: int) -> float:
        return math.ceil(size / block) * block

    def product(scale: float, block: int) -> Part:
        return Part((), lambda widths: scale * math.prod(step(each, block) for each in widths))

    parts = []
    for pair in itertools.pairwise(names):
        made = product(draw.uniform(1, 20), draw.choice([1, 2, 4]))
        parts.append(Part(pair, made.cost))
    parts += [Part((name,), product(draw.uniform(1, 10), 1).cost) for name in names]
    return Problem(losses, parts, fixed=draw.uniform(0, 50))


def best_of_all(problem: Problem, budget: float) -> float | None:
    """The least loss within the budget, by trying everything."""
    names = list(problem.losses)
    choices = (
        dict(zip(names, widths, strict=True))
        for widths in itertools.product(*(problem.losses[name] for name in names))
    )
    return min(
        (problem.loss(choice) for choice in choices if problem.cost(choice) <= budget), default=None
    )


@pytest.mark.parametrize("share", [0.25, 0.4, 0.6, 0.8])
def test_as_good_as_trying_everything(share: float) -> None:
    exact = 0
    for seed in range(12):
        problem = random_problem(seed)
        budget = share * problem.cost(problem.widest)
        best, found = best_of_all(problem, budget), choose_widths(problem, budget)
        if best is None:
            assert found is None
            continue
        assert found is not None
        assert problem.cost(found) <= budget
        assert problem.loss(found) <= best * 1.1 + 1e-9
        exact += problem.loss(found) <= best + 1e-9
    assert exact >= 9


def test_what_costs_nothing_is_not_narrowed() -> None:
    """A step of four: of its widths only 4 and 8 are chosen."""
    losses = {"a": {width: 8.0 - width for width in range(1, 9)}}
    stairs = Part(("a",), lambda widths: 10.0 * math.ceil(widths[0] / 4))
    assert choose_widths(Problem(losses, [stairs]), 10.0) == {"a": 4}
    assert choose_widths(Problem(losses, [stairs]), 19.0) == {"a": 4}
    assert choose_widths(Problem(losses, [stairs]), 20.0) == {"a": 8}


def test_a_narrower_width_that_costs_more_is_not_taken_for_the_cheapest() -> None:
    costs = {1: 5.0, 2: 3.0, 3: 4.0}
    problem = Problem({"a": {1: 2.0, 2: 1.0, 3: 0.0}}, [Part(("a",), lambda w: costs[w[0]])])
    assert cheapest(problem) == {"a": 2}
    assert choose_widths(problem, 2.9) is None


def test_a_budget_that_all_fits_narrows_nothing() -> None:
    problem = random_problem(1)
    assert choose_widths(problem, problem.cost(problem.widest)) == problem.widest


def test_groups_pay_by_what_they_cost_together() -> None:
    """Two groups that multiply are narrowed alike; one that costs nothing is left alone."""
    losses = {name: {width: (8.0 - width) ** 2 for width in range(1, 9)} for name in "abc"}
    parts = [Part(("a", "b"), lambda w: float(w[0] * w[1])), Part(("c",), lambda w: 0.01 * w[0])]
    assert choose_widths(Problem(losses, parts), 16.1) == {"a": 4, "b": 4, "c": 8}
