"""Wall-clock, where somebody wants it: is the candidate slower than the baseline's model?

Both files are timed in turn (``toolchain/arm/pairing.py``). The ratios of the blocks are tested by
Wilcoxon's signed ranks: if the candidate is just as slow as the limit allows, the logarithm of a
block's ratio over that of the limit is as likely below zero as above. It is looked at a few times,
with an error that is shared among the looks, and ended when it is decided or when time is up; what
is not surely slower is let through, and said.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from toolchain.arm.board import (
    LIMIT_SECONDS,
    SCRIPTS,
    environment,
    packed_inputs,
    python_there,
    sent_as,
)
from toolchain.arm.comparing import subject_of
from toolchain.arm.remote import Board
from toolchain.bench.feeds import NOTHING, Told
from toolchain.deploy import packing
from toolchain.errors import InputError, last_line

LOOKS = (12, 24, 48, 96)
"""Blocks after which it is looked at."""
ERROR = 0.005
"""Chance that an equal model is called slower, over all looks."""
FLIPS = 20_000
MOST_STRANGE = 0.2
"""Share of blocks with ratios that are none, or absurd, above which nothing is said."""
ABSURD = 20.0

Outcome = Literal["slower", "not slower", "not decided"]
MoreBlocks = Callable[[int, float], Sequence[float]]
"""Number of blocks and seconds to spend at most in, ratios out."""


@dataclass(frozen=True)
class Timing:
    """What the blocks say."""

    ratio: float
    """Median over blocks: after over before."""
    low: float
    high: float
    """Between them lie 95 of 100 medians of blocks drawn again."""
    blocks: int
    seconds: float
    outcome: Outcome
    where: str
    """What measured it."""


def decide(more: MoreBlocks, limit: float, seconds: float, where: str, seed: int = 0) -> Timing:
    """Ask for blocks until it is decided whether the ratio is above ``1 + limit``.

    Raises :class:`InputError` if too many blocks give no ratio: a clock that jumps.
    """
    started, asked = time.monotonic(), 0
    ratios: list[float] = []
    outcome: Outcome = "not decided"
    for look in LOOKS:
        left = seconds - (time.monotonic() - started)
        if left <= 0:
            break
        ratios += list(more(look - asked, left))
        asked = look
        sane = _sane(ratios)
        above = np.log(sane) - math.log1p(limit)
        if chance(above, seed) <= ERROR / len(LOOKS):
            outcome = "slower"
        elif chance(-above, seed) <= ERROR / len(LOOKS):
            outcome = "not slower"
        if outcome != "not decided":
            break
    sane = _sane(ratios)
    low, high = spread(sane, seed)
    spent = time.monotonic() - started
    return Timing(float(np.median(sane)), low, high, len(sane), spent, outcome, where)


def _sane(ratios: Sequence[float]) -> NDArray[np.float64]:
    found = np.array(ratios, np.float64)
    sane = found[np.isfinite(found) & (found > 1 / ABSURD) & (found < ABSURD)]
    if len(sane) < (1 - MOST_STRANGE) * len(found) or not len(sane):
        raise InputError(
            f"times cannot be compared: {len(found) - len(sane)} of {len(found)} blocks gave no "
            f"sensible ratio; does the clock jump?"
        )
    return sane


def chance(values: NDArray[np.float64], seed: int) -> float:
    """Return how likely signed ranks as high are if every value could have the other sign.

    By ranks, a block in which the machine was busy elsewhere counts as any other.
    """
    ranks = np.argsort(np.argsort(np.abs(values))) + 1.0
    found = ranks @ np.sign(values)
    signs = np.random.default_rng(seed).integers(0, 2, (FLIPS, len(values))) * 2 - 1
    return float((1 + np.count_nonzero(signs @ ranks >= found)) / (1 + FLIPS))


def spread(ratios: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """Return the bounds of 95 of 100 medians of as many blocks drawn with replacement."""
    drawn = np.random.default_rng(seed).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return float(low), float(high)


def blocks_here(before: Path, after: Path, threads: int, told: Told = NOTHING) -> MoreBlocks:
    """Return what times two files on this machine, each batch of blocks in a fresh process."""
    packed = packed_inputs(subject_of(before, None, (), told).inputs)
    seeds = itertools.count()

    def more(blocks: int, seconds: float) -> Sequence[float]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "in.npz").write_bytes(packed)
            words = [before.absolute(), after.absolute(), folder / "in.npz", folder / "out.json"]
            numbers = [blocks, next(seeds), threads, seconds]
            done = subprocess.run(
                [sys.executable, str(SCRIPTS / "pairing.py"), *map(str, words), *map(str, numbers)],
                env={**os.environ, "PYTHONPATH": str(packing.PACKAGE.parent)},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                said = last_line(done.stderr)
                raise InputError(f"{before.name} and {after.name} cannot be timed ({said[:300]})")
            found: list[float] = json.loads((folder / "out.json").read_text())
            return found

    return more


@contextlib.contextmanager
def blocks_there(
    board: Board, before: Path, after: Path, threads: int, told: Told = NOTHING
) -> Iterator[MoreBlocks]:
    """Give what times two files on a real board."""
    packed = packed_inputs(subject_of(before, None, (), told).inputs)
    python, seeds = environment(board, before.suffix), itertools.count()
    first, second = sent_as("before", before), sent_as("after", after)
    names = [first[0], second[0], "in.npz", "out.json"]
    with board.folder() as place:
        scripts = {name: (SCRIPTS / name).read_bytes() for name in ("guest.py", "pairing.py")}
        program = {packing.NAME: packing.program()} if before.suffix == ".param" else {}
        board.send(place, scripts | program | first[1] | second[1] | {"in.npz": packed})

        def more(blocks: int, seconds: float) -> Sequence[float]:
            board.run(["rm", "-f", f"{place}/code", f"{place}/out.json"])
            numbers = map(str, [blocks, next(seeds), threads, seconds])
            board.job(
                place,
                [*python_there(python), "pairing.py", *names, *numbers],
                seconds + LIMIT_SECONDS,
            )
            found: list[float] = json.loads(board.fetch(place, ["out.json"])["out.json"])
            return found

        yield more
