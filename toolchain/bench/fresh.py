"""Run a file once in a process of its own and print the largest memory that it held, in bytes.

``python fresh.py MODEL INPUTS.npz THREADS``; the inputs are as the file takes them, an ncnn file's
(1, C, H, W). Imports numpy and the file's runtime alone, and the board's ``detector`` for what lays
out an ncnn file's input.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def peak_bytes() -> int:
    """Return this process's high-water mark; ``getrusage`` would count the parent's too."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise OSError("/proc/self/status has no VmHWM")


def main() -> None:
    """Open the file, run it, print the peak."""
    path, inputs, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with np.load(inputs) as stored:
        arrays = [stored[name] for name in stored.files]
    if path.endswith(".onnx"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        names = [each.name for each in session.get_inputs()]
        session.run(None, dict(zip(names, arrays, strict=True)))
    elif path.endswith(".param"):
        from detector.ncnn_file import NcnnRunner

        runner = NcnnRunner(Path(path), threads)
        runner.infer(runner.fed(arrays[0]))
    else:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(path, num_threads=threads)
        interpreter.allocate_tensors()
        for details, array in zip(interpreter.get_input_details(), arrays, strict=True):
            interpreter.set_tensor(details["index"], array)
        interpreter.invoke()
    print(peak_bytes())


if __name__ == "__main__":
    main()
