"""The runtimes that run a file: onnxruntime, ai-edge-litert or tflite-runtime, ncnn."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DetectError, one_line, reason_of
from .flatbuffer import tflite_metadata
from .loading import imported, silence, thread_count
from .ncnn_facts import PARAM, is_ncnn
from .ncnn_network import NcnnNetwork
from .network import Network
from .specification import KEY, Specification

FACES = "faces"
NO_METADATA = (
    "has no 'detector' metadata, which say what it is fed and what its outputs mean: it was not "
    "made by the toolchain, or they were stripped since; export it by toolchain shrink, or take "
    "the file as it came from there"
)
ONNX_TYPES = {"float32": "tensor(float)", "uint8": "tensor(uint8)"}
"""What onnxruntime calls the types that inputs may have."""


def why_not_opened(error: Exception, version: str) -> str:
    """Say why onnxruntime of that version does not open a file: it is too old, or the file bad."""
    words = " ".join(str(error).split())
    layout = re.search(r"IR version: (\d+), max supported IR version: (\d+)", words)
    operators = re.search(r"Opset (\d+) is under development.*till opset (\d+)", words)
    newer = layout or operators
    if newer:
        what = "IR version" if layout else "opset"
        return (
            f"needs a newer onnxruntime: the file has {what} {newer[1]}, and onnxruntime {version} "
            f"reads up to {newer[2]}; run: pip install --upgrade onnxruntime"
        )
    reason = words.rpartition("failed:")[2].strip()[-200:] or type(error).__name__
    return (
        f"is no ONNX file that can be run (onnxruntime {version}: {reason}); copy it again, or "
        f"export it"
    )


class OnnxNetwork(Network):
    """An ONNX file, run by onnxruntime; ``threads`` 0 means one per core."""

    def __init__(self, path: Path, threads: int) -> None:
        runtime = imported("onnxruntime")
        runtime.set_default_logger_severity(4)  # errors are raised too: once is enough
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session = runtime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no root but Exception
            raise DetectError(why_not_opened(error, runtime.__version__)) from error
        self.runtime = f"onnxruntime {runtime.__version__}"
        self.metadata = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        self.inputs = {i.name: i.type for i in self._session.get_inputs()}

    def compute(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]
    ) -> list[NDArray[Any]]:
        """Return some outputs by their names, given all inputs by theirs."""
        try:
            return list(self._session.run(list(outputs), dict(inputs)))
        except Exception as error:  # as above
            raise DetectError(f"onnxruntime cannot run it ({one_line(error)})") from error


class TfliteNetwork(Network):
    """A TFLite file, run by ai-edge-litert or tflite-runtime, whichever is there."""

    def __init__(self, path: Path, threads: int) -> None:
        runtime = imported("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
        try:
            self.metadata = tflite_metadata(path.read_bytes(), KEY)
            count = thread_count(threads)
            with silence():  # it tells of each network that it opens
                self._interpreter = runtime.Interpreter(str(path), num_threads=count)
                self._interpreter.allocate_tensors()
        except Exception as error:  # ValueError, RuntimeError, OSError, struct.error
            raise DetectError(
                f"is no TFLite file that can be run ({one_line(error)}); copy it again, or export "
                "it"
            ) from error
        self.runtime = runtime.__name__.partition(".")[0].replace("_", "-")
        details = self._interpreter.get_input_details()
        self._input = {item["name"]: item["index"] for item in details}
        self._output = {i["name"]: i["index"] for i in self._interpreter.get_output_details()}
        self.inputs = {
            item["name"]: ONNX_TYPES.get(np.dtype(item["dtype"]).name, str(item["dtype"]))
            for item in details
        }

    def compute(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]
    ) -> list[NDArray[Any]]:
        """Return some outputs by their names, given all inputs by theirs."""
        try:
            for name, tensor in inputs.items():
                self._interpreter.set_tensor(self._input[name], tensor)
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(self._output[name]) for name in outputs]
        except (KeyError, RuntimeError, ValueError) as error:
            raise DetectError(f"{self.runtime} cannot run it ({one_line(error)})") from error


def open_network(path: Path, threads: int, half: bool | None = None) -> Network:
    """Open a model file on the processor; ``threads`` 0 means one per core.

    ``half`` is for ncnn's files, see :class:`NcnnNetwork`.
    """
    if is_ncnn(path):
        return NcnnNetwork(path, threads, half)
    if half is not None:
        raise DetectError("is no ncnn file: leave out --half and --no-half")
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except IsADirectoryError as error:
        raise DetectError(
            f"is a folder without {PARAM}; give a .onnx or .tflite file, or the folder model_ncnn"
        ) from error
    except OSError as error:
        raise DetectError(f"cannot be read as a model ({reason_of(error)})") from error
    return (TfliteNetwork if start[4:] == b"TFL3" else OnnxNetwork)(path, threads)


def task_of(metadata: str) -> str:
    """Return the task that a file's metadata name; faces where they name none, as old ones do."""
    try:
        task = json.loads(metadata).get("task")
        return str(task.get("kind")) if task is not None else FACES
    except (AttributeError, ValueError, RecursionError):  # what it is, its parser says
        return FACES


def specification_of(network: Network) -> Specification:
    """Read the metadata and compare it with the file's own names."""
    if network.metadata is None:
        raise DetectError(NO_METADATA)
    kind = task_of(network.metadata)
    if kind != FACES:
        raise DetectError(f"is for the task {kind!r}, and a face detector is needed here")
    specification = Specification.from_json(network.metadata)
    if network.inputs != {specification.input_name: ONNX_TYPES[specification.dtype]}:
        kind = "float" if specification.dtype == "float32" else specification.dtype
        raise DetectError(
            f"must have one {kind} input {specification.input_name!r} (got {network.inputs}); "
            "export the file again with the toolchain"
        )
    if isinstance(network, NcnnNetwork):
        network.check(specification)
    return specification
