"""Runs on a real board, beside ``guest.py``, with numpy and the file's runtime alone.

``python timing.py MODEL INPUTS.npz OUTPUTS.npz FACTS.json RUNS THREADS``: runs every input, then
times RUNS inferences of the first one on fixed cores, and notes what the board did meanwhile.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import guest
import numpy as np

WARM_UP = 5


def first_line(path: str) -> str | None:
    """Return the first line of a file of the system; None if it is not there."""
    try:
        return Path(path).read_text(errors="replace").split("\n")[0].strip("\0 ")
    except OSError:
        return None


def state() -> dict[str, Any]:
    """Return temperature, governor, clock and throttling now; None for what the board hides."""
    heat = first_line("/sys/class/thermal/thermal_zone0/temp")
    clock = first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
    throttled = None
    if shutil.which("vcgencmd"):
        done = subprocess.run(["vcgencmd", "get_throttled"], capture_output=True, text=True)
        throttled = done.stdout.strip().partition("=")[2] or None
    return {
        "celsius": int(heat) / 1000 if heat and heat.isdigit() else None,
        "governor": first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "clock_hz": 1000 * int(clock) if clock and clock.isdigit() else None,
        "throttled": throttled,
    }


def main() -> None:
    """Do all of it and write what was found."""
    model, inputs, outputs, facts = sys.argv[1:5]
    runs, threads = map(int, sys.argv[5:7])
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, allowed[-threads:])
    file = guest.opened(model, threads)
    with np.load(inputs) as images:
        pictures = guest.stored_inputs(images)
        given = {name: file.laid_out(each, model) for name, each in pictures.items()}
    found = {
        f"{name}/{index:03}": output
        for name, image in given.items()
        for index, output in enumerate(file.outputs(image))
    }
    first = next(iter(given.values()))
    for _ in range(WARM_UP):
        file.run(first)
    before, times = state(), []
    for _ in range(runs):
        start = time.perf_counter()
        file.run(first)
        times.append(time.perf_counter() - start)
    np.savez(outputs, **found)
    content = {
        "runtime": file.version,
        "milliseconds": [1e3 * spent for spent in times],
        "before": before,
        "after": state(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "board": first_line("/proc/device-tree/model"),
        "cores": len(allowed),
    }
    Path(facts).write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    main()
