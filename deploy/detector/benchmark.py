"""How long a picture takes on this machine."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .arrays import Image
from .detecting import Detection
from .opening import demand_arrays
from .sources import Source, frames, read_arrays
from .telling import emit

if TYPE_CHECKING:
    from .opening import Worker
    from .tasks.running import Measured


def benchmark(detector: Worker, image: Image, runs: int) -> dict[str, dict[str, float]]:
    """Time ``runs`` looks at a picture after five to warm up; per stage the quantiles in ms."""
    return _quantiles(lambda: detector.measure(image), runs)


def _quantiles(
    measure: Callable[[], Detection | Measured], runs: int
) -> dict[str, dict[str, float]]:
    found = [measure() for _ in range(5 + runs)][5:]
    stages = {
        "preprocessing": [each.preprocessing_ms for each in found],
        "inference": [each.inference_ms for each in found],
        "postprocessing": [each.postprocessing_ms for each in found],
    }
    stages["total"] = [sum(times) for times in zip(*stages.values(), strict=True)]
    quantiles = {"median": 50, "p10": 10, "p90": 90, "p99": 99}
    return {
        stage: {name: float(np.percentile(times, q)) for name, q in quantiles.items()}
        for stage, times in stages.items()
    }


def run_benchmark(detector: Worker, source: Source, options: argparse.Namespace) -> None:
    """Print how long the first input of ``source`` takes, without reading it from the disk."""
    runs, threads = options.benchmark, options.threads
    if source.is_arrays:
        runner, arrays = demand_arrays(detector, source), read_arrays(source.name)
        stages = _quantiles(lambda: runner.measure_arrays(arrays), runs)
    else:
        stages = benchmark(detector, next(frames(source, 1)).image, runs)
    if options.json:
        size = {"height": detector.height, "width": detector.width}
        facts = {"image": source.name, "runs": runs, "threads": threads, **size, "ms": stages}
        emit(json.dumps(facts))
        return
    size_text = f"{detector.height}x{detector.width}, {threads or 'all'} threads"
    emit(f"{options.model} at {size_text}, {runs} runs on {source.name}, in ms")
    emit(f"{'':16}" + "".join(f"{name:>10}" for name in stages["total"]))
    for stage, values in stages.items():
        emit(f"{stage:16}" + "".join(f"{value:10.2f}" for value in values.values()))
