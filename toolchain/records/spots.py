"""Where two sides' outputs differ most, each channel measured by its own scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolchain.records.parity import Figure, Spot

STEPS = 4
"""So many steps of the number type, at the magnitude of a channel's values, are no difference: each
side's last operation rounds by half a step, and so does the one before it that scales or shifts."""
AS_CLOSE = 2
"""A side may be so many times as far from the truth as the other is that it is held against: both
are roundings of the same numbers in another order."""
LEAST_VALUES = 32
"""A channel of fewer values on an input is judged with its output: its range would be an accident.
"""
SAME_SCALE = 4.0
"""Neighbouring channels whose ranges are within this factor are of one scale, for means."""
FAVOURED = 8.0
"""Of a map (N, C, H, W) the last dimension only counts as that of channels, for means, if its
ranges differ so many times as much as those along the second do."""

COLUMNS = 3
"""The last dimension of a map (N, C, H, W)."""

Values = NDArray[np.float64]
Ranges = Mapping[int, Mapping[int | None, Values]]
"""By output and dimension: the ranges of the channels along it."""


def worst_spots(
    names: Sequence[str],
    before: Sequence[NDArray[np.generic]],
    after: Sequence[NDArray[np.generic]],
    truth: Sequence[NDArray[np.generic]] | None,
    moved: Sequence[NDArray[np.generic]] | None,
    limit: float,
    least_range: float = 0.0,
    others: Ranges | None = None,
    sizes: Mapping[int, float] | None = None,
) -> tuple[Spot, Spot]:
    """Return where the largest difference, and where the mean one, is the largest share.

    All outputs are looked at channel by channel, along the second dimension and along the last;
    for the mean, neighbouring channels of one scale together. With ``truth``, ``after`` is measured
    against it, and what ``before`` is off by counts as resolution, as does what ``moved`` is.
    ``least_range`` is what a range counts as at least, as a share of its channel's magnitude: a
    file of a coarse type resolves magnitudes. ``others`` are the channels' ranges on other inputs,
    where this one shows a single point of them; ``sizes`` is what the magnitude of an output's
    values counts as at least, by which a step of their type is told.
    """
    views = [
        _Views(
            name,
            before[index],
            after[index],
            None if truth is None else truth[index],
            None if moved is None else moved[index],
            limit,
            least_range,
            {} if others is None else others.get(index, {}),
            0.0 if sizes is None else sizes.get(index, 0.0),
        )
        for index, name in enumerate(names)
    ]
    largest = [spot for view in views for spot in view.largest()]
    mean = [spot for view in views for spot in view.mean()]
    return _worst(largest, limit), _worst(mean, limit)


def channel_ranges(outputs: Sequence[NDArray[np.generic]], known: Ranges) -> Ranges:
    """Return each output's channels' ranges by dimension, or those known where they are larger."""
    found = {}
    for index, output in enumerate(outputs):
        views = _Views("", output, output, None, None, 0.0, 0.0, {}, 0.0)
        before = known.get(index, {})
        found[index] = {
            axis: views.ranges(axis, before.get(axis)) for axis in (None, *views.axes())
        }
    return found


def _worst(spots: Sequence[Spot], limit: float) -> Spot:
    """Return the spot of the largest share; of no outputs a difference of nothing."""

    def rank(spot: Spot) -> float:
        share = spot.share(limit)
        return np.inf if share is None else share

    return max(spots, key=rank, default=Spot("nothing", None, None, 0.0, 0.0))


@dataclass(frozen=True)
class _Rows:
    """The channels of one output along one dimension, a row of values each."""

    gap: Values
    """(C, values)."""
    ranges: Values
    """(C,), as the next one."""
    resolutions: Values

    @property
    def largest(self) -> Values:
        """Each channel's largest difference."""
        largest: Values = self.gap.max(axis=1, initial=0.0)
        return largest


class _Views:
    """One output of both sides, looked at along its dimensions."""

    def __init__(
        self,
        name: str,
        before: NDArray[np.generic],
        after: NDArray[np.generic],
        truth: NDArray[np.generic] | None,
        moved: NDArray[np.generic] | None,
        limit: float,
        least_range: float,
        others: Mapping[int | None, Values],
        size: float,
    ) -> None:
        self.name, self.limit, self.others, self.size = name, limit, others, size
        reference = before if truth is None else truth
        self.reference: Values = reference.astype(np.float64)
        with np.errstate(invalid="ignore"):  # inf - inf is NaN, which fails
            self.gap: Values = np.abs(self.reference - after.astype(np.float64))
            self.own: Values | None = (
                None if truth is None else np.abs(self.reference - before.astype(np.float64))
            )
            if self.own is not None and moved is not None:
                self.own = np.maximum(self.own, np.abs(self.reference - moved.astype(np.float64)))
        self._steps = STEPS * max(_step(before), _step(after))
        self.unresolved = max(self._steps, least_range * limit)
        self._known: dict[int | None, _Rows] = {}

    def largest(self) -> Iterator[Spot]:
        """Yield the worst channel along each dimension, or the whole."""
        for axis in self.axes() or (None,):
            rows = self._rows(axis)
            with np.errstate(divide="ignore", invalid="ignore"):
                shares = rows.largest / self._scales(rows)
            worst = int(np.where(np.isnan(shares) & (rows.largest != 0), np.inf, shares).argmax())
            yield self._spot("largest", axis, worst, worst)

    def mean(self) -> Iterator[Spot]:
        """Yield every run of channels of one scale."""
        axis = self._channel_axis()
        if axis is None:
            yield self._spot("mean", None, 0, 0)
            return
        for first, last in _runs(self._scales(self._rows(axis))):
            yield self._spot("mean", axis, first, last)

    def ranges(self, axis: int | None, known: Values | None) -> Values:
        """Return the ranges of the channels along a dimension, or those known where larger."""
        ranges = self._rows(axis).ranges
        return (
            np.maximum(ranges, known)
            if known is not None and known.shape == ranges.shape
            else ranges
        )

    def axes(self) -> tuple[int, ...]:
        """Return the dimensions along which channels may lie."""
        shape = self.gap.shape
        found = {1, len(shape) - 1} if len(shape) >= 2 else set()
        return tuple(
            axis
            for axis in sorted(found)
            if shape[axis] > 1 and self.gap.size >= LEAST_VALUES * shape[axis]
        )

    def _channel_axis(self) -> int | None:
        """Return the dimension along which ranges differ most; None if there is none."""
        axes = self.axes()
        is_map = self.gap.ndim == 4
        if is_map and self.gap.shape[1] == 1:
            return None
        spreads = {axis: _spread(self._rows(axis).ranges) for axis in axes}
        if is_map and 1 in spreads:
            spreads[1] *= FAVOURED
        return max(spreads, key=lambda axis: spreads[axis], default=None)

    def _folded(self, values: Values, axis: int | None) -> Values:
        """Return values as (C, everything else)."""
        if axis is None:
            return values.reshape(1, -1)
        return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)

    def _rows(self, axis: int | None) -> _Rows:
        if axis not in self._known:
            self._known[axis] = self._measured(axis)
        return self._known[axis]

    def _measured(self, axis: int | None) -> _Rows:
        gap, reference = self._folded(self.gap, axis), self._folded(self.reference, axis)
        if not gap.size:
            return _Rows(gap, np.zeros(len(gap)), np.zeros(len(gap)))
        with np.errstate(invalid="ignore"):
            ranges = reference.max(axis=1) - reference.min(axis=1)
            unresolved = self.unresolved * np.abs(reference).max(axis=1)
            unresolved = np.maximum(unresolved, self._steps * self.size)
        other = self.others.get(axis)
        if other is not None and other.shape == ranges.shape:
            ranges = np.maximum(ranges, other)
        if self.own is not None:
            own = self._folded(self.own, axis).max(axis=1)
            if axis == COLUMNS and reference.size:
                own = _even(own, np.abs(reference).max(axis=1))
            unresolved = np.maximum(unresolved, AS_CLOSE * own)
        return _Rows(gap, ranges, unresolved)

    def _scales(self, rows: _Rows) -> Values:
        """Return what each channel's differences are shares of."""
        coarse = rows.resolutions / self.limit if self.limit else 0.0
        return np.maximum(rows.ranges, coarse)

    def _spot(self, figure: Figure, axis: int | None, first: int, last: int) -> Spot:
        which = None if axis is None else (first, last)
        chosen = slice(first, last + 1)
        rows = self._rows(axis)
        gap, reference = rows.gap[chosen], self._folded(self.reference, axis)[chosen]
        if not gap.size:
            return Spot(self.name, axis, which, 0.0, 0.0)
        if not (np.isfinite(gap).all() and np.isfinite(reference).all()):
            return Spot(self.name, axis, which, None, None)
        difference = float(gap.max() if figure == "largest" else gap.mean())
        spread = float(reference.max() - reference.min())
        if self.others:
            spread = max(spread, float(rows.ranges[chosen].max()))
        return Spot(
            self.name, axis, which, difference, spread, float(rows.resolutions[chosen].max())
        )


def _even(own: Values, sizes: Values) -> Values:
    """Return the largest error of all columns as a share of their magnitude, for each of them.

    They are the same channels in other places: what rounding makes of a single one is an accident.
    """
    shares = own[sizes > 0] / sizes[sizes > 0]
    return sizes * float(shares.max(initial=0.0))


def _step(values: NDArray[np.generic]) -> float:
    """Return a type's step at 1; 0 for whole numbers, which are exact."""
    if values.dtype.kind != "f":
        return 0.0
    resolved: np.finfo[np.floating] = np.finfo(values.dtype.name)
    return float(resolved.eps)


def _spread(ranges: Values) -> float:
    some = ranges[np.isfinite(ranges) & (ranges > 0)]
    return float(some.max() / some.min()) if some.size else 1.0


def _runs(ranges: Values) -> Iterator[tuple[int, int]]:
    """Yield first and last of runs of neighbours whose ranges are of one scale."""
    first, low, high = 0, float(ranges[0]), float(ranges[0])
    for index, value in enumerate(map(float, ranges[1:]), start=1):
        if max(high, value) > SAME_SCALE * min(low, value):
            yield first, index - 1
            first, low, high = index, value, value
        low, high = min(low, value), max(high, value)
    yield first, len(ranges) - 1
