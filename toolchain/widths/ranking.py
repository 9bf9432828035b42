"""Which filters of a group go first: those without which the outputs change least.

What outputs change by without filter i is a vector d(i), and without several about the sum of
theirs. So the product of all pairs of d tells what any set of filters loses, and filters are taken
one by one, each the one that adds least to those before: two that stand for each other do not
both go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Part = tuple[float, NDArray[np.float64]]
"""What a part of the outputs weighs, and its (positions, channels), the means taken off."""

LARGEST = 1 << 28
"""Numbers of all d together; of longer ones evenly spread numbers are taken."""


def order_by_outputs(
    whole: Sequence[Part], without: Callable[[int], Sequence[Part]], width: int
) -> list[int]:
    """Return the filters 0 to ``width`` - 1, the first to go first; of equal ones the lower.

    ``whole`` are the outputs of the network, ``without`` those without one filter. What is zero
    already changes nothing and goes first.
    """
    step = math.ceil(width * sum(part.size for _, part in whole) / LARGEST)
    scales = [_scale(weight, part) for weight, part in whole]
    changes = []
    for index in range(width):
        pairs = zip(whole, without(index), scales, strict=True)
        change = [scale * (found - part).ravel()[::step] for (_, part), (_, found), scale in pairs]
        changes.append(np.concatenate(change).astype(np.float32))
    rows = np.stack(changes)
    return _greedy((rows @ rows.T).astype(np.float64))


def _scale(weight: float, part: NDArray[np.float64]) -> float:
    """Return what makes a change a share of what the part varies by, weighed."""
    spread = float((part**2).sum())
    return math.sqrt(weight / spread) if spread > 0 else 0.0


def _greedy(products: NDArray[np.float64]) -> list[int]:
    """Return an order in which every next one adds least to the squared sum of those before."""
    order: list[int] = []
    added = products.diagonal().copy()
    for _ in range(len(products)):
        chosen = int(np.argmin(added))
        order.append(chosen)
        added += 2 * products[chosen]
        added[chosen] = np.inf
    return order
