"""Where a trained network comes from: its teachers, and the command that makes it again.

A training may have started from the weights of another; then both are its history, and the
command is a chain.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from toolchain.errors import InputError, RecipeError
from toolchain.models.headers import read_metadata
from toolchain.recipe import Recipe, default_recipe, override
from toolchain.recipe.renamed import settings_now
from toolchain.records.members import MemberFacts
from toolchain.zoo.reading import checked_facts
from toolchain.zoo.recoveries import RECORD, RECOVERY, as_training, command_words, target_words

NOTHING = (None, "None")
"""How a record says that a training started from random weights."""

NOT_FREE = re.compile(r"non.?commercial|academic|research|\bNC\b", re.IGNORECASE)
"""Licences whose weights teach nothing that is shipped."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Teacher:
    """Weights that a shipped network learnt from."""

    name: str
    licence: str
    sha256: str
    """Of the checkpoint, as it is read."""


TEACHERS = (
    Teacher(
        "EResFD 1x by clovaai (eresfd_16.pth)",
        "Apache-2.0",
        "a75310e2bcac6930626dfa5653a4ea5fb0df5cde3fc599e324f491bf460e2ec2",
    ),
    Teacher(
        "YuNet-n by Shiqi Yu (yunet_n_dynamic.onnx)",
        "Apache-2.0",
        "104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12",
    ),
    Teacher(
        "EXTD 64 by clovaai (EXTD_64.pth)",
        "MIT",
        "34f9b1eea0b9d477c8409ea236562662c29062553d6fd84a594530b087baefe2",
    ),
)
"""Those that are known to allow it."""


@dataclass(frozen=True)
class History:
    """A training, and all that it started from."""

    command: str
    images: int
    """Crops of all trainings together."""
    hours: float
    """Hours of all trainings together."""
    teachers: tuple[Teacher, ...]


@dataclass(frozen=True)
class Origins:
    """What a history may refer to."""

    starts: Mapping[str, Path]
    """By SHA-256, files that a training may have started from: members, or outputs of trainings."""
    teacher_name: str | None = None
    teacher_licence: str | None = None
    """Of a teacher that is not in :data:`TEACHERS`."""


def read_record(folder: Path) -> Mapping[str, object]:
    """Return what a finished training, or recovery, wrote of itself into ``folder``."""
    path = record_path(folder)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: must be the record of a finished training ({error}); give the output folder "
            f"of toolchain train or recover"
        ) from error
    if not isinstance(record, dict):
        raise InputError(f"{path}: must be a table (got {type(record).__name__})")
    return as_training(record) if path.name == RECORD else settings_now(record)


def record_path(folder: Path) -> Path:
    """Return the record of a folder: train.json, or else a recovery's, if that is there."""
    path, recovered = folder / "train.json", folder / RECORD
    return recovered if recovered.is_file() and not path.is_file() else path


def demand_one_training(
    record: Mapping[str, object], metadata: Mapping[str, object], path: Path
) -> Mapping[str, object]:
    """Check that a record and the metadata of the weights in ``path`` are of one training.

    Returns that training's settings.
    """
    settings, recovery = metadata.get("training"), metadata.get(RECOVERY)
    if isinstance(recovery, dict):  # its steps are known at its end
        settings = as_training({**recovery, "steps": record.get("steps")})
    if not isinstance(settings, dict) or not metadata.get("trained"):
        raise InputError(
            f"{path}: must be what toolchain train or recover wrote (it says nothing of it)"
        )
    settings = settings_now(settings)
    for name, value in settings.items():
        if record.get(name) != value:
            raise InputError(
                f"{path}: {name} is {value!r} here and {record.get(name)!r} in the record; give a "
                f"folder whose files are of one training"
            )
    return settings


def entry(record: Mapping[str, object], name: str, kind: type[Value], path: Path) -> Value:
    """Return an entry that must be there and of type ``kind``; a whole number is a float too."""
    value = record.get(name)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{path}: {name} must be a {kind.__name__} (got {value!r})")
    return value


def history_of(folder: Path, origins: Origins) -> History:
    """Return the history of the training in ``folder``.

    Raises :class:`InputError` where a teacher's licence is not known, or what it started from.
    """
    path, record = record_path(folder), read_record(folder)
    before = _before(record, path, origins)
    teachers = [] if before is None else list(before.teachers)
    own = _teacher(record, path, origins)
    if own is not None and own not in teachers:
        teachers.append(own)
    return History(
        _command(record, path, before, origins),
        entry(record, "images", int, path) + (before.images if before else 0),
        entry(record, "seconds", float, path) / 3600 + (before.hours if before else 0.0),
        tuple(teachers),
    )


def _before(record: Mapping[str, object], path: Path, origins: Origins) -> History | None:
    """Return the history of what a training started from; None where that is random weights."""
    digest = record.get("start")
    if digest in NOTHING:
        return None
    start = origins.starts.get(str(digest))
    if start is None:
        raise InputError(
            f"{path}: it started from weights that are none of those shipped ({digest}); give "
            f"their file by --start, beside the train.json of their own training"
        )
    metadata = read_metadata(start)
    if "command" not in metadata:
        demand_one_training(read_record(start.parent), metadata, start)
        return history_of(start.parent, origins)
    facts = checked_facts(metadata, start)
    teacher = _teacher_of(facts)
    teachers = () if teacher is None else (teacher,)
    return History(facts["command"], facts["images"], float(facts["hours"]), teachers)


def _teacher_of(facts: MemberFacts) -> Teacher | None:
    """Return the teacher of a network that is shipped, or several as one; None without."""
    if not facts["teacher_sha256"]:
        return None
    return Teacher(facts["teacher_name"], facts["teacher_licence"], facts["teacher_sha256"])


def _teacher(record: Mapping[str, object], path: Path, origins: Origins) -> Teacher | None:
    digest = record.get("teacher")
    if digest is None:
        return None
    known = next((teacher for teacher in TEACHERS if teacher.sha256 == digest), None)
    if known is not None:
        return known
    shipped = _shipped(record, origins)
    if shipped is not None:  # what it teaches comes from those that taught it
        return _teacher_of(checked_facts(read_metadata(shipped), shipped))
    file, licence = record.get("teacher_file"), origins.teacher_licence
    if licence is None:
        raise InputError(
            f"{path}: its teacher {file} (SHA-256 {digest}) is not known to allow that what it "
            f"taught is shipped; if its licence does, name that by --teacher-licence"
        )
    if NOT_FREE.search(licence):
        raise InputError(
            f"{path}: its teacher {file} is under {licence!r}; what is shipped must be free for "
            f"any use, so take a teacher that is"
        )
    return Teacher(origins.teacher_name or str(file), licence, str(digest))


def _shipped(record: Mapping[str, object], origins: Origins) -> Path | None:
    """Return the file of a teacher that is shipped itself."""
    path = origins.starts.get(str(record.get("teacher")))
    return path if path is not None and "command" in read_metadata(path) else None


def _command(
    record: Mapping[str, object], path: Path, before: History | None, origins: Origins
) -> str:
    """Return what makes the weights again, with every setting that the command line knows."""
    model = entry(record, "model", str, path)
    if record.get("recovery"):
        recovery = [*command_words(record, _file_of(record, origins)), *_fields(record, model)]
        return _chained(recovery, model, before)
    words = ["toolchain", "train", model, "--data", "WIDER"]
    processes = record.get("processes", 1)
    if processes != 1:
        words = f"torchrun --nproc-per-node {processes} -m toolchain.cli".split() + words[1:]
    if record.get("teacher") is not None:
        words += ["--teacher", str(record.get("teacher_file") or "TEACHER")]
        words += ["--images", str(entry(record, "images", int, path))]
    rate = entry(record, "rate", float, path)
    words += ["--align", str(record.get("prune.align", 1))] if rate else []
    words += ["--rate", f"{rate:.10g}"]
    words += _widths(record)
    for name in ("criterion", "scope", "threads", "seed", "device"):
        if name in record and not (name == "criterion" and record.get("pruned_channels")):
            words += [f"--{name}", str(record[name])]
    words += ["--bfloat16"] if record.get("bfloat16") else []
    return _chained([*words, *_recipe_fields(record, model)], model, before)


def _chained(words: list[str], model: str, before: History | None) -> str:
    """Return a command after those that made what it starts from."""
    if before is None:
        return shlex.join(words)
    place = f"out/train/{model}-step-{before.command.count(' && ') + 1}"
    return f"{before.command} --out {place} && {shlex.join(words)} --from {place}/model.safetensors"


def _fields(record: Mapping[str, object], model: str) -> list[str]:
    """Return how much a recovery took out, and the fields of its recipe, as options."""
    rate = record.get("rate")
    words = ["--align", str(record["prune.align"])] if rate else []
    words += target_words(record) or (["--rate", f"{rate:.10g}"] if rate else [])
    return [*words, *_widths(record), *_recipe_fields(record, model)]


def _file_of(record: Mapping[str, object], origins: Origins) -> str:
    """Return the file of a recovery's teacher, as its name tells; else a word for it."""
    shipped = _shipped(record, origins)
    if shipped is not None:
        return f"toolchain/zoo/{shipped.name}"
    known = next((each for each in TEACHERS if each.sha256 == record.get("teacher")), None)
    found = re.search(r"\((\S+)\)$", known.name) if known is not None else None
    return found[1] if found is not None else "WEIGHTS"


def _widths(record: Mapping[str, object]) -> list[str]:
    words = []
    for name in ("widths", "pruned_channels"):
        words += ["--set", f"prune.{name}={_inline(record[name])}"] if record.get(name) else []
    return words


def _recipe_fields(record: Mapping[str, object], model: str) -> list[str]:
    words = []
    for key, value in record.items():
        name = re.sub(r"^crop\.", "crops.", key)  # a crop's settings are the recipe's crops
        if name != "prune.align" and _is_in_recipe(default_recipe(model), name, value):
            words += ["--set", f"{name}={json.dumps(value)}"]
    return words


def _inline(table: object) -> str:
    """Return widths or filters by group as the command line and a recipe have them."""
    if not isinstance(table, dict):
        raise InputError(f"widths and pruned_channels must be tables (got {table!r})")
    return f"{{{', '.join(f'{json.dumps(group)}={value}' for group, value in table.items())}}}"


def _is_in_recipe(recipe: Recipe, name: str, value: object) -> bool:
    """Return whether ``name`` is a field of a recipe's section, and may be ``value``."""
    if not hasattr(recipe, name.partition(".")[0]) or name.count(".") != 1:
        return False
    try:
        override(recipe, {name: value})
    except RecipeError:
        return False
    return True
