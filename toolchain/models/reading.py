"""Reading weights that come from strangers: tensors only, never code."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from toolchain.errors import CheckpointError, first_line
from toolchain.models.beside import stand_ins
from toolchain.models.kinds import SAVE, other_kind, what_is, why_refused

MAX_BYTES = 2 * 1024**3
"""Larger files, or archives that unpack to more, are refused."""


def read_pickle(path: Path) -> Mapping[str, object]:
    """Return the dictionary in a ``torch.save`` file, loaded with ``weights_only=True``.

    Raises :class:`CheckpointError` saying what the file is instead.
    """
    _check_size(path)
    other = other_kind(path)
    if other is not None:
        raise CheckpointError(f"{path}: {other}")
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins()):
            warnings.simplefilter("ignore")  # of pickles that it is about to refuse
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: {why_refused(path, str(error))}") from error
    except Exception as error:  # truncated archives raise bare errors of many kinds
        raise CheckpointError(f"{path}: {what_is(path)} ({_first_line(error)})") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path}: expected a dictionary of tensors, found {type(content).__name__}; write "
            f"{SAVE}"
        )
    return content


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file."""
    _check_size(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a valid safetensors file ({error})") from error


def read_header(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; its tensors are not read."""
    _check_size(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a valid safetensors file ({error})") from error


def _check_size(path: Path) -> None:
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
        raise CheckpointError(f"{path}: {what_is(path)} ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    line = first_line(error, 160)  # torch's advice is to load it all the same
    return type(error).__name__ if "weights_only" in first_line(error, 10_000) else line
