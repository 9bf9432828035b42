"""A shipped network whose levels were balanced: the same network, with what it finds now."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from toolchain.errors import InputError
from toolchain.models.headers import read_metadata
from toolchain.records.members import MemberAccuracy, MemberFacts
from toolchain.system.files import sha256_of
from toolchain.zoo.reading import Member

RECORD = "balance.json"
"""What a balancing wrote of itself."""
BALANCE = "balance"
"""The entry of a file's metadata that holds its shifts."""


@dataclass(frozen=True)
class Balanced:
    """A balancing, and the shipped network that it was of."""

    member: Member
    strides: tuple[int, ...]
    shifts: tuple[float, ...]
    sizes: tuple[str, ...]
    counts: Mapping[str, float]
    split: str
    limit: int | None
    hours: float


def read_balanced(folder: Path, members: tuple[Member, ...]) -> Balanced:
    """Return what lies in ``folder``.

    Raises :class:`InputError` where its files are not of one balancing, and where that was of
    weights that are not shipped.
    """
    path, weights = folder / RECORD, folder / "model.safetensors"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        before, sample = record["weights"], record["sample"]
        told = {"weights": before, "strides": record["strides"], "shifts": record["shifts"]}
        found = Balanced(
            member=next(each for each in members if sha256_of(each.path) == before),
            strides=tuple(map(int, record["strides"])),
            shifts=tuple(map(float, record["shifts"])),
            sizes=tuple(map(str, record["sizes"])),
            counts={str(name): float(count) for name, count in record["counts"].items()},
            split=str(sample["split"]),
            limit=sample["limit"],
            hours=float(record["seconds"]) / 3600,
        )
    except StopIteration as error:
        raise InputError(
            f"{path}: it balanced weights that are none of those shipped ({before}); ship these "
            f"first"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: must be the record of toolchain balance ({error}); give its output folder"
        ) from error
    if read_metadata(weights).get(BALANCE) != told:
        raise InputError(f"{weights}: holds other shifts than {path}; give files of one run")
    return found


def facts_now(found: Balanced, accuracy: MemberAccuracy, deployed: int) -> MemberFacts:
    """Return the facts of the shipped network with its levels balanced."""
    facts = found.member.facts
    settings: Mapping[str, object] = {
        **facts["training"],
        "balance.sizes": list(found.sizes),
        "balance.counts": dict(found.counts),
        "balance.strides": list(found.strides),
        "balance.shifts": list(found.shifts),
    }
    changed = {
        "accuracy": accuracy,
        "deployed_parameters": deployed,
        "hours": round(facts["hours"] + found.hours, 3),
        "command": _command(found),
        "training": settings,
    }
    return cast(MemberFacts, {**facts, **changed})


def _command(found: Balanced) -> str:
    """Return the command that made the network, and the one that balanced it after that."""
    before = found.member.facts["command"]
    place = f"out/train/{found.member.model}-step-{before.count(' && ') + 1}"
    words = ["toolchain", "balance", f"{place}/model.safetensors", "--data", "WIDER"]
    words += ["--split", found.split]
    words += [word for size in found.sizes for word in ("--size", size)]
    for name, count in found.counts.items():
        words += ["--weigh", f"{name}={count:g}"]
    words += [] if found.limit is None else ["--limit", str(found.limit)]
    return f"{before} --out {place} && {shlex.join(words)}"
