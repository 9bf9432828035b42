"""Files: hashing, and writing beside and moving into place."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from toolchain.errors import InputError


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def output_folder(target: Path) -> Iterator[Path]:
    """Give a new folder beside ``target`` that takes its place when the block succeeds.

    An earlier ``target`` is replaced as a whole, and only if it holds nothing or a manifest of
    ours. When the block fails, ``target`` is as it was. Raises :class:`InputError` where it cannot
    be written.
    """
    target = target.resolve()  # a link stays, what it points to is replaced
    try:
        _check_replaceable(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(
            tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        )
    except OSError as error:
        raise InputError(
            f"cannot write to {target.parent}: {error.strerror}; choose another folder by --out"
        ) from error
    try:
        yield beside
        beside.chmod(0o755)
        _swap(beside, target)
    except Exception as error:
        if disk_is_full(error):
            raise InputError(_full(target, beside)) from error
        if isinstance(error, OSError):
            raise InputError(f"cannot write {target}: {error.strerror or error}") from error
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def disk_is_full(error: BaseException | None) -> bool:
    """Tell whether an error, or one that led to it, is that of a disk without room.

    Libraries in C++ and Rust have errors of their own for it, which are known by their words.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error) or "Disk quota exceeded" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _full(target: Path, beside: Path) -> str:
    """Say that the disk is full, how much was written, and how much room there is without that."""
    written = sum(path.stat().st_size for path in beside.rglob("*") if path.is_file())
    shutil.rmtree(beside, ignore_errors=True)
    room = shutil.disk_usage(target.parent).free
    return (
        f"cannot write {target}: the disk is full; {written / 1e6:.1f} MB were written and more is "
        f"needed, {room / 1e6:.1f} MB are free; make room, or choose another folder by --out"
    )


@contextlib.contextmanager
def made_beside(target: Path) -> Iterator[Path]:
    """Give a folder that becomes ``target`` when the block succeeds, or another was faster."""
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield folder
        folder.chmod(0o755)
        with contextlib.suppress(OSError):  # it is there: another run was faster
            folder.rename(target)
        if not target.exists():
            raise OSError(f"{target} was not made")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_replaceable(target: Path) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"{target} is a file; --out must name a folder")
    if any(target.iterdir()) and not _is_ours(target / "manifest.json"):
        raise InputError(
            f"{target} holds files that are not the toolchain's (no manifest.json of its own); "
            f"choose an empty or a new folder by --out"
        )


def _is_ours(manifest: Path) -> bool:
    """Return whether the pipeline wrote this manifest; others have a manifest.json too."""
    try:
        content = json.loads(manifest.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and str(content.get("tool", "")).startswith("toolchain ")


def _swap(beside: Path, target: Path) -> None:
    if target.exists():
        old = beside.with_suffix(".old")
        target.rename(old)
        try:
            beside.rename(target)
        except OSError:
            old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    else:
        beside.rename(target)


def as_json(content: object) -> bytes:
    """Return what a JSON file holds; raises ValueError for figures that are no numbers."""
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


def digest_of(content: Mapping[str, object]) -> str:
    """Return the SHA-256 of what JSON says, in hex, whatever its spaces and order of keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def held_alone(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock file; raise :class:`InputError` with ``busy`` if another process does."""
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(busy) from error
        yield


def without_infinities(content: object) -> object:
    """Return nested mappings and sequences with None for every figure that JSON cannot hold."""
    if isinstance(content, Mapping):
        return {key: without_infinities(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_infinities(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file beside ``path`` and rename it into place."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
