"""Runs here or on a real board, beside ``guest.py``: two files timed in turn, block by block.

``python pairing.py BEFORE AFTER INPUTS.npz RATIOS.json BLOCKS SEED THREADS SECONDS``: in each block
both files are opened afresh, in random order, for where memory lies makes one faster than its twin,
and run in turn, in random order again. A block's ratio is that of the medians, after over before.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import guest
import numpy as np

WARM_UP, LEAST_RUNS, BLOCK_SECONDS = 2, 5, 0.25


def block(paths: tuple[str, str], image: object, dice: random.Random, threads: int) -> float:
    """Return how much longer the second file takes."""
    runs: dict[int, Callable[[object], object]] = {}
    given: dict[int, object] = {}
    for side in dice.sample((0, 1), 2):
        file = guest.opened(paths[side], threads)
        runs[side], given[side] = file.run, file.laid_out(image, paths[side])
        for _ in range(WARM_UP):
            runs[side](given[side])
    times: tuple[list[float], list[float]] = ([], [])
    started = time.perf_counter()
    while len(times[0]) < LEAST_RUNS or time.perf_counter() - started < BLOCK_SECONDS:
        for side in dice.sample((0, 1), 2):
            start = time.perf_counter()
            runs[side](given[side])
            times[side].append(time.perf_counter() - start)
    return statistics.median(times[1]) / max(statistics.median(times[0]), 1e-9)


def main() -> None:
    """Do all of it and write the ratios."""
    before, after, inputs, ratios = sys.argv[1:5]
    blocks, seed, threads = map(int, sys.argv[5:8])
    end = time.perf_counter() + float(sys.argv[8])
    with np.load(inputs) as stored:
        image = next(iter(guest.stored_inputs(stored).values()))
    dice = random.Random(seed)
    found: list[float] = []
    while len(found) < blocks and (not found or time.perf_counter() < end):
        found.append(block((before, after), image, dice, threads))
    Path(ratios).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
