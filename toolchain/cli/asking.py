"""What can be said of a command's words at once, before PyTorch is loaded, which takes seconds."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from toolchain.errors import CheckpointError, InputError, ModelError, PhotoError

FOLDER = "an output folder of toolchain shrink"
WIDER_TRAIN = "the folder of WIDER FACE, with WIDER_train"


def need(path: Path | None, what: str, error: type[InputError] = InputError) -> None:
    """Raise ``error`` if ``path`` is not there or cannot be read; None is not asked for."""
    if path is None:
        return
    try:
        path.stat()
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise error(f"{path}: cannot be read ({reason}); give {what}") from problem
    if not os.access(path, os.R_OK):
        raise error(f"{path}: cannot be read (Permission denied); give {what}")


def need_model_file(path: Path) -> None:
    """Raise :class:`InputError` for a file that is no model by its name; a folder may hold some."""
    if path.is_file() and path.suffix not in (".onnx", ".tflite", ".param", ".json"):
        raise InputError(f"{path}: is no model file; expected .onnx, .tflite or model_ncnn")


def need_checkpoint(path: Path | None) -> None:
    """Raise :class:`CheckpointError` if there are no weights; safetensors may be many files."""
    if path is not None and not list(path.parent.glob(f"{path.name}.*")):
        need(path, "a file of weights", CheckpointError)


def need_photos(paths: Iterable[Path] | None) -> None:
    """Raise :class:`PhotoError` if a photo is not there, or is a folder."""
    for path in paths or ():
        need(path, "a photo, as JPEG or PNG", PhotoError)
        if path.is_dir():
            raise PhotoError(f"{path}: is a folder; give a photo, as JPEG or PNG")


def need_folder(path: Path | None, what: str) -> None:
    """Raise :class:`InputError` if ``path`` is no folder; None is not asked for."""
    need(path, what)
    if path is not None and not path.is_dir():
        raise InputError(f"{path}: is no folder; give {what}")


def need_room(out: Path | None) -> None:
    """Raise :class:`InputError` if results cannot lie at ``out``, which is a file or within one."""
    if out is None:
        return
    for place in (out, *out.parents):
        if place.exists():
            if not place.is_dir():
                raise InputError(f"{place} is a file; --out must name a folder")
            if not os.access(place, os.W_OK):
                raise InputError(f"cannot write to {place}; choose another folder by --out")
            return


def need_module(model: str) -> None:
    """Raise :class:`ModelError` if the module of ``module:factory`` is nowhere to be imported."""
    name, colon, _ = model.partition(":")
    top = name.partition(".")[0]
    if not colon or not top.isidentifier():
        return
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    if top not in sys.modules and importlib.util.find_spec(top) is None:
        raise ModelError(
            f"cannot import {name!r} from {here} or the environment (there is no module {top!r})"
        )
