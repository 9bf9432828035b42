"""The criteria a second time, as loops over floats, from the papers' formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import torch
from hypothesis import strategies as st
from torch import Tensor

from toolchain.recipe import Criterion

Row = Sequence[float]
EXAMPLE = torch.zeros(1, 3, 64, 64)
CRITERION_NAMES: list[Criterion] = ["fpgm", "l1"]


def slow_scores(filters: Sequence[Row], criterion: str) -> list[float]:
    """Sum of distances to all filters (FPGM), or sum of absolute weights (L1)."""
    if criterion == "l1":
        return [math.fsum(abs(weight) for weight in row) for row in filters]
    scores = []
    for row in filters:
        distances = []
        for other in filters:
            squares = [(a - b) ** 2 for a, b in zip(row, other, strict=True)]
            distances.append(math.sqrt(math.fsum(squares)))
        scores.append(math.fsum(distances))
    return scores


def slow_choice(filters: Sequence[Row], rate: Fraction, criterion: str) -> list[int]:
    scores = slow_scores(filters, criterion)
    order = sorted(range(len(filters)), key=lambda index: (scores[index], index))
    return sorted(order[: math.floor(rate * len(filters))])


def random_filters(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


sizes = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31))
percents = st.integers(0, 99)
criteria = st.sampled_from(CRITERION_NAMES)
