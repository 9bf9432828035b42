"""How far constants that may go are from combinations of those that stay.

Each reader has an orthonormal basis of the maps that stay, and what is left of every other map is
kept up to date: a new axis is taken off all of them once. Only the readers of a class that has
just become a carrier have anything to do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.surgery.packing import Vector
from toolchain.surgery.readers import PackedReader

NEGLIGIBLE = 1e-20
"""A constant below this, far under the rounding of anything that it is added to, counts as zero."""
TIED = 6
"""Shares that agree to so many decimal places are equally far."""


class Distances:
    """How far each class of channels is from what stays, in the reader where it is furthest."""

    def __init__(self, readers: Sequence[PackedReader]) -> None:
        self.classes = sorted({index for reader in readers for index in reader.classes})
        self._place = {index: place for place, index in enumerate(self.classes)}
        self._spans = [_Span(reader, self._place) for reader in readers]
        self._spans_of: dict[int, list[_Span]] = {index: [] for index in self.classes}
        for span in self._spans:
            for index in span.rows:
                self._spans_of[index].append(span)
        self._open = np.ones(len(self.classes), bool)
        self._sizes = np.full(len(self.classes), np.inf)
        for span in self._spans:
            np.minimum.at(self._sizes, span.places, span.sizes)

    def carry(self, index: int) -> None:
        """Let a class stay: its maps join the bases of its readers."""
        self._open[self._place[index]] = False
        for span in self._spans_of[index]:
            span.carry(index)

    def furthest(self) -> tuple[int, float] | None:
        """Return the class of which the largest share is left, and this share; None: all stay.

        Of those that are equally far the one whose constant is largest, beside the others in the
        reader where it is smallest: what it carries is its value times a coefficient, and its own
        rounding is multiplied by that as well.
        """
        if not self._open.any():
            return None
        shares = np.zeros(len(self.classes))
        for span in self._spans:
            np.maximum.at(shares, span.places, span.shares)
        near = shares >= shares[self._open].max() - 2 * 10.0**-TIED
        place = max(
            (int(place) for place in np.flatnonzero(near & self._open)),
            key=lambda place: (round(float(shares[place]), TIED), self._sizes[place]),
        )
        return self.classes[place], float(shares[place])


class _Span:
    """What combinations of a growing orthonormal basis leave of a reader's maps."""

    def __init__(self, reader: PackedReader, place: dict[int, int]) -> None:
        self.places = [place[index] for index in reader.classes]
        self.rows: dict[int, list[int]] = {}
        for row, index in enumerate(reader.classes):
            self.rows.setdefault(index, []).append(row)
        weighted, magnitudes = reader.maps.weighted, reader.magnitudes()
        self._maps, self.magnitudes = weighted[reader.going], magnitudes[reader.going]
        self.sizes = self.magnitudes / max(self.magnitudes.max(initial=0.0), NEGLIGIBLE)
        self._nearly = reader.precision.direction
        self._left = self._maps.copy()
        self._basis = np.zeros((0, weighted.shape[1]))
        # Of what is negligible nothing is left.
        self._norms = np.where(self.magnitudes >= NEGLIGIBLE, _norms(self._maps), np.inf)
        if reader.absorbs_uniform:
            self._add(np.sqrt(reader.maps.counts))
        for row in reader.fixed:
            if magnitudes[row] >= NEGLIGIBLE:
                self._add(weighted[row])
        self.shares = _norms(self._left) / self._norms

    def carry(self, index: int) -> None:
        """Add the maps of a class to the basis."""
        for row in self.rows[index]:
            if self.magnitudes[row] >= NEGLIGIBLE:
                self._add(self._maps[row])
        self.shares = _norms(self._left) / self._norms

    def _add(self, vector: Vector) -> None:
        """Add a direction, unless it is (nearly) there already."""
        left = vector.copy()
        for _ in range(2):  # twice, for orthogonality
            left -= self._basis.T @ (self._basis @ left)
        length = float(np.linalg.norm(left))
        if length <= self._nearly * float(np.linalg.norm(vector)):
            return
        axis = left / length
        self._basis = np.vstack([self._basis, axis])
        for _ in range(2):
            self._left -= np.outer(self._left @ axis, axis)


def _norms(rows: Vector) -> Vector:
    norms: Vector = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return norms
