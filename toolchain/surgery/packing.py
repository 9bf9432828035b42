"""Maps of constants, without the positions that repeat.

Inside an image all positions see the same constants; only near borders they differ, in a few ways.
So of all positions at which every map of a layer agrees, to the last bit, one stands for all, with
their number: sums over positions stay what they are, and a map of 100,000 values is one of 50.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Packed:
    """Some maps at the positions at which they differ."""

    values: Vector
    """(maps, kinds of positions)."""
    counts: Vector
    """(kinds of positions,): how many positions each stands for."""

    @property
    def weighted(self) -> Vector:
        """The maps with each kind by the root of its number: inner products are the maps' own."""
        return self.values * np.sqrt(self.counts)


def pack(vectors: Sequence[Vector]) -> Packed:
    """Return ``vectors``, all of one length, without positions that repeat in all of them."""
    if not vectors or not len(vectors[0]):
        return Packed(np.zeros((len(vectors), 0)), np.zeros(0))
    _, first, kind, counts = np.unique(
        _fingerprints(vectors), return_index=True, return_inverse=True, return_counts=True
    )
    values = np.stack([vector[first] for vector in vectors])
    if all(np.array_equal(row[kind], vector) for row, vector in zip(values, vectors, strict=True)):
        return Packed(values, counts.astype(np.float64))
    return Packed(np.stack(list(vectors)), np.ones(len(vectors[0])))  # two kinds, one fingerprint


def _fingerprints(vectors: Sequence[Vector]) -> NDArray[np.uint64]:
    """Return a number for each position, the same where all values are (by splitmix64's steps)."""
    mixed = np.zeros(len(vectors[0]), np.uint64)
    for vector in vectors:
        mixed ^= (vector + 0.0).view(np.uint64)  # -0.0 and 0.0 are one value
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(31)
        mixed += np.uint64(0x9E3779B97F4A7C15)
    return mixed
