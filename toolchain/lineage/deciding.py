"""What outputs decide, and how many of these decisions a coarser file changes.

What an output means is told from its values: scores lie between 0 and 1 in every position, and a
row of numbers for each input names a class. Maps of unbounded numbers are not known to decide
anything here; they are judged by how far they are apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from toolchain.checking.parity import Outputs
from toolchain.records.parity import Decisions

Values = NDArray[np.floating]
SUMS_TO_ONE = 1e-2
"""How far a row of probabilities may be from adding up to 1, int8's rounding included."""


def decisions_between(
    names: Sequence[str], before: Sequence[Outputs], after: Sequence[Outputs], threshold: float
) -> tuple[Decisions, ...]:
    """Compare the decisions of both sides' outputs, one list for each input.

    ``names`` are those of the outputs. Of scores, all channels of an output together and the one
    that changes most, so that no frequent class hides a rare one.
    """
    found: list[Decisions] = []
    for index, name in enumerate(names):
        sides = [np.concatenate([np.asarray(each[index]) for each in side]) for side in _alike(
            index, before, after
        )]  # fmt: skip
        if sides[0].dtype.kind == "f" and sides[0].size:
            found += _of_output(name, sides[0], sides[1], len(before), threshold)
    return tuple(found)


def _alike(
    index: int, before: Sequence[Outputs], after: Sequence[Outputs]
) -> tuple[list[Outputs], list[Outputs]]:
    """Return the inputs on which an output can be put together with that of the first."""
    rest = before[0][index].shape[1:]
    chosen = [
        place
        for place, (left, right) in enumerate(zip(before, after, strict=True))
        if left[index].ndim and left[index].shape[1:] == rest == right[index].shape[1:]
    ]
    return [before[place] for place in chosen], [after[place] for place in chosen]


def _of_output(
    name: str, before: Values, after: Values, inputs: int, threshold: float
) -> Iterator[Decisions]:
    axis = _class_axis(before)
    if axis is not None:
        left, right = before.argmax(axis=axis), after.argmax(axis=axis)
        changed = int((left != right).sum())
        yield Decisions(name, None, "classes", None, inputs, int(left.size), changed)
        return
    found = _score_channels(before)
    if found is None:
        return
    axis, channels = found
    above = [
        np.moveaxis(side, axis, 0)[channels].reshape(len(channels), -1) >= threshold
        for side in (before, after)
    ]
    made = (above[0] | above[1]).sum(axis=1)
    changed_each = (above[0] ^ above[1]).sum(axis=1)
    yield Decisions(
        name, None, "scores", threshold, inputs, int(made.sum()), int(changed_each.sum())
    )
    if len(channels) > 1:
        worst = int(np.argmax(changed_each / np.maximum(made, 1)))
        yield Decisions(
            name,
            int(channels[worst]),
            "scores",
            threshold,
            inputs,
            int(made[worst]),
            int(changed_each[worst]),
        )


def _class_axis(values: Values) -> int | None:
    """Return the dimension whose largest entry is a class; None if the output names none."""
    if values.ndim == 2 and values.shape[1] > 1:
        bounded = values.min() >= 0 and values.max() <= 1
        return 1 if not bounded or _adds_up(values, 1) else None
    if values.ndim == 4 and values.shape[1] > 1 and _adds_up(values, 1):
        return 1
    return None


def _adds_up(values: Values, axis: int) -> bool:
    """Tell whether values are probabilities of one out of several."""
    within = values.min() >= 0 and values.max() <= 1 + SUMS_TO_ONE
    return bool(within and np.abs(values.sum(axis=axis) - 1).max() <= SUMS_TO_ONE)


def _score_channels(values: Values) -> tuple[int, NDArray[np.intp]] | None:
    """Return the dimension of the channels and those that are scores; None if there are none."""
    best: tuple[int, NDArray[np.intp]] | None = None
    for axis in {1, values.ndim - 1} if values.ndim > 1 else set():
        rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
        low, high = rows.min(axis=1), rows.max(axis=1)
        channels = np.flatnonzero((low >= 0) & (high <= 1) & (high > low))
        share = len(channels) / len(rows)
        if len(channels) and (best is None or share > len(best[1]) / values.shape[best[0]]):
            best = axis, channels
    return best
