"""A folder of results that belongs to one run: claimed, and what it is of is held to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolchain.errors import InputError
from toolchain.system.files import held_alone, write_bytes


@contextmanager
def claimed(folder: Path, identity: Mapping[str, Any], results: str) -> Iterator[None]:
    """Hold a folder for this run alone, and see that its ``results`` are those of ``identity``.

    Raises :class:`InputError` where another run is at work, or was of something else.
    """
    with writing(folder, 0):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "lock").touch()
    busy = f"{folder}: another run is at work here; wait for it, or choose another --out"
    with held_alone(folder / "lock", busy):
        _check_identity(folder, identity, results)
        yield


def _check_identity(folder: Path, identity: Mapping[str, Any], results: str) -> None:
    path = folder / "run.json"
    wanted = json.loads(json.dumps(identity))
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path}: is no record of a run; delete {folder}") from error
        if found != wanted:
            raise InputError(
                f"{folder} holds {results} of another run ({_first_difference(found, wanted)}); "
                f"choose another --out, or delete the folder"
            )
        return
    with writing(folder, 0):
        write_bytes(path, json.dumps(wanted, indent=2, sort_keys=True).encode())


def _first_difference(found: Any, wanted: Any, path: str = "") -> str:
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted({*found, *wanted}):
            if found.get(key) != wanted.get(key):
                inner = f"{path}.{key}" if path else key
                return _first_difference(found.get(key), wanted.get(key), inner)
    return f"{path} was {found}, is {wanted} now"


@contextmanager
def writing(folder: Path, done: int) -> Iterator[None]:
    """Turn an error of the file system into one line."""
    try:
        yield
    except OSError as error:
        kept = f"; {done} photos are done and kept, the same command goes on there" if done else ""
        raise InputError(
            f"{folder}: cannot be written ({error.strerror or error}){kept}"
        ) from error
