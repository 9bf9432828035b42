"""How important a filter is: FPGM and L1, on raw weights.

FPGM (He et al., "Filter Pruning via Geometric Median", CVPR 2019): a filter near the geometric
median of its layer can be replaced by the others. g(x) = sum over j of the Euclidean distance
between x and filter j; the smallest goes first. L1 (Li et al., ICLR 2017): the sum of absolute
weights. Both are those of NNI's FPGMPruner and L1NormPruner.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from toolchain.recipe import Criterion


def fpgm_scores(filters: Tensor) -> Tensor:
    """(n, d) filters -> (n,) sums of Euclidean distances to all filters, in float64.

    Differences, not products, are squared, so equal filters are at distance zero exactly. Each pair
    is measured once; memory grows with n * (n + d).
    """
    count = len(filters)
    distances = filters.new_zeros(count, count, dtype=torch.float64)
    above = torch.ones(count, count, dtype=torch.bool, device=filters.device).triu(1)
    distances[above] = torch.pdist(filters.double())
    return (distances + distances.T).sum(dim=1)


def l1_scores(filters: Tensor) -> Tensor:
    """(n, d) filters -> (n,) sums of absolute weights, in float64."""
    return filters.double().abs().sum(dim=1)


CRITERIA: dict[Criterion, Callable[[Tensor], Tensor]] = {"fpgm": fpgm_scores, "l1": l1_scores}


def choose(
    filters: Tensor, rate: float, criterion: Criterion, *, zeros_first: bool = False
) -> list[int]:
    """Return which floor(rate * n) of the n filters (n, d) to zero, in rising order.

    Ties go by index, so the choice repeats exactly. With ``zeros_first`` those that are zero
    already are chosen before all others, so that not more than floor(rate * n) are zero in the
    end: FPGM, for one, takes a filter that is zero for one that is far from the others.
    """
    return choose_count(filters, count_of(rate, len(filters)), criterion, zeros_first=zeros_first)


def count_of(rate: float, width: int) -> int:
    """Return floor(rate * n) of n filters."""
    return math.floor(rate * width + 1e-9)


def choose_count(
    filters: Tensor, count: int, criterion: Criterion, *, zeros_first: bool = False
) -> list[int]:
    """Return which ``count`` filters to zero; the rest is as in :func:`choose`."""
    return sorted(ranked(filters, criterion, zeros_first=zeros_first)[:count])


def ranked(filters: Tensor, criterion: Criterion, *, zeros_first: bool = False) -> list[int]:
    """Return the filters, the least important first; the rest is as in :func:`choose`."""
    scores = CRITERIA[criterion](filters)
    if zeros_first:
        scores[~filters.bool().any(dim=1)] = -math.inf
    return [int(index) for index in torch.argsort(scores, stable=True)]
