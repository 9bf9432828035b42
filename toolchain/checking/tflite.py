"""Running a TFLite file as the parity check wants it: channels first in, every output out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from toolchain.checking.parity import Outputs, Runner
from toolchain.errors import ExportError, first_line
from toolchain.system.quiet import silent


def run_tflite(path: Path) -> Runner:
    """Return a function from an input (1, C, H, W) to all outputs, by ai-edge-litert, one thread.

    The file itself takes (1, H, W, C). Raises :class:`ExportError` if it cannot be opened.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        with silent():
            interpreter = Interpreter(str(path), num_threads=1)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = first_line(error)
        raise ExportError(f"{path.name}: cannot be opened by ai-edge-litert ({reason})") from error
    (entry,) = interpreter.get_input_details()
    exits = [item["index"] for item in interpreter.get_output_details()]

    def run(image: Tensor) -> Outputs:
        last = np.ascontiguousarray(image.permute(0, 2, 3, 1).numpy())
        interpreter.set_tensor(entry["index"], last)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in exits]

    return run
