"""Run a file once in a process of its own and print the largest memory that it held, in bytes.

``python fresh.py MODEL HEIGHT WIDTH CHANNELS THREADS``; imports numpy and the file's runtime alone,
and the board's ``detector`` for what lays out an ncnn file's input.
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
    """Open the file, run it on zeros, print the peak."""
    path, (height, width, channels, threads) = sys.argv[1], map(int, sys.argv[2:6])
    if path.endswith(".onnx"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        entry = session.get_inputs()[0]
        image = np.zeros((1, channels, height, width), np.float32)
        if entry.type == "tensor(uint8)":
            image = np.zeros((1, height, width, channels), np.uint8)
        session.run(None, {entry.name: image})
    elif path.endswith(".param"):
        from detector.ncnn_file import NcnnRunner

        runner = NcnnRunner(Path(path), threads)
        runner.infer(runner.fed(np.zeros((1, channels, height, width), np.float32)))
    else:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(path, num_threads=threads)
        interpreter.allocate_tensors()
        details = interpreter.get_input_details()[0]
        image = np.zeros((1, height, width, channels), details["dtype"])
        interpreter.set_tensor(details["index"], image)
        interpreter.invoke()
    print(peak_bytes())


if __name__ == "__main__":
    main()
