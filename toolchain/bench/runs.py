"""What is timed: one inference of a file, with nothing around it."""

from __future__ import annotations

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from toolchain.errors import InputError
from toolchain.export.extra import quiet
from toolchain.timings import OperatorCost

Floats = NDArray[np.float32]
PROFILED_RUNS = 10


def open_run(path: Path, image: Floats, threads: int) -> Callable[[], object]:
    """Return a function that runs the file on ``image`` (1, C, H, W) and reads all outputs."""
    return (_onnx if path.suffix == ".onnx" else _tflite)(path, image, threads)


def runtime_of(path: Path) -> str:
    """Return the runtime's name and version."""
    package = "onnxruntime" if path.suffix == ".onnx" else "ai-edge-litert"
    return f"{package} {metadata.version(package)}"


def _session(path: Path, threads: int, profile: Path | None = None) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    try:
        return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no root but Exception
        reason = (str(error).strip().splitlines() or ["unknown"])[0]
        raise InputError(f"{path.name}: onnxruntime cannot open it ({reason})") from error


def _onnx(path: Path, image: Floats, threads: int) -> Callable[[], object]:
    session = _session(path, threads)
    feed = {session.get_inputs()[0].name: image}
    return lambda: session.run(None, feed)


def _interpreter(path: Path, threads: int) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise InputError(f"{path.name} needs ai-edge-litert; run make setup") from error
    try:
        with quiet():
            interpreter = Interpreter(str(path), num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or ["unknown"])[0]
        raise InputError(f"{path.name}: ai-edge-litert cannot open it ({reason})") from error
    return interpreter


def _tflite(path: Path, image: Floats, threads: int) -> Callable[[], object]:
    interpreter = _interpreter(path, threads)
    entry = interpreter.get_input_details()[0]["index"]
    exits = [item["index"] for item in interpreter.get_output_details()]
    last = np.ascontiguousarray(image.transpose(0, 2, 3, 1))

    def run() -> object:
        interpreter.set_tensor(entry, last)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in exits]

    return run


def shape_of(path: Path) -> tuple[int, int, int]:
    """Return channels, height and width that a file takes, ONNX (1, C, H, W) or TFLite.

    Raises :class:`InputError` if the file takes several inputs, or any size.
    """
    if path.suffix == ".onnx":
        entries = [entry.shape for entry in _session(path, 1).get_inputs()]
    elif path.suffix == ".tflite":
        shapes = [entry["shape"].tolist() for entry in _interpreter(path, 1).get_input_details()]
        entries = [[*shape[:1], *shape[-1:], *shape[1:-1]] for shape in shapes]
    else:
        raise InputError(f"{path}: is no model file; expected .onnx or .tflite")
    shape = entries[0] if len(entries) == 1 else []
    if len(shape) != 4 or shape[0] != 1 or not all(isinstance(side, int) for side in shape):
        raise InputError(f"{path}: must take one picture of a fixed size (it takes {entries})")
    return shape[1], shape[2], shape[3]


def operators(path: Path, image: Floats, threads: int) -> tuple[OperatorCost, ...]:
    """Return what the file's operators cost by type: onnxruntime's profiler, or counts alone.

    LiteRT's Python package has no profiler that tells times.
    """
    if path.suffix == ".onnx":
        return _profile(path, image, threads)
    from ai_edge_litert.tools import flatbuffer_utils

    model: Any = flatbuffer_utils.read_model(str(path))
    counted = Counter(
        flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex)
        for graph in model.subgraphs
        for operator in graph.operators
    )
    return tuple(OperatorCost(str(kind), count, None) for kind, count in counted.most_common())


def _profile(path: Path, image: Floats, threads: int) -> tuple[OperatorCost, ...]:
    with tempfile.TemporaryDirectory() as folder:
        session = _session(path, threads, Path(folder) / "profile")
        feed = {session.get_inputs()[0].name: image}
        for _ in range(PROFILED_RUNS):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text())
    spent: dict[str, float] = defaultdict(float)
    nodes: dict[str, set[str]] = defaultdict(set)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            kind = event["args"]["op_name"]
            spent[kind] += event["dur"] / 1e3 / PROFILED_RUNS
            nodes[kind].add(event["name"])
    ranked = sorted(spent.items(), key=lambda item: -item[1])
    return tuple(OperatorCost(kind, len(nodes[kind]), ms) for kind, ms in ranked)
