"""A recommendation as a table of at most 80 columns, and what stands above and below it."""

from __future__ import annotations

from toolchain.records.recommendation import Candidate, Recommendation

HEAD = ("", "network", "easy", "med.", "hard", "mean", "file", "M instr.", "ms", "range", "kB",
        "param.")  # fmt: skip
LEFT = (0, 1, 6)
"""Columns of words; the others are numbers."""
CHOSEN, BEATEN, OTHER = "*", "-", ""
UNKNOWN = "?"


def heading(found: Recommendation) -> str:
    """Return what the table is of: the board, and the input where all have the same."""
    sizes = {each.size for each in found.candidates}
    shape = "{}x{}".format(*next(iter(sizes)))
    size = f"input {shape}" if len(sizes) == 1 else "inputs of several sizes"
    return f"{found.board} ({found.core}, {found.clock_hz / 1e9:g} GHz, one thread), {size}"


def rows(found: Recommendation) -> list[tuple[str, ...]]:
    """Return the cells of every candidate, a row each."""
    return [(_mark(each, found), *_cells(each)) for each in found.candidates]


def legend(found: Recommendation) -> list[str]:
    """Return what the marks say, as far as there are any."""
    told = []
    if found.chosen is not None:
        told.append(f"{CHOSEN} recommended: {found.rule}.")
    if any(each.beaten_by for each in found.candidates):
        told.append(f"{BEATEN} beaten: another is no slower and at every level as accurate.")
    return told


def _mark(candidate: Candidate, found: Recommendation) -> str:
    if candidate.name == found.chosen:
        return CHOSEN
    return BEATEN if candidate.beaten_by else OTHER


def _cells(candidate: Candidate) -> tuple[str, ...]:
    accuracy, cost = candidate.accuracy, candidate.cost
    found = (
        (UNKNOWN,) * 4
        if accuracy is None
        else tuple(map(share, (accuracy.easy, accuracy.medium, accuracy.hard, accuracy.mean)))
    )
    parameters = f"{candidate.parameters:,}"
    if cost is None:
        return (candidate.name, *found, *(UNKNOWN,) * 5, parameters)
    time = cost.milliseconds
    return (
        candidate.name,
        *found,
        _short(cost.file),
        UNKNOWN if cost.instructions is None else f"{cost.instructions / 1e6:,.1f}",
        milliseconds(time.mid),
        f"{milliseconds(time.low)}-{milliseconds(time.high)}",
        UNKNOWN if cost.size_bytes is None else f"{cost.size_bytes / 1e3:,.0f}",
        parameters,
    )


def _short(file: str) -> str:
    """Return a file's kind: ``ncnn`` of ``model_ncnn``, ``tflite`` of ``model.tflite``."""
    return file.removeprefix("model").lstrip("_.") or file


def share(value: float) -> str:
    """Return a share from 0 to 1 with three digits and no nought before the point: ``.874``."""
    return f"{value:.3f}".removeprefix("0")


def milliseconds(value: float) -> str:
    """Return milliseconds with two digits at least: ``6.3``, ``257``."""
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"
