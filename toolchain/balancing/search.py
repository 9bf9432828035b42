"""Which shifts of the levels' scores find most, by average precision on photos with known faces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolchain.balancing.suppressing import Overlapping
from toolchain.deploy.detector.decoding import logit
from toolchain.scoring.average_precision import score

STEPS = (0.4, 0.2, 0.1)
"""By which the log-odds of a level are moved, first far and then near."""
LEAST = 2e-4
"""What a move must gain; less is chance."""

Shifts = tuple[float, ...]
"""What is added to the log-odds of each level, fine to coarse."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Photos, what a detector sees there at one size, and the faces that are there."""

    size: str
    """In words, or empty where there is one size only."""
    seen: Sequence[Overlapping]
    boxes: Sequence[NDArray[np.float64]]
    """Per photo (G, 4): left, top, width, height in pixels."""
    counted: Mapping[str, Sequence[NDArray[np.bool_]]]
    """Per kind of faces and photo (G,): which count."""

    def some(self, photos: slice) -> Labelled:
        """Return those of some photos."""
        counted = {name: masks[photos] for name, masks in self.counted.items()}
        return Labelled(self.size, self.seen[photos], self.boxes[photos], counted)


class Precision:
    """Tells what shifts find; what was asked before is remembered."""

    def __init__(self, labelled: Sequence[Labelled], counts: Mapping[str, float]) -> None:
        """``counts`` tells how much a kind counts in the mean; 1 where it is not named."""
        self._labelled = labelled
        self._counts = counts
        self._known: dict[Shifts, dict[str, float]] = {}

    def of(self, shifts: Shifts) -> dict[str, float]:
        """Return average precision by kind of faces, and size, from 0 to 1."""
        if shifts not in self._known:
            every = (_measured(each, shifts) for each in self._labelled)
            self._known[shifts] = dict(pair for measured in every for pair in measured.items())
        return self._known[shifts]

    def mean(self, shifts: Shifts) -> float:
        """Return the mean over the kinds of faces, as they count, and over sizes."""
        return weighed(self.of(shifts), self._counts)


def weighed(precisions: Mapping[str, float], counts: Mapping[str, float]) -> float:
    """Return the mean of average precisions by kind, and size, as the kinds count."""
    weights = [counts.get(name.split()[0], 1.0) for name in precisions]
    return float(np.average(list(precisions.values()), weights=weights))


def _measured(labelled: Labelled, shifts: Shifts) -> dict[str, float]:
    found = [photo.faces(shifts) for photo in labelled.seen]
    curves = score(found, labelled.boxes, labelled.counted)
    return {
        f"{curve.level} {labelled.size}".strip(): curve.ap
        for curve in curves
        if curve.ap is not None
    }


def best_shifts(precision: Precision, levels: int, on_look: Callable[[float], None]) -> Shifts:
    """Move one level at a time, as long as the mean grows; return where that ends.

    ``on_look`` is called with the best mean so far, whenever shifts were looked at.
    """
    best = (0.0,) * levels
    for step in STEPS:
        before = None
        while before != best:
            before = best
            for level in range(levels):
                best = _best_of_level(precision, best, level, step, on_look)
    return best


def _best_of_level(
    precision: Precision,
    best: Shifts,
    level: int,
    step: float,
    on_look: Callable[[float], None],
) -> Shifts:
    """Move a level up, else down, if either finds more."""
    reached = precision.mean(best)
    for by in (step, -step):
        asked = _moved(best, level, by)
        found = precision.mean(asked)
        on_look(max(reached, found))
        if found >= reached + LEAST:
            return asked
    return best


def as_shown(labelled: Sequence[Labelled], shifts: Shifts, threshold: float) -> tuple[Shifts, int]:
    """Return shifts, all of them higher or lower by the same, by which as many faces pass a score
    of ``threshold`` as without any; and how many these are.

    Average precision is of the order of scores, which that leaves; a board's threshold is not.
    """
    bar, nothing = logit(threshold), (0.0,) * len(shifts)
    photos = [photo for each in labelled for photo in each.seen]
    before = np.concatenate([photo.best_cells(nothing) for photo in photos])
    after = np.concatenate([photo.best_cells(shifts) for photo in photos])
    count = int((before >= bar).sum())
    if not 0 < count < len(after):
        return shifts, count
    spare = bar - float(np.sort(after)[::-1][count - 1 : count + 1].mean())
    return tuple(round(shift + spare, 3) for shift in shifts), count


def _moved(shifts: Shifts, level: int, by: float) -> Shifts:
    moved = list(shifts)
    moved[level] = round(moved[level] + by, 6)
    return tuple(moved)
