"""What is timed: one inference of a file, with nothing around it."""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from toolchain.deploy import detect
from toolchain.errors import InputError, first_line
from toolchain.exporting.ncnn.extra import lacking_ncnn
from toolchain.records.run_folder import name_of
from toolchain.records.timings import OperatorCost
from toolchain.system.installation import how_to_get
from toolchain.system.quiet import silent
from toolchain.system.sessions import open_session

Picture = NDArray[np.float32] | NDArray[np.uint8]
"""Floats, or pixels where the file takes them."""
Fed = tuple[NDArray[Any], ...]
"""An array for each input of a file, in its order and laid out as it takes them."""
Given = Picture | Fed
"""What a run is given: a picture (1, C, H, W), to be laid out for the file, or all its inputs."""
PROFILED_RUNS = 10
PACKAGES = {".onnx": "onnxruntime", ".tflite": "ai-edge-litert", ".param": "ncnn"}
"""What runs a file, by its suffix."""
UNKNOWN_OPERATOR = re.compile(
    r"(?P<custom>[\w.:]+)\(-?\d+\) is not a registered function/op"
    r"|No Op registered for (?P<plain>\w+)"
)


def open_run(path: Path, given: Given, threads: int) -> Callable[[], object]:
    """Return a function that runs the file on ``given`` and reads all outputs.

    Of an ncnn file these are its maps, which the board decodes as they are.
    """
    if path.suffix == ".param":
        runner = open_ncnn(path, threads)
        fed = runner.fed(_floats(given))
        return lambda: runner.infer(fed)
    return (_onnx if path.suffix == ".onnx" else _tflite)(path, as_inputs(given, path), threads)


def run_once(path: Path, given: Given) -> list[NDArray[np.floating]]:
    """Return the network's outputs for what is given, on one thread.

    An ncnn file computes in single precision here. Raises :class:`InputError` where the runtime
    cannot run the file on it.
    """
    if path.suffix == ".param":
        runner = open_ncnn(path, 1, half=False)
        return list(runner.run(runner.fed(_floats(given))))
    run = open_run(path, given, 1)
    try:
        return cast("list[NDArray[np.floating]]", run())
    except Exception as error:  # the runtimes' errors share no root but Exception
        raise InputError(f"{path.name}: does not run here ({first_line(error)})") from error


def arrays_of(inputs: Mapping[str, Given]) -> dict[str, NDArray[Any]]:
    """Return inputs as the scripts on boards read them from an ``.npz``: ``input0``, or, of what is
    laid out already, ``input0.000`` and so on."""
    found: dict[str, NDArray[Any]] = {}
    for index, given in enumerate(inputs.values()):
        if isinstance(given, tuple):
            found |= {f"input{index}.{each:03}": array for each, array in enumerate(given)}
        else:
            found[f"input{index}"] = given
    return found


def open_ncnn(path: Path, threads: int, half: bool | None = None) -> detect.NcnnRunner:
    """Open an ncnn file; raise :class:`InputError` if it, or what runs it, is lacking."""
    missing = lacking_ncnn(("ncnn",))
    if missing:
        raise InputError(f"{name_of(path)}: {missing}")
    try:
        return detect.NcnnRunner(path, threads, half)
    except detect.DetectError as error:
        raise InputError(f"{name_of(path)} {error}") from error


def _floats(given: Given) -> NDArray[np.float32]:
    assert not isinstance(given, tuple)
    assert given.dtype == np.float32
    return cast("NDArray[np.float32]", given)


def as_inputs(given: Given, path: Path) -> Fed:
    """Return all inputs as an ONNX or TFLite file takes them; pixels are channels last."""
    if isinstance(given, tuple):
        return given
    if path.suffix == ".onnx" and given.dtype != np.uint8:
        return (given,)
    return (np.ascontiguousarray(given.transpose(0, 2, 3, 1)),)


def runtime_of(path: Path) -> str:
    """Return the runtime's name and version."""
    package = PACKAGES[path.suffix]
    return f"{package} {metadata.version(package)}"


def onnx_session(path: Path, threads: int, profile: Path | None = None) -> Any:
    """Open an ONNX file, as :func:`open_session`; raise :class:`InputError` if it cannot be."""
    try:
        return open_session(path, threads, profile)
    except Exception as error:  # onnxruntime's errors share no root but Exception
        why = _unknown_operator(error) or detect.why_not_opened(error, onnxruntime.__version__)
        raise InputError(f"{path.name}: {why}") from error


def _unknown_operator(error: Exception) -> str | None:
    """Return what is wrong where the runtime lacks an operator; None where it does not."""
    found = UNKNOWN_OPERATOR.search(str(error))
    if found is None:
        return None
    name = found["custom"] or found["plain"]
    return (
        f"has the operator {name}, which onnxruntime {onnxruntime.__version__} does not know in "
        f"the file's opset; export the network without it, or to another opset"
    )


def _onnx(path: Path, fed: Fed, threads: int) -> Callable[[], object]:
    session = onnx_session(path, threads)
    feed = _by_name(session, fed)
    return lambda: session.run(None, feed)


def _by_name(session: Any, fed: Fed) -> dict[str, NDArray[Any]]:
    names = [each.name for each in session.get_inputs()]
    return dict(zip(names, fed, strict=True))


def _interpreter(path: Path, threads: int) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise InputError(f"{path.name} needs ai-edge-litert; run {how_to_get('arm')}") from error
    try:
        with silent():
            interpreter = Interpreter(str(path), num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = first_line(error)
        raise InputError(f"{path.name}: ai-edge-litert cannot open it ({reason})") from error
    return interpreter


def input_details(path: Path) -> list[dict[str, Any]]:
    """Return what LiteRT tells of a TFLite file's inputs."""
    return list(_interpreter(path, 1).get_input_details())


def _tflite(path: Path, fed: Fed, threads: int) -> Callable[[], object]:
    interpreter = _interpreter(path, threads)
    entries = [item["index"] for item in interpreter.get_input_details()]
    exits = [item["index"] for item in interpreter.get_output_details()]

    def run() -> object:
        for entry, array in zip(entries, fed, strict=True):
            interpreter.set_tensor(entry, array)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in exits]

    return run


def input_of(path: Path) -> tuple[tuple[int, int, int], bool]:
    """Return channels, height and width that a file takes, and whether these are pixels.

    Channels come last in TFLite files and in pixels (uint8).

    Raises :class:`InputError` if the file takes several inputs, or any size.
    """
    if path.suffix == ".onnx":
        inputs = onnx_session(path, 1).get_inputs()
        entries, kinds = [entry.shape for entry in inputs], [entry.type for entry in inputs]
    elif path.suffix == ".tflite":
        details = _interpreter(path, 1).get_input_details()
        entries = [entry["shape"].tolist() for entry in details]
        kinds = ["tensor(uint8)" if entry["dtype"] is np.uint8 else "" for entry in details]
    elif path.suffix == ".param":
        entries, kinds = [list(open_ncnn(path, 1).facts.shape)], [""]
    else:
        raise InputError(f"{path}: is no model file; expected .onnx, .tflite or model_ncnn")
    shape = entries[0] if len(entries) == 1 else []
    if len(shape) != 4 or shape[0] != 1 or not all(isinstance(side, int) for side in shape):
        raise InputError(f"{path}: must take one picture of a fixed size (it takes {entries})")
    takes_pixels = kinds[0] == "tensor(uint8)"
    if takes_pixels or path.suffix == ".tflite":
        return (shape[3], shape[1], shape[2]), takes_pixels
    return (shape[1], shape[2], shape[3]), takes_pixels


def operators(path: Path, given: Given, threads: int) -> tuple[OperatorCost, ...]:
    """Return what the file's operators cost by type: onnxruntime's profiler, or counts alone.

    LiteRT's and ncnn's Python packages have no profiler that tells times.
    """
    if path.suffix == ".onnx":
        return _profile(path, as_inputs(given, path), threads)
    if path.suffix == ".param":
        layers = Counter(layer.type for layer in open_ncnn(path, threads).net.layers())
        return tuple(OperatorCost(kind, count, None) for kind, count in layers.most_common())
    from ai_edge_litert.tools import flatbuffer_utils

    model: Any = flatbuffer_utils.read_model(str(path))
    counted = Counter(
        flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex)
        for graph in model.subgraphs
        for operator in graph.operators
    )
    return tuple(OperatorCost(str(kind), count, None) for kind, count in counted.most_common())


def _profile(path: Path, fed: Fed, threads: int) -> tuple[OperatorCost, ...]:
    with tempfile.TemporaryDirectory() as folder:
        session = onnx_session(path, threads, Path(folder) / "profile")
        feed = _by_name(session, fed)
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
