"""Runs on the emulated board, with numpy and the file's runtime alone.

``python guest.py MODEL INPUTS.npz OUTPUTS.npz FACTS.json [half]``: loads the file, runs every
input, then the first one again, all of it between the marks that the counting plugin looks for, and
once more under onnxruntime's profiler, or layer by layer by ncnn. Inputs are (1, C, H, W). ``half``
lets ncnn compute in half precision. What lays out its input is the board's program, ``detector``.
"""

from __future__ import annotations

import gc
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MARKS = 0x5EED00
OPEN, OPENED, BEGIN, END, PROFILE, PROFILED = 1, 2, 3, 4, 0x10, 0x11
ASK, ASKED, AGAIN = 0x20, 0x21, 0x22
"""Around a layer alone, and around asking for its value once more."""
COUNTED = 4
"""Runs that are counted; they differ by where memory happens to lie, and once in a process some
thread of the runtime's does something of its own."""


def mark(number: int) -> None:
    """Make a system call that does nothing and that the plugin sees."""
    try:
        os.getpriority(os.PRIO_PROCESS, MARKS + number)
    except OSError:
        return


def onnx_session(path: str, threads: int, profile: str = "") -> Any:
    """Open an ONNX file; ``profile`` is how the profiler's file shall begin, none if empty."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])


class Opened:
    """A file that is opened, and how it is fed and read."""

    def __init__(self, run: Callable[[Any], list[Any]], version: str = "", runner: Any = None):
        self.run, self.version = run, version
        """From an input in the file's own layout to what the runtime gives."""
        self.runner = runner
        """Of an ncnn file: the board's own."""

    def laid_out(self, image: Any, model: str) -> Any:
        """Return what is given as the file takes it, before anything is counted."""
        return laid_out(image, model) if self.runner is None else self.runner.fed(image)

    def outputs(self, image: Any) -> list[Any]:
        """Return the network's outputs for such an input."""
        found = self.run(image)
        return found if self.runner is None else list(self.runner.outputs_of(found))


def opened(path: str, threads: int = 1, half: bool | None = None) -> Opened:
    """Open a file; ``half`` is for ncnn's, None leaves it to the file."""
    if path.endswith(".onnx"):
        import onnxruntime

        session = onnx_session(path, threads)
        names = [each.name for each in session.get_inputs()]

        def infer(given: Any) -> Any:
            return session.run(None, dict(zip(names, all_inputs(given), strict=True)))

        return Opened(infer, str(onnxruntime.__version__))
    if path.endswith(".param"):
        from detector.ncnn_file import NcnnRunner

        runner = NcnnRunner(Path(path), threads, half)
        return Opened(runner.infer, runner.runtime.partition(" ")[2], runner)
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tflite_runtime.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=threads)
    interpreter.allocate_tensors()
    entries = [item["index"] for item in interpreter.get_input_details()]
    exits = [item["index"] for item in interpreter.get_output_details()]

    def run(given: Any) -> list[Any]:
        for entry, array in zip(entries, all_inputs(given), strict=True):
            interpreter.set_tensor(entry, array)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in exits]

    return Opened(run)


def all_inputs(given: Any) -> tuple[Any, ...]:
    """Return an array for each input of a file: all of them are given, or its only one."""
    return given if isinstance(given, tuple) else (given,)


def stored_inputs(stored: Any) -> dict[str, Any]:
    """Return what an ``.npz`` of inputs holds, by name: pictures (1, C, H, W), and of what is laid
    out already, ``NAME.000`` and so on, a tuple of all inputs."""
    found: dict[str, Any] = {}
    for name in stored.files:
        key, dot, _ = name.partition(".")
        found[key] = (*found.get(key, ()), stored[name]) if dot else stored[name]
    return found


def laid_out(image: Any, model: str) -> Any:
    """Return an input (1, C, H, W) as an ONNX or TFLite file takes it; what is a tuple, it is.

    Pixels are channels last whatever the file.
    """
    if isinstance(image, tuple):
        return image
    if model.endswith(".onnx") and image.dtype != np.uint8:
        return image
    return np.ascontiguousarray(image.transpose(0, 2, 3, 1))


def resident_bytes() -> int:
    """Return the memory that the guest's own mappings hold; the emulator's is left out.

    The emulator gives the guest's mappings as ``maps``, and its own process's as ``smaps``; both
    have the same addresses.
    """
    own = [line.split()[0] for line in Path("/proc/self/maps").read_text().splitlines()]
    ranges = [tuple(int(end, 16) for end in span.split("-")) for span in own]
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        span = re.match(r"([0-9a-f]+)-[0-9a-f]+ ", line)
        if span:
            start = int(span[1], 16)
            inside = any(low <= start < high for low, high in ranges)
        elif inside and line.startswith("Rss:"):
            total += 1024 * int(line.split()[1])
    return total


def shapes_of(event: Any, side: str) -> list[list[int]]:
    """Return the shapes of an operator's inputs or outputs, as the profiler tells them."""
    return [shape for entry in event["args"][f"{side}_type_shape"] for shape in entry.values()]


def profiled(path: str, image: Any, prefix: str, runs: int = 1) -> list[list[dict[str, Any]]]:
    """Run a file under the runtime's profiler; return, by run, operators in the order they ran.

    ``microseconds`` are the emulator's, by which the plugin's readings are told apart.

    The profiler reads the clock before and after each, which the plugin sees between the marks.
    """
    session = onnx_session(path, 1, prefix)
    names = [each.name for each in session.get_inputs()]
    feed = dict(zip(names, all_inputs(image), strict=True))
    session.run(None, feed)
    for _ in range(runs):
        mark(PROFILE)
        session.run(None, feed)
        mark(PROFILED)
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    ran = [
        {
            "name": event["name"].removesuffix("_kernel_time"),
            "type": event["args"]["op_name"],
            "microseconds": event["dur"],
            "inputs": shapes_of(event, "input"),
            "outputs": shapes_of(event, "output"),
        }
        for event in events
        if event.get("cat") == "Node"
    ]
    each = len(ran) // (runs + 1)
    return [ran[each * run : each * (run + 1)] for run in range(1, runs + 1)]


def layers(runner: Any, image: Any) -> list[dict[str, str]]:
    """Let ncnn compute layer by layer, each twice; return name and type of each, in order.

    What is computed is kept, so the second time shows what asking takes.
    """
    extractor = runner.extractor(image)
    extractor.set_light_mode(False)
    net = runner.net
    ran = [layer for layer in net.layers() if layer.type != "Input"]
    for layer in ran:
        blob = net.blobs()[layer.tops[0]].name
        mark(ASK)
        extractor.extract(blob, 1)
        mark(ASKED)
        extractor.extract(blob, 1)
        mark(AGAIN)
    return [{"name": layer.name, "type": layer.type} for layer in ran]


def count(
    open_file: Callable[[], Opened], model: str, inputs: str, outputs: str
) -> tuple[Opened, Any]:
    """Open a file, run every input and the first one again, between marks; write the outputs.

    Returns the file, and the first input in its layout.
    """
    mark(OPEN)
    file = open_file()
    mark(OPENED)
    with np.load(inputs) as images:
        pictures = stored_inputs(images)
        given = {name: file.laid_out(each, model) for name, each in pictures.items()}
    found = {}
    for name, image in given.items():
        for index, output in enumerate(file.outputs(image)):
            found[f"{name}/{index:03}"] = output
    first = next(iter(given.values()))
    for _ in range(COUNTED):
        mark(BEGIN)
        file.run(first)
        mark(END)
    np.savez(outputs, **found)
    return file, first


def main() -> None:
    """Do all of it and write what was found."""
    model, inputs, outputs, facts = sys.argv[1:5]
    half = sys.argv[5:] == ["half"]
    gc.disable()  # or it would run at any time
    if model.endswith(".param"):
        import detector.ncnn_file  # noqa: F401 - now, for it is no part of what opening takes
    file, first = count(lambda: opened(model, half=half), model, inputs, outputs)
    content: dict[str, Any] = {"runtime": file.version, "resident_bytes": resident_bytes()}
    content["operators"] = profiled(model, first, facts)[0] if model.endswith(".onnx") else []
    content["layers"] = layers(file.runner, first) if file.runner else []
    Path(facts).write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    main()
