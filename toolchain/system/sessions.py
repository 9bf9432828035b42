"""ONNX files, opened by onnxruntime."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

FATAL = 4
"""Of onnxruntime's log: what goes wrong is raised, and told once."""


def open_session(
    model: Path | bytes, threads: int = 1, profile: Path | None = None
) -> onnxruntime.InferenceSession:
    """Open an ONNX file for the CPU with a fixed number of threads.

    ``profile`` is how the path of the profiler's file shall begin, if it is to write one. What
    onnxruntime raises passes through; its errors share no root but Exception.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = FATAL
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, ["CPUExecutionProvider"])
