"""Reading weights that come from strangers: tensors only, never code."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from toolchain.errors import CheckpointError
from toolchain.models.beside import stand_ins
from toolchain.models.headers import check_size, without_advice
from toolchain.models.kinds import SAVE, other_kind, what_is, why_refused


def read_pickle(path: Path) -> Mapping[str, object]:
    """Return the dictionary in a ``torch.save`` file, loaded with ``weights_only=True``.

    Raises :class:`CheckpointError` saying what the file is instead.
    """
    check_size(path)
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
        raise CheckpointError(f"{path}: {what_is(path)} ({without_advice(error)})") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path}: expected a dictionary of tensors, found {type(content).__name__}; write "
            f"{SAVE}"
        )
    return content


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file."""
    check_size(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a valid safetensors file ({error})") from error
