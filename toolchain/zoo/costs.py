"""What the shipped networks cost on boards: one table beside them, made when one is shipped.

The figures are estimates from the measured layers that ship with the tool, at one size, so that a
network can be chosen by them in no time.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from toolchain.errors import CheckpointError

COSTS = "costs.json"
"""Beside the networks."""

CORE = "cortex-a72"
"""That of the board (a Raspberry Pi 4) by which networks are chosen where none is named."""

SIZE = (320, 320)
"""Height and width that the figures are of."""


@dataclass(frozen=True)
class MemberCosts:
    """What one network costs."""

    sha256: str
    """Of its file: costs of other weights are no costs of it."""
    instructions: Mapping[str, int]
    """Of one inference of :data:`SIZE` by ncnn, one thread, float32; by core."""
    weight_bytes: int
    """Of the ncnn file's weights, which are nearly all of it, whatever the input's size; 0 where an
    earlier table does not tell."""


@dataclass(frozen=True)
class WholeCosts:
    """What a network costs before anything is removed, of which no weights ship."""

    parameters: int
    """Deployed."""
    instructions: Mapping[str, int]
    """As of :class:`MemberCosts`."""


@dataclass(frozen=True)
class Table:
    """All of a table of costs."""

    members: Mapping[str, MemberCosts]
    """By name."""
    whole: Mapping[str, WholeCosts]
    """By model."""


def read_costs(folder: Path) -> Mapping[str, MemberCosts]:
    """Return the costs of the networks in ``folder``, by name; nothing where there is no table."""
    return read_table(folder).members


@cache
def read_table(folder: Path) -> Table:
    """Return the table of ``folder``, empty where there is none.

    Raises :class:`CheckpointError` for a table that cannot be read.
    """
    path = folder / COSTS
    if not path.is_file():
        return Table({}, {})
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        members = {
            str(name): MemberCosts(
                str(each["sha256"]),
                {str(core): int(count) for core, count in each["instructions"].items()},
                int(each.get("weight_bytes", 0)),
            )
            for name, each in content["members"].items()
        }
        whole = {
            str(model): WholeCosts(
                int(each["parameters"]),
                {str(core): int(count) for core, count in each["instructions"].items()},
            )
            for model, each in content.get("whole", {}).items()
        }
        return Table(members, whole)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: must hold sha256 and instructions by name ({error!r}); make it again by: "
            f"toolchain ship"
        ) from error


@cache
def plain_instructions() -> Mapping[str, Mapping[str, int]]:
    """Return by model and core what the unpruned network's plain export takes, at :data:`SIZE`."""
    text = resources.files("toolchain.zoo").joinpath("plain.toml").read_text(encoding="utf-8")
    return {model: dict(by_core) for model, by_core in tomllib.loads(text).items()}
