"""What constant channels add up to at the layers that read them.

A layer that reads channels is linear in them. So a constant channel j can go from a reader if its
map v_j (its values over all positions, in every call of the reader) is a combination

    v_j = beta * 1 + sum over b of alpha_b * v_b

of channels b that stay; then the reader's weights take it over:

    bias += beta * (sum of W[:, j] over the kernel),     W[:, b] += alpha_b * W[:, j]

The term beta is only there for readers that turn a uniform input into a uniform output. With all
v_j uniform this is folding (beta) and the one carrier (alpha = k_j / k_b); maps that differ near
the border, as a depthwise convolution makes them of a constant, span a small space too, so that
a few carriers stand for all of them. Everything here is computed in float64; how exact the maps
themselves are, :class:`~toolchain.surgery.precision.Precision` says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from toolchain.surgery.precision import DOUBLE, Precision

Vector = NDArray[np.float64]

NEGLIGIBLE = 1e-20
"""A constant below this, far under the rounding of anything that it is added to, counts as zero."""
TIED = 6
"""Shares that agree to so many decimal places are equally far."""


@dataclass
class Reader:
    """The constant channels that one layer reads."""

    name: str
    absorbs_uniform: bool
    """True if a uniform constant can go into the bias."""
    precision: Precision = DOUBLE
    """The type that the maps were computed in."""
    maps: dict[int, Vector] = field(default_factory=dict)
    """Input channel that may go -> its values over all positions, calls and sizes."""
    classes: dict[int, int] = field(default_factory=dict)
    """The same channels -> their class; a class goes as a whole or stays."""
    fixed: dict[int, Vector] = field(default_factory=dict)
    """The values of constant channels that stay for other reasons: carriers at no cost."""


@dataclass(frozen=True)
class Combination:
    """How one reader does without one of its input channels."""

    beta: float
    alphas: Mapping[int, float]
    """Input channel that stays -> its coefficient."""


@dataclass(frozen=True)
class RemovalPlan:
    """Which classes can go, and how each reader does without them."""

    carriers: frozenset[int]
    """Classes that stay to carry the others."""
    combinations: Mapping[str, Mapping[int, Combination]]
    """Reader -> input channel that goes -> combination."""


class _Span:
    """What combinations of a growing orthonormal basis leave of a reader's maps.

    What is left of every map is kept up to date: an axis that is new is taken off each once, and
    not the whole basis anew.
    """

    def __init__(self, reader: Reader) -> None:
        self._nearly = reader.precision.direction
        self._basis: list[Vector] = []
        self._rows: dict[int, list[int]] = {}
        for row, channel in enumerate(reader.maps):
            self._rows.setdefault(reader.classes[channel], []).append(row)
        self._maps = np.array(list(reader.maps.values()), np.float64)
        self._left = self._maps.copy()
        norms = [float(np.linalg.norm(vector)) for vector in self._maps]
        seen = [np.abs(vector).max(initial=0.0) >= NEGLIGIBLE for vector in self._maps]
        self._norms = np.where(seen, norms, np.inf)  # of what is negligible nothing is left
        vectors = [*reader.maps.values(), *reader.fixed.values()]
        if reader.absorbs_uniform and vectors:
            self._add(np.ones_like(vectors[0]))
        for vector in reader.fixed.values():
            self._add(vector)

    def carry(self, index: int) -> None:
        """Add the maps of a class to the basis."""
        for row in self._rows.get(index, ()):
            self._add(self._maps[row])

    def share_left(self, index: int) -> float:
        """Return the largest share of a map of the class that the basis does not reach."""
        return max((self._share(row) for row in self._rows.get(index, ())), default=0.0)

    def magnitude(self, index: int) -> float:
        """Return the largest magnitude in a map of the class."""
        return max(
            (float(np.abs(self._maps[row]).max()) for row in self._rows.get(index, ())), default=0.0
        )

    def _share(self, row: int) -> float:
        return float(np.linalg.norm(self._left[row]) / self._norms[row])

    def _add(self, vector: Vector) -> None:
        """Add a direction, unless it is (nearly) there already."""
        norm = float(np.linalg.norm(vector))
        if np.abs(vector).max(initial=0.0) < NEGLIGIBLE:
            return
        left = vector.copy()
        for _ in range(2):  # twice, for orthogonality
            for axis in self._basis:
                left -= (axis @ left) * axis
        length = float(np.linalg.norm(left))
        if length <= self._nearly * norm:
            return
        axis = left / length
        self._basis.append(axis)
        if len(self._left):
            for _ in range(2):
                self._left -= np.outer(self._left @ axis, axis)


def plan_removal(readers: list[Reader], kept: Collection[int] = ()) -> RemovalPlan:
    """Choose carriers greedily, the class that is furthest from the others first.

    Of those that are equally far the one of the largest constant: what it carries is its value
    times a coefficient, and its own rounding is multiplied by that as well.

    Every class of any reader is a candidate, but those ``kept`` stay. Those that some reader
    cannot do without become carriers and stay, too; for all others the plan has a combination per
    reader and channel.
    """
    spans = [_Span(reader) for reader in readers]
    tolerance = max((reader.precision.combination for reader in readers), default=0.0)
    open_classes = {index for reader in readers for index in reader.classes.values()}
    carriers: set[int] = set()
    for index in sorted(open_classes & set(kept)):
        _carry(index, spans, carriers)
    while True:
        distances = {
            index: max((span.share_left(index) for span in spans), default=0.0)
            for index in sorted(open_classes - carriers)
        }
        furthest = max(
            distances,
            key=lambda index: (
                round(distances[index], TIED),
                max(span.magnitude(index) for span in spans),
            ),
            default=None,
        )
        if furthest is None or distances[furthest] <= tolerance:
            return _solve_all(readers, carriers)
        _carry(furthest, spans, carriers)


def _carry(index: int, spans: Iterable[_Span], carriers: set[int]) -> None:
    carriers.add(index)
    for span in spans:
        span.carry(index)


def broken(
    reader: Reader, combinations: Mapping[int, Combination], unseen: Mapping[int, Vector]
) -> set[int]:
    """Return the classes whose combination fails on maps that the plan has not seen.

    ``unseen`` has the maps of the reader's constant channels at another input size. A constant
    that depends on the size (an average over padded borders, say) can be fitted at the sizes that
    were seen, whatever the truth is; here it shows.
    """
    return {
        reader.classes[channel]
        for channel, combination in combinations.items()
        if not _holds(channel, combination, unseen, reader.precision.combination)
    }


def _holds(
    channel: int, combination: Combination, unseen: Mapping[int, Vector], tolerance: float
) -> bool:
    if any(index not in unseen for index in (channel, *combination.alphas)):
        return False
    expected = unseen[channel]
    made = np.full_like(expected, combination.beta)
    for carrier, alpha in combination.alphas.items():
        made += alpha * unseen[carrier]
    scale = max(np.abs(expected).max(initial=0.0), NEGLIGIBLE / tolerance)
    return bool(np.abs(made - expected).max(initial=0.0) <= 100 * tolerance * scale)


def _solve_all(readers: list[Reader], carriers: set[int]) -> RemovalPlan:
    """Find every combination; classes whose coefficients would be too large become carriers."""
    while True:
        combinations = {reader.name: _solve(reader, carriers) for reader in readers}
        refused = {
            reader.classes[channel]
            for reader in readers
            for channel, found in combinations[reader.name].items()
            if found is None
        }
        if not refused:
            return RemovalPlan(
                frozenset(carriers),
                {
                    name: {channel: each for channel, each in found.items() if each is not None}
                    for name, found in combinations.items()
                },
            )
        carriers |= refused


def _solve(reader: Reader, carriers: set[int]) -> dict[int, Combination | None]:
    """Return the smallest combination that gives each map that may go, or None if there is none.

    All are solved together: their combinations are of the same maps.
    """
    found: dict[int, Combination | None] = {}
    harder: dict[int, Vector] = {}
    for channel, vector in reader.maps.items():
        if reader.classes[channel] in carriers:
            continue
        found[channel] = _simple(reader, vector)
        if found[channel] is None:
            harder[channel] = vector
    carried = {c: v for c, v in reader.maps.items() if reader.classes[c] in carriers}
    known = {**reader.fixed, **carried}
    columns = list(known.values())
    if reader.absorbs_uniform and harder:
        columns.insert(0, np.ones_like(next(iter(harder.values()))))
    if not columns or not harder:
        return found
    matrix, wanted = np.stack(columns, axis=1), np.stack(list(harder.values()), axis=1)
    scale = np.linalg.norm(matrix, axis=0)
    scale[scale == 0] = 1.0
    solutions = np.linalg.lstsq(matrix / scale, wanted, rcond=1e-12)[0] / scale[:, None]
    left = np.abs(matrix @ solutions - wanted).max(axis=0)
    for channel, solution, rest in zip(harder, solutions.T, left, strict=True):
        if rest <= 10 * reader.precision.combination * np.abs(harder[channel]).max():
            found[channel] = _as_combination(reader, list(known), solution)
    return found


def _simple(reader: Reader, vector: Vector) -> Combination | None:
    """Return the combination for a map that is zero, or one value everywhere, or None."""
    if np.abs(vector).max(initial=0.0) < NEGLIGIBLE:
        return Combination(0.0, {})
    if reader.absorbs_uniform:
        beta = float(vector.mean())
        if np.abs(vector - beta).max() <= reader.precision.combination * abs(beta):
            return Combination(beta, {})
    return None


def _as_combination(
    reader: Reader, channels: Sequence[int], solution: Vector
) -> Combination | None:
    """Return a solution as a combination, or None if its coefficients are too large."""
    coefficients = [float(value) for value in solution]
    beta = coefficients.pop(0) if reader.absorbs_uniform else 0.0
    if max(map(abs, coefficients), default=0.0) > reader.precision.max_coefficient:
        return None
    alphas = {channel: a for channel, a in zip(channels, coefficients, strict=True) if a != 0}
    return Combination(beta, alphas)
