"""Runs on the emulated board, beside ``guest.py``: the operators of many files, in one process.

``python operators.py FACTS.json MODEL...``: runs each ONNX file under the runtime's profiler, and
the first one without it too, between the marks that the counting plugin looks for.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

import guest
import numpy as np

COUNTED = 2
"""Runs of each file under the profiler, of which the fewest count; see ``guest.COUNTED``."""


def main() -> None:
    """Do all of it and write what ran."""
    facts, *models = sys.argv[1:]
    gc.disable()
    file = guest.opened(models[0])
    image = image_of(models[0])
    for _ in range(guest.COUNTED):
        guest.mark(guest.BEGIN)
        file.run(image)
        guest.mark(guest.END)
    found = [guest.profiled(model, image, facts, COUNTED) for model in models]
    content: dict[str, Any] = {"runtime": file.version, "operators": found}
    Path(facts).write_text(json.dumps(content), encoding="utf-8")


def image_of(model: str) -> Any:
    """Return an input: what a file costs does not depend on its values."""
    entry = guest.onnx_session(model, 1).get_inputs()[0]
    return np.random.default_rng(0).standard_normal(entry.shape).astype(np.float32)


if __name__ == "__main__":
    main()
