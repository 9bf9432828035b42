"""A recommendation as a table of at most 80 columns, and what stands above and below it."""

from __future__ import annotations

from toolchain.records.recommendation import Candidate, Recommendation

HEAD = ("", "network", "easy", "med.", "hard", "mean", "file", "M instr.", "ms", "range")
SIZES = ("kB", "param.")
SHARES = ("unpruned", "plain")
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


def head(*, shares: bool = False) -> tuple[str, ...]:
    """Return the columns' names; with ``shares`` these stand in place of bytes and parameters."""
    return HEAD + (SHARES if shares else SIZES)


def rows(found: Recommendation, *, shares: bool = False) -> list[tuple[str, ...]]:
    """Return the cells of every candidate, a row each, as :func:`head` names them."""
    last = _shares if shares else _sizes
    return [(_mark(each, found), *_cells(each), *last(each)) for each in found.candidates]


def legend(found: Recommendation, *, shares: bool = False) -> list[str]:
    """Return what the marks say, as far as there are any, and the shares, if they are shown."""
    told = []
    chosen = next((each for each in found.candidates if each.name == found.chosen), None)
    if chosen is not None:
        high, most = chosen.cost.milliseconds.high if chosen.cost else 0.0, found.wish.max_ms
        above = f"; its range goes to {milliseconds(high)} ms" if most and high > most else ""
        told.append(f"{CHOSEN} recommended: {found.rule}{above}.")
    if any(each.beaten_by for each in found.candidates):
        told.append(f"{BEATEN} beaten: another is no slower and at every level as accurate.")
    if shares:
        told.append(
            "unpruned, plain: instructions as a share of the unpruned network's in the same "
            "runtime, and of its plain export's (no rewrite, in onnxruntime, counted)."
        )
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
    if cost is None:
        return (candidate.name, *found, *(UNKNOWN,) * 4)
    time = cost.milliseconds
    return (
        candidate.name,
        *found,
        _short(cost.file),
        UNKNOWN if cost.instructions is None else f"{cost.instructions / 1e6:,.1f}",
        milliseconds(time.mid),
        f"{milliseconds(time.low)}-{milliseconds(time.high)}",
    )


def _sizes(candidate: Candidate) -> tuple[str, ...]:
    size = candidate.cost.size_bytes if candidate.cost else None
    return UNKNOWN if size is None else f"{size / 1e3:,.0f}", f"{candidate.parameters:,}"


def _shares(candidate: Candidate) -> tuple[str, ...]:
    cost = candidate.cost
    found = (None, None) if cost is None else (cost.of_unpruned, cost.of_plain)
    return tuple(UNKNOWN if each is None else share(each) for each in found)


def _short(file: str) -> str:
    """Return a file's kind: ``ncnn`` of ``model_ncnn``, ``tflite`` of ``model.tflite``."""
    return file.removeprefix("model").lstrip("_.") or file


def share(value: float) -> str:
    """Return a share from 0 to 1 with three digits and no nought before the point: ``.874``."""
    return f"{value:.3f}".removeprefix("0")


def milliseconds(value: float) -> str:
    """Return milliseconds with two digits at least: ``6.3``, ``257``."""
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"
