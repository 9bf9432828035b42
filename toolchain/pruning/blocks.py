"""Filters that go in blocks, so that what stays fills the blocks in which a runtime computes.

ncnn keeps four channels side by side: of 16 filters 15 cost as much as 16, and 12 cost less. So a
rate is met by all groups together: some lose a block, others nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol


class Group(Protocol):
    """What must be known of a dependency group."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def width(self) -> int:
        """How many filters each of its layers has."""
        ...

    @property
    def layers(self) -> tuple[str, ...]:
        """Those that write it."""
        ...


def counts_in_blocks(
    groups: Sequence[Group], rates: Mapping[str, float], align: int
) -> dict[str, int]:
    """Return how many filters of each group go, where what stays is a multiple of ``align``.

    ``rates`` are by group. Together at least the rates' share of all filters goes, if there are so
    many; a filter counts for every layer that writes it. The next block is always that which takes
    a group least beyond its rate, of equal ones the first: it comes before the others in the
    network, where pictures are largest. A group of ``align`` filters or fewer stays whole, and of
    any other ``align`` stay at least.

    Of five groups of 16 at a rate of 0.1, 8 filters are to go: two groups lose 4 each.
    """
    wanted = sum(rates[group.name] * group.width * len(group.layers) for group in groups)
    gone = dict.fromkeys((group.name for group in groups), 0)
    lost = 0
    while lost < wanted - 1e-6:
        nexts = [
            (rates[group.name] - (group.width - stays) / group.width, -index, stays)
            for index, group in enumerate(groups)
            if rates[group.name] and (stays := _narrower(group.width - gone[group.name], align))
        ]
        if not nexts:
            break
        _, index, stays = max(nexts)
        group = groups[-index]
        lost += (group.width - stays - gone[group.name]) * len(group.layers)
        gone[group.name] = group.width - stays
    return gone


def _narrower(width: int, align: int) -> int:
    """Return the next smaller multiple of ``align``, 0 if there is none."""
    return (math.ceil(width / align) - 1) * align
