"""What weights tell of themselves before any of them is read, and without PyTorch."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from toolchain.errors import CheckpointError, first_line
from toolchain.models.kinds import what_is

METADATA_KEY = "toolchain"
"""Under which a native file has its metadata."""
MAX_BYTES = 2 * 1024**3
"""Larger files, or archives that unpack to more, are refused."""


def read_metadata(path: Path) -> dict[str, object]:
    """Return the metadata of a native file, empty for others' safetensors; reads no tensors.

    Raises :class:`CheckpointError` in one line.
    """
    return native_metadata(path, read_header(path))


def native_metadata(path: Path, metadata: Mapping[str, str]) -> dict[str, object]:
    """Return our part of a file's metadata, checked; empty where there is none."""
    try:
        ours = json.loads(metadata.get(METADATA_KEY, "{}"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its toolchain metadata is damaged ({error})") from error
    if not isinstance(ours, dict):
        raise CheckpointError(f"{path}: its toolchain metadata is damaged (it is no table)")
    if not ours:
        return {}
    ratio, model = ours.get("aspect_ratio"), ours.get("model")
    if not isinstance(model, str) or not model.isprintable():
        raise CheckpointError(f"{path}: its toolchain metadata is damaged (model is {model!r})")
    if ratio is not None and not (type(ratio) in (int, float) and 0.1 <= ratio <= 10):
        raise CheckpointError(
            f"{path}: its toolchain metadata is damaged (aspect_ratio must be >= 0.1 and <= 10; "
            f"got {str(ratio)[:40]})"
        )
    return ours


def read_header(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; its tensors are not read."""
    check_size(path)
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a valid safetensors file ({error})") from error


def check_size(path: Path) -> None:
    """Raise :class:`CheckpointError` for what cannot be read, is empty, or is too large."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise CheckpointError(f"{path}: expected a file of weights, found a folder")
        with path.open("rb"):
            pass
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    if size == 0:
        raise CheckpointError(f"{path}: the file is empty")
    size = max(size, _unpacked_size(path))
    if size > MAX_BYTES:
        raise CheckpointError(f"{path}: {size:,} bytes of content; at most {MAX_BYTES:,} are read")


def _unpacked_size(path: Path) -> int:
    """Return how many bytes an archive says that it unpacks to; 0 for other files."""
    if not zipfile.is_zipfile(path):
        return 0
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(entry.file_size for entry in archive.infolist())
    except Exception as error:  # damaged archives raise errors of many kinds
        raise CheckpointError(f"{path}: {what_is(path)} ({without_advice(error)})") from error


def without_advice(error: Exception) -> str:
    """Return an error's first line, but not torch's advice, which is to load it all the same."""
    line = first_line(error, 160)
    return type(error).__name__ if "weights_only" in first_line(error, 10_000) else line
