"""What a training holds between two steps, and its file: written beside, renamed, read safely."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from toolchain.errors import CheckpointError, InputError
from toolchain.models.reading import read_pickle
from toolchain.recipe.renamed import settings_now
from toolchain.system.files import write_bytes

FORMAT = 2
STATE = "state.pt"
"""The file, in the run's folder."""


@dataclass(frozen=True)
class State:
    """Everything that the next step depends on, besides the photos."""

    settings: Mapping[str, Any]
    """What the run was asked for, as JSON has it; a run with others is another run."""
    step: int
    """Steps that were taken."""
    network: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    losses: tuple[float, ...]
    """Means over stretches of steps."""
    masks: Mapping[str, Tensor] | None = None
    """What was chosen last to be zero, by parameter's name."""
    samples: tuple[Mapping[str, float], ...] = ()
    """``step``, and average precision by level after it, on the fixed sample."""
    seconds: float = 0.0
    """Spent so far, over all runs."""


def write_state(path: Path, state: State) -> None:
    """Write a state; raises :class:`InputError` when there is no room, and keeps the last one."""
    content = {
        "format": FORMAT,
        "settings": json.dumps(state.settings, sort_keys=True),
        "step": state.step,
        "network": dict(state.network),
        "optimizer": dict(state.optimizer),
        "losses": list(state.losses),
        "masks": None if state.masks is None else {k: m.bool() for k, m in state.masks.items()},
        "samples": [dict(sample) for sample in state.samples],
        "seconds": state.seconds,
    }
    stream = io.BytesIO()
    torch.save(content, stream)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, stream.getvalue())
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); the state before is kept, "
            f"make room and run the same command again"
        ) from error


def read_state(path: Path, settings: Mapping[str, Any]) -> State:
    """Read a state; raises :class:`CheckpointError` if it is none, or of other settings."""
    content: Mapping[str, Any] = read_pickle(path)
    if content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no state of a training; remove it to begin anew")
    found, wanted = (
        settings_now(json.loads(content["settings"])),
        json.loads(json.dumps(dict(settings))),
    )
    differing = [key for key in sorted({*found, *wanted}) if found.get(key) != wanted.get(key)]
    if differing:
        told = ", ".join(f"{key} was {found.get(key)}, is {wanted.get(key)}" for key in differing)
        raise CheckpointError(
            f"{path} belongs to a training with other settings ({told}); give the same ones, or "
            f"another --out"
        )
    return State(
        settings=found,
        step=content["step"],
        network=content["network"],
        optimizer=content["optimizer"],
        losses=tuple(content["losses"]),
        masks=content["masks"],
        samples=tuple(content["samples"]),
        seconds=content["seconds"],
    )
