"""Outputs of two networks, compared in float64."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


def noise(shape: tuple[int, ...], other: tuple[int, int] | None, seed: int = 1) -> list[Tensor]:
    """One input of a network's own size, two of another size where it takes one; float64."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [shape] if other is None else [shape, (2, shape[1], *other)]
    return [torch.randn(each, generator=generator, dtype=torch.float64) * 1.5 for each in shapes]


def differences(before: nn.Module, after: nn.Module, inputs: list[Tensor]) -> tuple[float, ...]:
    """By output, the largest difference as a share of the first network's range there."""
    before, after = (copy.deepcopy(each).double().eval() for each in (before, after))
    worst: list[float] = []
    with torch.no_grad():
        for x in inputs:
            pairs = zip(tree_leaves(before(x)), tree_leaves(after(x)), strict=True)
            shares = [_share(a, b) for a, b in pairs]
            worst = [max(pair) for pair in zip(worst, shares, strict=True)] if worst else shares
    return tuple(worst)


def _share(a: Tensor, b: Tensor) -> float:
    if a.shape != b.shape:
        raise ValueError(f"outputs are {tuple(a.shape)} and {tuple(b.shape)}")
    return float((a - b).abs().max() / (a.max() - a.min()).clamp_min(1e-300))
