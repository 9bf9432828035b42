"""What is written when something fails that nobody foresaw: the trace, and what it happened to."""

from __future__ import annotations

import dataclasses
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import toolchain
from toolchain.system.files import write_bytes

PACKAGES = (
    "torch",
    "torch-pruning",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "onnxsim",
    "opencv-python-headless",
    "numpy",
    "safetensors",
    "litert-torch",
    "ai-edge-litert",
)
MOST_MODULES = 5_000
"""So many modules of a network are listed."""


def write_crash(error: BaseException, arguments: Sequence[str]) -> Path | None:
    """Write the error's file here, or into the folder for temporary files; return its path.

    It holds the trace, the command, versions, and the structure of the network at work, without
    its weights. None if neither folder can be written.
    """
    content = "\n".join(_lines(error, arguments)).encode("utf-8", "backslashreplace")
    name = f"toolchain-error-{time.strftime('%Y%m%d-%H%M%S')}"
    for folder in (Path(), Path(tempfile.gettempdir())):
        try:
            path = _free(folder, name)
            write_bytes(path, content)
        except OSError:
            continue
        return path
    return None


def _free(folder: Path, name: str) -> Path:
    path, number = folder / f"{name}.txt", 1
    while path.exists():
        number += 1
        path = folder / f"{name}-{number}.txt"
    return path


def _lines(error: BaseException, arguments: Sequence[str]) -> Iterator[str]:
    yield f"toolchain {toolchain.__version__}, Python {platform.python_version()}"
    yield platform.platform()
    yield from (f"{package} {_version(package)}" for package in PACKAGES)
    yield ""
    yield f"command: toolchain {' '.join(arguments)}"
    yield ""
    yield from traceback.format_exception(error)
    network = _network_of(error)
    if network is not None:
        yield "the network, without its weights:"
        yield from _structure(network)
    yield ""


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "is not installed"


def _network_of(error: BaseException) -> Any | None:
    """Return the network that the error's functions were at work on: the one of most modules."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    found: list[Any] = []
    for frame, _line in traceback.walk_tb(error.__traceback__):
        for value in list(frame.f_locals.values()):
            found += [
                each for each in (value, *_fields(value)) if isinstance(each, torch.nn.Module)
            ]
    return max(found, key=lambda each: sum(1 for _ in each.modules()), default=None)


def _fields(record: Any) -> list[Any]:
    """Return the fields of a dataclass."""
    if not dataclasses.is_dataclass(record) or isinstance(record, type):
        return []
    return [getattr(record, each.name, None) for each in dataclasses.fields(record)]


def _structure(network: Any) -> Iterator[str]:
    """Yield a line for each module: its name, type and settings, and the shapes that it holds."""
    for number, (name, module) in enumerate(network.named_modules()):
        if number == MOST_MODULES:
            yield "... and more"
            return
        held = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        shapes = ", ".join(f"{key} {tuple(value.shape)} {value.dtype}" for key, value in held)
        yield f"{name or '(the network)'}: {_told(module)}{'; ' if shapes else ''}{shapes}"


def _told(module: Any) -> str:
    """Return a module's type and settings; its own code may fail in telling them."""
    try:
        settings = " ".join(module.extra_repr().split())
    except Exception:
        settings = "..."
    return f"{type(module).__name__}({settings})"
