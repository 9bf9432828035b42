"""What the counting plugin wrote, read: instructions of an inference, of opening, by operator."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.arm import guest
from toolchain.records.timings import Instructions, OperatorCount, StageCounts

MOSTLY = 0.9
"""Share of an inference that its operators must take, to be believed."""
ALIKE = 0.8
"""How well instructions and times of operators must go together, to be believed."""
HANDS_ON = ("Split", "Noop")
"""Layers of ncnn's that compute nothing."""

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


def read_counts(
    text: str,
    operators: Sequence[Mapping[str, Any]],
    layers: Sequence[Mapping[str, str]] = (),
) -> Counts:
    """Read the plugin's lines.

    ``operators`` are ``name``, ``type`` and ``microseconds``, in the order they ran; ``layers``
    those of ncnn, asked for one by one.
    """
    lines = [_line(line) for line in text.splitlines()]
    (opening,) = _stretches(lines, guest.OPEN, guest.OPENED)
    inferences = _stretches(lines, guest.BEGIN, guest.END)
    fewest = min(inferences, key=lambda counted: counted.total)
    found = _layers(lines, layers) if layers else _operators(lines, operators, fewest.total)
    return Counts(fewest, opening, found)


@dataclass(frozen=True)
class Ran:
    """What one file ran, of several in one process."""

    operators: tuple[OperatorCount, ...]
    shapes: tuple[tuple[int, tuple[tuple[int, ...], ...]], ...]
    """Of each operator: how many inputs it has, and the shapes of its outputs."""


def read_operators(text: str, files: Sequence[Sequence[Sequence[Mapping[str, Any]]]]) -> list[Ran]:
    """Read the plugin's lines of several files, of which the first ran without the profiler too.

    ``files`` are the operators of every run, as :func:`read_counts` takes them, with ``inputs`` and
    ``outputs``; of several runs the fewest stand. What the profiler takes for an operator is told
    by the first file, and is the same in all. Raises :class:`ValueError` where operators cannot be
    told.
    """
    lines = [_line(line) for line in text.splitlines()]
    inference = min(counted.total for counted in _stretches(lines, guest.BEGIN, guest.END))
    flat = [run for runs in files for run in runs]
    spent = iter(_paired(_clocks(lines), flat, inference))
    fewest = [_fewest([next(spent) for _ in runs]) for runs in files]
    own = max(0, int(fewest[0].sum()) - inference) // len(fewest[0])
    return [
        Ran(_counts(runs[0], taken, own), tuple(_shape(each) for each in runs[0]))
        for runs, taken in zip(files, fewest, strict=True)
    ]


def read_layers(text: str, layers: int, files: int) -> tuple[list[int], list[int]]:
    """Read the plugin's lines of so many layers alone, and of so many whole files after them.

    A layer takes what asking for it takes the first time and not the second.
    """
    lines = [_line(line) for line in text.splitlines()]
    asked = _least(_stretches(lines, guest.ASK, guest.ASKED), layers)
    again = _least(_stretches(lines, guest.ASKED, guest.AGAIN), layers)
    found = [first - second for first, second in zip(asked, again, strict=True)]
    return found, _least(_stretches(lines, guest.BEGIN, guest.END), files)


def _least(found: Sequence[Instructions], count: int) -> list[int]:
    """Return the fewest of each of ``count``, which ran equally often, one after the other."""
    runs = len(found) // count if count else 0
    return [
        min(each.total for each in found[index * runs : (index + 1) * runs])
        for index in range(count)
    ]


def _paired(
    clocks: Sequence[NDArray[np.int64]],
    runs: Sequence[Sequence[Mapping[str, Any]]],
    inference: int,
) -> list[NDArray[np.int64]]:
    """Return what ran between the two readings of each operator, for every run.

    The session reads the clock a few times before the first operator and after the last, too. How
    many come before is the same in all runs: of the numbers by which operators take most of the
    first run, which takes ``inference`` without the profiler, the one that goes best with the times
    of all, so that one that the machine held up does no harm. Raises :class:`ValueError` where none
    does.
    """
    spare = [len(clock) - 2 * len(run) for clock, run in zip(clocks, runs, strict=False)]
    if len(clocks) != len(runs) or min(spare) < 0:
        raise ValueError("operators cannot be told apart")
    pairs = [
        _candidates(clock, len(run), min(spare)) for clock, run in zip(clocks, runs, strict=True)
    ]
    alike = np.array(
        [
            [_alike(each, _times(run)) for each in found]
            for found, run in zip(pairs, runs, strict=True)
        ]
    )
    mostly = pairs[0].sum(axis=1) >= MOSTLY * inference
    start = int(np.where(mostly, alike.sum(axis=0), -1.0).argmax())
    if not mostly[start] or alike[:, start].max() < ALIKE:
        raise ValueError("operators cannot be told apart")
    return [found[start] for found in pairs]


def _candidates(clock: NDArray[np.int64], operators: int, spare: int) -> NDArray[np.int64]:
    """Return (spare + 1, operators): what each took if so many readings came before the first."""
    gaps = np.diff(clock)
    return np.stack([gaps[start : start + 2 * operators : 2] for start in range(spare + 1)])


def _times(operators: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    return np.array([operator["microseconds"] for operator in operators], np.float64)


def _fewest(runs: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    fewest: NDArray[np.int64] = np.min(np.stack(runs), axis=0)
    return fewest


def _shape(operator: Mapping[str, Any]) -> tuple[int, tuple[tuple[int, ...], ...]]:
    return len(operator["inputs"]), tuple(tuple(shape) for shape in operator["outputs"])


def _clocks(lines: Sequence[Line]) -> list[NDArray[np.int64]]:
    """Return the readings of the clock between each two marks of the profiler."""
    found: list[list[int]] = []
    for name, counted in lines:
        if name == str(guest.PROFILE):
            found.append([])
        elif name == "clock" and found:
            found[-1].append(counted.total)
    return [np.array(each, np.int64) for each in found]


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
    """Give each operator what ran between its two readings of the clock; none if it can't be told.

    What the profiler does between the readings is the same for every operator, but for a few
    thousand: what all of them take over the whole inference, evenly.
    """
    clock = np.array([counted.total for name, counted in lines if name == "clock"], np.int64)
    if not operators:
        return ()
    try:
        (spent,) = _paired([clock], [operators], inference)
    except ValueError:
        return ()
    return _counts(operators, spent, max(0, int(spent.sum()) - inference) // len(operators))


def _counts(
    operators: Sequence[Mapping[str, Any]], spent: NDArray[np.int64], own: int
) -> tuple[OperatorCount, ...]:
    return tuple(
        OperatorCount(operator["name"], operator["type"], max(0, int(each) - own))
        for operator, each in zip(operators, spent, strict=True)
    )


def _layers(
    lines: Sequence[Line], layers: Sequence[Mapping[str, str]]
) -> tuple[OperatorCount, ...]:
    """Give each layer what it took to be computed, less what it took to be read once more.

    To compute takes some calls in any case: what layers take that only hand on what they are given.
    """
    marks = [line for line in lines if line[0] != "clock"]
    first = _stretches(marks, guest.ASK, guest.ASKED)
    again = _stretches(marks, guest.ASKED, guest.AGAIN)
    spent = [one.total - other.total for one, other in zip(first, again, strict=True)]
    pairs = list(zip(layers, spent, strict=True))
    idle = [each for layer, each in pairs if layer["type"] in HANDS_ON]
    own = int(statistics.median(idle)) if idle else 0
    return tuple(
        OperatorCount(layer["name"], layer["type"], max(0, each - own)) for layer, each in pairs
    )


def _alike(counts: NDArray[np.int64], times: NDArray[np.float64]) -> float:
    """Return how well counts go with times: the cosine of the angle between them, from 0 to 1."""
    lengths = float(np.linalg.norm(counts) * np.linalg.norm(times))
    return float(counts @ times) / lengths if lengths else 0.0
