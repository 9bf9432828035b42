"""Channels that stay or go together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from toolchain.records.reasons import Reason

Nodes: TypeAlias = list[int]
"""One node per channel of a tensor's dimension 1, or of the dimension that is told beside them."""


@dataclass(frozen=True)
class Placed:
    """Where channels lie in a tensor: along one of its dimensions."""

    dim: int
    nodes: Nodes
    """One node per index of ``dim``."""

    @property
    def is_uniform(self) -> bool:
        """True if it is one channel, at every place."""
        return len(set(self.nodes)) == 1

    @property
    def order(self) -> Nodes:
        """Each channel once, in the order in which they come."""
        return list(dict.fromkeys(self.nodes))


class Classes:
    """A union-find over nodes; a class is a set of channels that stay or go together."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._reasons: dict[int, Reason] = {}

    def new(self, count: int) -> Nodes:
        """Return ``count`` new nodes, each a class of its own."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return list(range(first, first + count))

    def find(self, node: int) -> int:
        """Return the node that stands for the class of ``node``."""
        while self._parent[node] != node:
            self._parent[node] = self._parent[self._parent[node]]
            node = self._parent[node]
        return node

    def join(self, a: int, b: int) -> None:
        """Make one class of two."""
        a, b = self.find(a), self.find(b)
        if a == b:
            return
        low, high = min(a, b), max(a, b)
        self._parent[high] = low
        if high in self._reasons:
            self._reasons.setdefault(low, self._reasons.pop(high))

    def join_all(self, first: Nodes, second: Nodes) -> None:
        """Join two tensors' nodes position by position."""
        for a, b in zip(first, second, strict=True):
            self.join(a, b)

    def protect(self, nodes: Iterable[int], reason: Reason) -> None:
        """Keep the classes of ``nodes`` whatever their values are; the first reason stands."""
        for node in nodes:
            self._reasons.setdefault(self.find(node), reason)

    def protection(self, node: int) -> Reason | None:
        """Return why the class of ``node`` must stay, or None."""
        return self._reasons.get(self.find(node))
