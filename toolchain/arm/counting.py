"""What the counting plugin wrote, read: instructions of an inference, of opening, by operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.arm import guest
from toolchain.timings import Instructions, OperatorCount, StageCounts

MOSTLY = 0.9
"""Share of an inference that its operators must take, to be believed."""
ALIKE = 0.8
"""How well instructions and times of operators must go together, to be believed."""

Line = tuple[str, Instructions]


@dataclass(frozen=True)
class Counts:
    """Exact counts of one thread."""

    inference: Instructions
    """Of several, the fewest: they differ by where memory happens to lie."""
    opening: Instructions
    """Loading the runtime and opening the file."""
    operators: tuple[OperatorCount, ...]
    """In the order they ran; empty where they cannot be told."""


def read_counts(text: str, operators: Sequence[Mapping[str, Any]]) -> Counts:
    """Read the plugin's lines.

    ``operators`` are ``name``, ``type`` and ``microseconds``, in the order they ran.
    """
    lines = [_line(line) for line in text.splitlines()]
    (opening,) = _stretches(lines, guest.OPEN, guest.OPENED)
    inferences = _stretches(lines, guest.BEGIN, guest.END)
    fewest = min(inferences, key=lambda counted: counted.total)
    return Counts(fewest, opening, _operators(lines, operators, fewest.total))


def read_stages(text: str) -> StageCounts:
    """Read the plugin's lines of several runs of ``detect.py``'s three stages."""
    found = _stretches([_line(line) for line in text.splitlines()], guest.BEGIN, guest.END)
    totals = [counted.total for counted in found]
    return StageCounts(*(min(totals[stage::3]) for stage in range(3)))


def _line(text: str) -> Line:
    name, *counts = text.split()
    return name, Instructions(*map(int, counts))


def _stretches(lines: Sequence[Line], begin: int, end: int) -> list[Instructions]:
    return [
        _less(last, first)
        for (opened, first), (closed, last) in pairwise(lines)
        if (opened, closed) == (str(begin), str(end))
    ]


def _less(last: Instructions, first: Instructions) -> Instructions:
    return Instructions(
        last.multiply_add - first.multiply_add,
        last.memory - first.memory,
        last.branch - first.branch,
        last.other - first.other,
    )


def _operators(
    lines: Sequence[Line], operators: Sequence[Mapping[str, Any]], inference: int
) -> tuple[OperatorCount, ...]:
    """Give each operator what ran between its two readings of the clock.

    The session reads the clock a few times before the first operator and after the last, too: the
    pairs are those that go with the times that the profiler told. What the profiler does between
    the readings is the same for every operator, but for a few thousand: what all of them take over
    the whole inference, evenly.
    """
    clock = np.array([counted.total for name, counted in lines if name == "clock"], np.int64)
    spare = len(clock) - 2 * len(operators)
    if not operators or spare < 0:
        return ()
    times = np.array([operator["microseconds"] for operator in operators], np.float64)
    gaps = np.diff(clock)
    candidates = [gaps[start : start + 2 * len(operators) : 2] for start in range(spare + 1)]
    best = max(candidates, key=lambda spent: _alike(spent, times))
    if best.sum() < MOSTLY * inference or _alike(best, times) < ALIKE:
        return ()
    own = max(0, int(best.sum()) - inference) // len(operators)
    return tuple(
        OperatorCount(operator["name"], operator["type"], max(0, int(spent) - own))
        for operator, spent in zip(operators, best, strict=True)
    )


def _alike(counts: NDArray[np.int64], times: NDArray[np.float64]) -> float:
    """Return how well counts go with times: the cosine of the angle between them, from 0 to 1."""
    lengths = float(np.linalg.norm(counts) * np.linalg.norm(times))
    return float(counts @ times) / lengths if lengths else 0.0
