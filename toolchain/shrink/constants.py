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
themselves are, :class:`~toolchain.shrink.precision.Precision` says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from toolchain.shrink.precision import DOUBLE, Precision

Vector = NDArray[np.float64]

NEGLIGIBLE = 1e-20
"""A constant below this, far under the rounding of anything that it is added to, counts as zero."""


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

    def of_class(self, index: int) -> list[Vector]:
        """Return the maps of one class here; several if the class is read at several places."""
        return [self.maps[channel] for channel, owner in self.classes.items() if owner == index]


@dataclass(frozen=True)
class Combination:
    """How one reader does without one of its input channels."""

    beta: float
    alphas: Mapping[int, float]
    """Input channel that stays -> its coefficient."""


@dataclass(frozen=True)
class Plan:
    """Which classes can go, and how each reader does without them."""

    carriers: frozenset[int]
    """Classes that stay to carry the others."""
    combinations: Mapping[str, Mapping[int, Combination]]
    """Reader -> input channel that goes -> combination."""


class _Span:
    """An orthonormal basis that grows."""

    def __init__(self, vectors: Iterable[Vector], precision: Precision) -> None:
        self.basis: list[Vector] = []
        self.precision = precision
        for vector in vectors:
            self.add(vector)

    def residual(self, vector: Vector) -> Vector:
        """Return what no combination of the basis reaches (twice, for orthogonality)."""
        left = vector.copy()
        for _ in range(2):
            for axis in self.basis:
                left -= (axis @ left) * axis
        return left

    def share_left(self, vector: Vector) -> float:
        """Return the residual as a share of the vector; 0 for a negligible vector."""
        norm = float(np.linalg.norm(vector))
        if np.abs(vector).max(initial=0.0) < NEGLIGIBLE:
            return 0.0
        return float(np.linalg.norm(self.residual(vector))) / norm

    def add(self, vector: Vector) -> bool:
        """Add a direction; False if it is (nearly) there already."""
        if self.share_left(vector) <= self.precision.direction:
            return False
        left = self.residual(vector)
        self.basis.append(left / np.linalg.norm(left))
        return True


def plan_removal(readers: list[Reader], kept: Collection[int] = ()) -> Plan:
    """Choose carriers greedily, the class that is furthest from the others first.

    Every class of any reader is a candidate, but those ``kept`` stay. Those that some reader
    cannot do without become carriers and stay, too; for all others the plan has a combination per
    reader and channel.
    """
    spans = {reader.name: _start(reader) for reader in readers}
    tolerance = max((reader.precision.combination for reader in readers), default=0.0)
    open_classes = {index for reader in readers for index in reader.classes.values()}
    carriers: set[int] = set()
    for index in sorted(open_classes & set(kept)):
        _carry(index, readers, spans, carriers)
    while True:
        distances = {
            index: _distance(readers, spans, index) for index in sorted(open_classes - carriers)
        }
        furthest = max(distances, key=lambda index: distances[index], default=None)
        if furthest is None or distances[furthest] <= tolerance:
            return _solve_all(readers, carriers)
        _carry(furthest, readers, spans, carriers)


def _carry(index: int, readers: list[Reader], spans: dict[str, _Span], carriers: set[int]) -> None:
    carriers.add(index)
    for reader in readers:
        for vector in reader.of_class(index):
            spans[reader.name].add(vector)


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


def _start(reader: Reader) -> _Span:
    vectors = [*reader.maps.values(), *reader.fixed.values()]
    uniform = [np.ones_like(vectors[0])] if reader.absorbs_uniform and vectors else []
    return _Span([*uniform, *reader.fixed.values()], reader.precision)


def _distance(readers: list[Reader], spans: dict[str, _Span], index: int) -> float:
    """Return the largest share of the class that some reader cannot do without."""
    shares = [
        spans[reader.name].share_left(vector)
        for reader in readers
        for vector in reader.of_class(index)
    ]
    return max(shares, default=0.0)


def _solve_all(readers: list[Reader], carriers: set[int]) -> Plan:
    """Find every combination; classes whose coefficients would be too large become carriers."""
    while True:
        combinations: dict[str, dict[int, Combination]] = {reader.name: {} for reader in readers}
        refused: set[int] = set()
        for reader in readers:
            for channel, vector in reader.maps.items():
                if reader.classes[channel] in carriers:
                    continue
                found = _solve(reader, carriers, vector)
                if found is None:
                    refused.add(reader.classes[channel])
                else:
                    combinations[reader.name][channel] = found
        if not refused:
            return Plan(frozenset(carriers), combinations)
        carriers |= refused


def _solve(reader: Reader, carriers: set[int], vector: Vector) -> Combination | None:
    """Return the smallest combination that gives ``vector``, or None if there is none."""
    if np.abs(vector).max(initial=0.0) < NEGLIGIBLE:
        return Combination(0.0, {})
    ones = np.ones_like(vector)
    if reader.absorbs_uniform:
        beta = float(vector.mean())
        if np.abs(vector - beta).max() <= reader.precision.combination * abs(beta):
            return Combination(beta, {})
    carried = {c: v for c, v in reader.maps.items() if reader.classes[c] in carriers}
    known = {**reader.fixed, **carried}
    columns = [*([ones] if reader.absorbs_uniform else []), *known.values()]
    if not columns:
        return None
    matrix = np.stack(columns, axis=1)
    scale = np.linalg.norm(matrix, axis=0)
    scale[scale == 0] = 1.0
    solution = np.linalg.lstsq(matrix / scale, vector, rcond=1e-12)[0] / scale
    left = np.abs(matrix @ solution - vector).max()
    if left > 10 * reader.precision.combination * np.abs(vector).max():
        return None
    coefficients = [float(value) for value in solution]
    beta = coefficients.pop(0) if reader.absorbs_uniform else 0.0
    if max(map(abs, coefficients), default=0.0) > reader.precision.max_coefficient:
        return None
    alphas = {channel: a for channel, a in zip(known, coefficients, strict=True) if a != 0}
    return Combination(beta, alphas)
