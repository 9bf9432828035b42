"""Baseline files: a record as JSON that a person can review in a diff, with its own hash.

Keys are sorted, nothing in it changes without a cause, and it is written beside and moved into
place under a lock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from toolchain.bench.external import external_files, whole_sha256
from toolchain.errors import InputError, RecipeError
from toolchain.gate.candidates import NAMES, file_of
from toolchain.gate.comparing import accepted_of
from toolchain.gate.metrics import is_metric
from toolchain.recipe.reader import Reader
from toolchain.records.certificate import companions_of, read_certificate
from toolchain.records.run_folder import CERTIFICATE, REPORT, model_file
from toolchain.records.verdicts import Accepted, FileRecord, Record, Verdict
from toolchain.system.files import digest_of, held_alone, write_bytes

SCHEMA = 2
HASH = "sha256_of_the_rest"
MOST_BYTES = 50_000_000
KEPT = (CERTIFICATE, REPORT)
"""Files of an output folder that are kept beside those that its certificate lists."""


def to_json(record: Record) -> bytes:
    """Return a baseline file's bytes: sorted, a line for each figure and operator."""
    content: dict[str, Any] = {"schema": SCHEMA, **dataclasses.asdict(record)}
    content["metrics"] = {name: _number(value) for name, value in record.metrics.items()}
    content[HASH] = digest_of(content)
    return _lines(content).encode()


def _number(value: float) -> float | int:
    """Return whole numbers as such: 3, not 3.0."""
    return int(value) if float(value).is_integer() else value


def _lines(content: Any, indent: str = "") -> str:
    """Return JSON with sorted keys, in which what holds no table takes one line."""
    flat = json.dumps(content, sort_keys=True, allow_nan=False, ensure_ascii=False)
    deeper = indent + "  "
    if isinstance(content, dict) and content and (not indent or len(flat) > 96):
        rows = [f"{deeper}{json.dumps(key, ensure_ascii=False)}: {_lines(content[key], deeper)}"
                for key in sorted(content)]  # fmt: skip
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}" + ("\n" if not indent else "")
    if isinstance(content, list | tuple) and any(isinstance(each, dict) for each in content):
        rows = [f"{deeper}{_lines(each, deeper)}" for each in content]
        return "[\n" + ",\n".join(rows) + f"\n{indent}]"
    return flat


def parse(text: bytes, name: str) -> Record:
    """Read a baseline; raise :class:`InputError` if it is none, is newer, or was edited."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: is no JSON, or was cut off ({error})") from error
    if not isinstance(content, dict) or "schema" not in content:
        raise InputError(f"{name}: is no baseline of toolchain gate")
    if content["schema"] == 1:
        raise InputError(
            f"{name}: is of an older toolchain, which kept outputs without their channels; make it "
            f"anew from that model by gate FOLDER --baseline {name} --update, once it is moved away"
        )
    if content["schema"] != SCHEMA:
        raise InputError(
            f"{name}: has schema {content['schema']!r}; this toolchain knows {SCHEMA}: a newer "
            f"one made it"
        )
    stated = content.pop(HASH, None)
    if stated != digest_of(content):
        raise InputError(
            f"{name}: was edited by hand (its own hash does not match); change it by toolchain "
            f"gate --update, or --accept METRIC --why REASON"
        )
    del content["schema"]
    try:
        record: Record = Reader("", name).section(Record, content, ())
    except RecipeError as error:
        raise InputError(f"{name}: is no baseline that this toolchain knows ({error})") from error
    strange = [metric for metric in record.metrics if not is_metric(metric)]
    if strange:
        raise InputError(f"{name}: {strange[0]} is no metric that this toolchain knows")
    return record


def read_baseline(path: Path) -> Record:
    """Read a baseline file; raises as :func:`parse` does."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path}: is larger than any baseline ({MOST_BYTES:,} bytes)")
        return parse(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); make it by toolchain gate "
            f"FOLDER --baseline {path} --update"
        ) from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a baseline for writing; raise :class:`InputError` if another gate does."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        key = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
        place = Path(tempfile.gettempdir()) / f"toolchain-gate-{os.getuid()}-{key}.lock"
        with held_alone(place, f"{path}: another gate is writing it; wait and try again"):
            yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


def write_baseline(path: Path, record: Record, expected: Record | None) -> None:
    """Write a baseline, if it still is what was read (None: not there)."""
    with locked(path):
        there = read_baseline(path) if path.exists() else None
        if there != expected:
            raise InputError(f"{path}: was changed while the gate ran; run it again")
        write_bytes(path, to_json(record))


def merged(old: Record, new: Record, verdict: Verdict) -> Record:
    """Return the new baseline: what moved by more than its limit, and the rest as it was.

    So noise changes nothing, and what gets worse by little each time is stopped in the end.
    """
    still = {row.metric for row in verdict.rows if row.status == "same"}
    metrics = {**new.metrics, **{name: old.metrics[name] for name in still & old.metrics.keys()}}
    files = {
        name: _merged_file(name, old.files[name], file, still) if name in old.files else file
        for name, file in new.files.items()
    }
    return dataclasses.replace(
        new,
        metrics=metrics,
        files=files,
        made=new.made or old.made,
        accepted=(*old.accepted, *accepted_of(verdict)),
    )


def _merged_file(name: str, old: FileRecord, new: FileRecord, still: Collection[str]) -> FileRecord:
    same_cost, same_outputs = f"{name}/instructions" in still, f"{name}/outputs" in still
    return dataclasses.replace(
        new,
        operators=old.operators if same_cost else new.operators,
        outputs=old.outputs if same_outputs else new.outputs,
    )


def with_accepted(old: Record, new: Record, accepted: Sequence[Accepted]) -> Record:
    """Return the old baseline with those figures alone moved that were let through."""
    moved = {entry.metric for entry in accepted}
    metrics = {
        **old.metrics,
        **{name: new.metrics[name] for name in moved if name in new.metrics},
    }
    files = {
        name: dataclasses.replace(
            file, outputs=new.files[name].outputs, sha256=new.files[name].sha256
        )
        if {f"{name}/outputs", f"{name}/boxes"} & moved
        else file
        for name, file in old.files.items()
    }
    return dataclasses.replace(
        old, metrics=metrics, files=files, accepted=(*old.accepted, *accepted)
    )


# The model itself ---------------------------------------------------------------------------------


def kept_folder(path: Path) -> Path:
    """Return where a baseline's model is kept: beside it."""
    return path.with_suffix(".model")


def keep_model(path: Path, folder: Path) -> None:
    """Copy what is needed to run the baseline's model again."""
    place, alone = kept_folder(path), model_file(folder)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as beside:
        fresh = Path(beside) / place.name
        fresh.mkdir()
        for name, file in (_parts_alone(alone) if alone.is_file() else _listed(folder)).items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, fresh / name)
        if place.exists():
            place.rename(Path(beside) / "old")
        fresh.rename(place)


def _listed(folder: Path) -> dict[str, Path]:
    """Return the files of an output folder that are kept, by their names in it."""
    listed = [file.name for file in read_certificate(folder / CERTIFICATE).files]
    return {name: folder / name for name in (*KEPT, *listed)}


def _parts_alone(path: Path) -> dict[str, Path]:
    """Return a file on its own and those that belong to it, by their names in a kept folder."""
    name = NAMES[path.suffix]
    room = path.parent.resolve()
    beside = {str(each.relative_to(room)): each for each in external_files(path)}
    parts = {each: path.with_name(each) for each in companions_of(path.name)}
    inside = Path(name).parent
    return {name: path, **beside, **{str(inside / each): file for each, file in parts.items()}}


def model_of(path: Path, record: Record, given: Path | None) -> Path:
    """Return the folder of a baseline's model; raise :class:`InputError` if it is not that."""
    folder = given or kept_folder(path)
    if not folder.exists():
        raise InputError(
            f"{path}: its model is not kept ({folder} is not there); give it by "
            f"--model, or keep it next time by --update --keep-model"
        )
    for name, file in record.files.items():
        made = file_of(folder, name)
        if not made.is_file() or whole_sha256(made) != file.sha256:
            raise InputError(f"{folder / name}: is not the file that {path.name} was measured of")
    return folder
