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

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.surgery.packing import Vector, pack
from toolchain.surgery.readers import PackedReader
from toolchain.surgery.spans import NEGLIGIBLE, Distances


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


def plan_removal(readers: Sequence[PackedReader], kept: Collection[int] = ()) -> RemovalPlan:
    """Choose carriers greedily, the class that is furthest from the others first.

    Every class of any reader is a candidate, but those ``kept`` stay. Those that some reader
    cannot do without become carriers and stay, too; for all others the plan has a combination per
    reader and channel.
    """
    distances = Distances(readers)
    tolerance = max((reader.precision.combination for reader in readers), default=0.0)
    carriers = set(kept) & set(distances.classes)
    for index in sorted(carriers):
        distances.carry(index)
    while (found := distances.furthest()) is not None and found[1] > tolerance:
        carriers.add(found[0])
        distances.carry(found[0])
    return _solve_all(readers, carriers)


def broken(
    reader: PackedReader, combinations: Mapping[int, Combination], unseen: Mapping[int, Vector]
) -> set[int]:
    """Return the classes whose combination fails on maps that the plan has not seen.

    ``unseen`` has the maps of the reader's constant channels at another input size. A constant
    that depends on the size (an average over padded borders, say) can be fitted at the sizes that
    were seen, whatever the truth is; here it shows. A true combination leaves less than 1e-13 in
    float64; one that only nearly holds may leave 1e-11 at one size, and much more at another.
    """
    class_of = dict(zip(reader.channels, reader.classes, strict=False))
    here = {
        channel: combination
        for channel, combination in combinations.items()
        if all(index in unseen for index in (channel, *combination.alphas))
    }
    missing = {class_of[channel] for channel in combinations.keys() - here.keys()}
    used = list(dict.fromkeys(each for c, made in here.items() for each in (c, *made.alphas)))
    row = {channel: number for number, channel in enumerate(used)}
    values = pack([unseen[channel] for channel in used]).values
    tolerance = reader.precision.combination
    for channel, combination in here.items():
        expected, alphas = values[row[channel]], combination.alphas
        carriers = values[[row[carrier] for carrier in alphas]]
        made = np.array(list(alphas.values())) @ carriers + combination.beta
        scale = max(np.abs(expected).max(initial=0.0), NEGLIGIBLE / tolerance)
        if not np.abs(made - expected).max(initial=0.0) <= tolerance * scale:
            missing.add(class_of[channel])
    return missing


def _solve_all(readers: Sequence[PackedReader], carriers: set[int]) -> RemovalPlan:
    """Find every combination; classes whose coefficients would be too large become carriers."""
    combinations = {reader.name: _solve(reader, carriers) for reader in readers}
    while True:
        refused = {
            index
            for reader in readers
            for channel, index in zip(reader.channels, reader.classes, strict=False)
            if combinations[reader.name].get(channel, _NOTHING) is None
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
        for reader in readers:
            if refused & set(reader.classes):
                combinations[reader.name] = _solve(reader, carriers)


_NOTHING = Combination(0.0, {})


def _solve(reader: PackedReader, carriers: set[int]) -> dict[int, Combination | None]:
    """Return the smallest combination that gives each map that may go, or None if there is none.

    All are solved together: their combinations are of the same maps.
    """
    found: dict[int, Combination | None] = {}
    harder: list[int] = []
    values = reader.maps.values
    for row in reader.going:
        if reader.classes[row] not in carriers:
            found[reader.channels[row]] = simple = _simple(reader, values[row])
            if simple is None:
                harder.append(row)
    known = reader.staying(carriers)
    matrix = values[known].T
    if reader.absorbs_uniform:
        matrix = np.hstack([np.ones((len(matrix), 1)), matrix])
    if not matrix.shape[1] or not harder:
        return found
    wanted, weights = values[harder].T, np.sqrt(reader.maps.counts)[:, None]
    scale = np.linalg.norm(matrix * weights, axis=0)
    scale[scale == 0] = 1.0
    weighted = matrix * weights / scale
    solutions = np.linalg.lstsq(weighted, wanted * weights, rcond=1e-12)[0] / scale[:, None]
    left = np.abs(matrix @ solutions - wanted).max(axis=0)
    for row, solution, rest in zip(harder, solutions.T, left, strict=True):
        if rest <= 10 * reader.precision.combination * np.abs(values[row]).max():
            channels = [reader.channels[each] for each in known]
            found[reader.channels[row]] = _as_combination(reader, channels, solution)
    return found


def _simple(reader: PackedReader, values: Vector) -> Combination | None:
    """Return the combination for a map that is zero, or one value everywhere, or None."""
    if np.abs(values).max(initial=0.0) < NEGLIGIBLE:
        return Combination(0.0, {})
    if reader.absorbs_uniform:
        beta = float(np.average(values, weights=reader.maps.counts))
        if np.abs(values - beta).max() <= reader.precision.combination * abs(beta):
            return Combination(beta, {})
    return None


def _as_combination(
    reader: PackedReader, channels: Sequence[int], solution: Vector
) -> Combination | None:
    """Return a solution as a combination, or None if its coefficients are too large."""
    coefficients = [float(value) for value in solution]
    beta = coefficients.pop(0) if reader.absorbs_uniform else 0.0
    if max(map(abs, coefficients), default=0.0) > reader.precision.max_coefficient:
        return None
    alphas = {channel: a for channel, a in zip(channels, coefficients, strict=True) if a != 0}
    return Combination(beta, alphas)
