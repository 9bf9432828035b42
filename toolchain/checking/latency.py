"""A quick, honest comparison of two ONNX files on this machine: interleaved, as a ratio."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from toolchain.records.stages import Latency
from toolchain.system.sessions import open_session


def compare_latency(
    before: Path, after: Path, example: Sequence[NDArray[Any]], *, seconds: float = 3.0
) -> Latency:
    """Run both files in turn for about ``seconds`` and return the ratio after / before.

    The inputs are random, of the shapes of ``example``, such as (1, C, H, W); whole numbers are
    taken as they are.

    One thread. Each round runs both, in alternating order, so that a machine that slows down
    slows both; the ratio's median and quartiles are over rounds.
    """
    random = np.random.default_rng(0)
    fed = [
        random.normal(0, 64, each.shape).astype(each.dtype) if each.dtype.kind == "f" else each
        for each in example
    ]
    runs = [_runner(before, fed), _runner(after, fed)]
    for run in runs:
        run()
    times: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while len(times) < 4 or (time.perf_counter() < end and len(times) < 200):
        order = (0, 1) if len(times) % 2 == 0 else (1, 0)
        spent = [0.0, 0.0]
        for side in order:
            spent[side] = runs[side]()
        times.append((spent[0], spent[1]))
    height, width = (1, 1, *example[0].shape)[-2:]
    ratios = [b / a for a, b in times]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return Latency(
        ratio=middle,
        ratio_low=low,
        ratio_high=high,
        before_ms=statistics.median(a for a, _ in times) * 1e3,
        after_ms=statistics.median(b for _, b in times) * 1e3,
        rounds=len(times),
        threads=1,
        size=(height, width),
        runtime=f"onnxruntime {onnxruntime.__version__}",
        machine=f"{platform.system()} {platform.machine()}",
    )


def _runner(path: Path, fed: Sequence[NDArray[Any]]) -> Callable[[], float]:
    session = open_session(path)
    named = {each.name: array for each, array in zip(session.get_inputs(), fed, strict=True)}

    def run() -> float:
        start = time.perf_counter()
        session.run(None, named)
        return time.perf_counter() - start

    return run
