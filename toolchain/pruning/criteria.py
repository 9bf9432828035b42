"""How important a filter is: FPGM and L1, on raw weights.

FPGM (He et al., "Filter Pruning via Geometric Median", CVPR 2019): a filter near the geometric
median of its layer can be replaced by the others. g(x) = sum over j of the Euclidean distance
between x and filter j; the smallest goes first. L1 (Li et al., ICLR 2017): the sum of absolute
weights. Both are those of NNI's FPGMPruner and L1NormPruner.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from toolchain.errors import InputError
from toolchain.recipe import Criterion

Scoring: TypeAlias = Callable[[Tensor], Tensor]
"""Filters (n, d), floating -> a score for each, (n,); the smallest goes first."""

PAIRWISE = 2**26
"""Up to so many differences, pairs of filters times weights, are taken one by one."""


def fpgm_scores(filters: Tensor) -> Tensor:
    """(n, d) filters -> (n,) sums of Euclidean distances to all filters, in float64.

    Differences, not products, are squared, so equal filters are at distance zero exactly. Each pair
    is measured once; memory grows with n * (n + d). Of large layers (512 filters of 4,608 weights)
    distances come from one matrix product instead, several times as fast: equal filters are one
    there, and so still tie exactly; other scores agree to about 1e-14 of their size.
    """
    count, weights = filters.shape
    if count * (count - 1) // 2 * weights > PAIRWISE:
        return _by_products(filters.double())
    distances = filters.new_zeros(count, count, dtype=torch.float64)
    above = torch.ones(count, count, dtype=torch.bool, device=filters.device).triu(1)
    distances[above] = torch.pdist(filters.double())
    return (distances + distances.T).sum(dim=1)


PREFIX = 16
"""Weights of a filter by which nearly always all filters of a layer differ."""


def _by_products(filters: Tensor) -> Tensor:
    """The same by |x - y|^2 = |x|^2 + |y|^2 - 2 x y, where equal filters are taken for one."""
    _, counts = torch.unique(filters[:, :PREFIX], dim=0, return_counts=True)
    if int(counts.max()) == 1:  # spares sorting all weights
        return _distances(filters).sum(dim=1)
    distinct, which, counts = torch.unique(filters, dim=0, return_inverse=True, return_counts=True)
    scores: Tensor = _distances(distinct) @ counts.double()
    return scores[which]


def _distances(filters: Tensor) -> Tensor:
    products = filters @ filters.T
    squares = products.diagonal()
    distances = (squares[:, None] + squares - 2 * products).clamp_min(0).sqrt()
    return distances.fill_diagonal_(0)


def l1_scores(filters: Tensor) -> Tensor:
    """(n, d) filters -> (n,) sums of absolute weights, in float64."""
    return filters.double().abs().sum(dim=1)


CRITERIA: dict[Criterion, Scoring] = {"fpgm": fpgm_scores, "l1": l1_scores}


def choose(
    filters: Tensor, rate: float, criterion: Criterion | Scoring, *, zeros_first: bool = False
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
    filters: Tensor, count: int, criterion: Criterion | Scoring, *, zeros_first: bool = False
) -> list[int]:
    """Return which ``count`` filters to zero; the rest is as in :func:`choose`."""
    return sorted(ranked(filters, criterion, zeros_first=zeros_first)[:count])


def ranked(
    filters: Tensor, criterion: Criterion | Scoring, *, zeros_first: bool = False
) -> list[int]:
    """Return the filters, the least important first; the rest is as in :func:`choose`.

    A criterion of one's own is given the filters (n, d) in their own type, and raises
    :class:`InputError` by what it returns where that is not n finite scores.
    """
    if isinstance(criterion, str):
        scores = CRITERIA[criterion](filters)
    else:
        scores = _checked(criterion, filters)
    if zeros_first:
        scores[~filters.bool().any(dim=1)] = -math.inf
    return [int(index) for index in torch.argsort(scores, stable=True)]


def _checked(criterion: Scoring, filters: Tensor) -> Tensor:
    """Return the scores that a criterion of one's own gives, as a new float64 tensor (n,)."""
    name, count = name_of(criterion), len(filters)
    with torch.no_grad():
        scores = criterion(filters.clone())
    if not isinstance(scores, Tensor) or scores.is_complex():
        raise InputError(
            f"criterion {name} must return a tensor of {count} scores (got {type(scores).__name__})"
        )
    if tuple(scores.shape) != (count,):
        raise InputError(
            f"criterion {name} must return a score for each filter, shape ({count},), of filters "
            f"{tuple(filters.shape)} (got shape {tuple(scores.shape)})"
        )
    scores = scores.detach().to(filters.device, torch.float64, copy=True)
    if not bool(scores.isfinite().all()):
        raise InputError(f"criterion {name} must return finite scores (got {_first_other(scores)})")
    return scores


def _first_other(scores: Tensor) -> str:
    place = int((~scores.isfinite()).nonzero()[0])
    return f"{float(scores[place])} for filter {place}"


def name_of(criterion: Criterion | Scoring) -> str:
    """Return the name of a criterion, for messages and for what is kept of it."""
    if isinstance(criterion, str):
        return criterion
    return str(getattr(criterion, "__qualname__", type(criterion).__qualname__))
