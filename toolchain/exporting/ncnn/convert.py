"""ONNX -> ncnn by pnnx, in a folder of its own; what does not run is refused by name."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx

from toolchain.errors import ExportError, first_line
from toolchain.exporting.ncnn.opened import INSTEAD, check_known, check_runs

LIMIT_SECONDS = 600


@dataclass(frozen=True)
class Converted:
    """The two files of a network."""

    param: str
    """Its layers, as text."""
    weights: bytes
    blobs: tuple[str, ...]
    """Its outputs, in order."""


def convert(model: onnx.ModelProto) -> Converted:
    """Convert a model of fixed sizes, and run it once.

    Raises :class:`ExportError` that names what cannot be converted, opened or run.
    """
    with tempfile.TemporaryDirectory(prefix="ncnn.") as name:
        room = Path(name)
        onnx.save(model, room / "m.onnx")
        _run(room)
        try:
            param = (room / "m.ncnn.param").read_text(encoding="utf-8")
            weights = (room / "m.ncnn.bin").read_bytes()
        except OSError as error:
            raise ExportError(
                f"the network cannot be converted to ncnn (pnnx wrote no file); {INSTEAD}"
            ) from error
        check_known(param, model)
        check_runs(room / "m.ncnn.param", room / "m.ncnn.bin", model)
    blobs = tuple(f"out{index}" for index in range(len(model.graph.output)))
    return Converted(param, weights, blobs)


def _run(room: Path) -> None:
    import pnnx

    command = [pnnx.EXEC_PATH, "m.onnx", "fp16=0"]
    try:
        done = subprocess.run(
            command, cwd=room, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExportError(
            f"the network cannot be converted to ncnn (pnnx: {first_line(error)}); {INSTEAD}"
        ) from error
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        reason = (lines or [f"it ended with code {done.returncode}"])[-1][:200]
        raise ExportError(f"the network cannot be converted to ncnn (pnnx: {reason}); {INSTEAD}")
