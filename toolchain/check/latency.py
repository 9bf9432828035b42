"""A quick, honest comparison of two ONNX files on this machine: interleaved, as a ratio."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from toolchain.check.parity import open_session
from toolchain.records import Latency


def compare_latency(
    before: Path, after: Path, example: NDArray[np.float32], *, seconds: float = 3.0
) -> Latency:
    """Run both files in turn for about ``seconds`` and return the ratio after / before.

    The input is random, of the shape of ``example`` (1, C, H, W).

    One thread. Each round runs both, in alternating order, so that a machine that slows down
    slows both; the ratio's median and quartiles are over rounds.
    """
    image = np.random.default_rng(0).normal(0, 64, example.shape).astype(np.float32)
    runs = [_runner(before, image), _runner(after, image)]
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
        size=(example.shape[2], example.shape[3]),
        runtime=f"onnxruntime {onnxruntime.__version__}",
        machine=f"{platform.system()} {platform.machine()}",
    )


def _runner(path: Path, image: NDArray[np.float32]) -> Callable[[], float]:
    session = open_session(path)
    name = session.get_inputs()[0].name

    def run() -> float:
        start = time.perf_counter()
        session.run(None, {name: image})
        return time.perf_counter() - start

    return run
