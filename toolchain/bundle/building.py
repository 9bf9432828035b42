"""Making a bundle: choose, fetch, run here, pack."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import toolchain
from toolchain.arm.comparing import recipe_of
from toolchain.bench.feeds import Told
from toolchain.bundle.alone import Ready, made_ready
from toolchain.bundle.archive import write_archive
from toolchain.bundle.choosing import Choice, choose
from toolchain.bundle.contents import (
    Files,
    decoder_files,
    expected_files,
    licence_files,
    listed,
    model_files,
    place_of,
    program_files,
    requirements_file,
    unpacked_bytes,
)
from toolchain.bundle.destination import Destination, fetch_wheels, needed_libc
from toolchain.errors import InputError
from toolchain.recipe import Recipe
from toolchain.records.run_folder import name_of
from toolchain.system.files import as_json, sha256_of

SCHEMA = 1


@dataclass(frozen=True)
class Bundle:
    """An archive that was made, and what is in it."""

    path: str
    name: str
    """The folder's name in the archive."""
    target: str
    model: str
    why: str
    """Why this file."""
    packages: tuple[str, ...]
    python: str
    offline: bool
    faces: int
    """That the model finds on the bundle's photo; 0 of other tasks."""
    found: str
    """What it finds there, in words; empty if only its outputs are compared."""
    size_bytes: int
    sha256: str


def make_bundle(
    folder: Path,
    destination: Destination,
    runtime: str | None,
    offline: bool,
    out: Path,
    cache: Path,
    on_stage: Callable[[str], None],
    decoder: str | None = None,
) -> Bundle:
    """Write ``out/NAME.tar.gz``; the same input gives the same bytes.

    ``decoder`` is the user's own ``file.py:function`` that finds the boxes there.

    Raises :class:`InputError` where the folder is none of ``shrink``, or wheels cannot be fetched.
    """
    choice = choose(folder, destination, runtime, cache)
    name, own = folder.resolve().name, decoder_files(decoder, choice.path, recipe_of(folder))
    return _made(name, choice, None, own, destination, offline, out, cache, on_stage)


def bundle_file(
    path: Path,
    recipe: Recipe | None,
    told: Told,
    destination: Destination,
    offline: bool,
    out: Path,
    cache: Path,
    on_stage: Callable[[str], None],
    decoder: str | None = None,
) -> Bundle:
    """Do the same with a file on its own; ``recipe`` says how it is fed and what it gives.

    Raises as :func:`made_ready` does, too.
    """
    name = path.parent.resolve().name if path.suffix == ".param" else path.stem
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / "model"
        folder.mkdir()
        ready = made_ready(path, recipe, told, folder)
        choice = Choice(ready.path, "the file that was given")
        try:
            own = decoder_files(decoder, path, ready.recipe)
            return _made(name, choice, ready, own, destination, offline, out, cache, on_stage)
        except InputError as error:  # of the copy, which nobody knows
            raise InputError(str(error).replace(str(ready.path), str(path))) from error


def _made(
    called: str,
    choice: Choice,
    ready: Ready | None,
    own: Files,
    destination: Destination,
    offline: bool,
    out: Path,
    cache: Path,
    on_stage: Callable[[str], None],
) -> Bundle:
    """Write the archive of a file that was chosen, or of one that was made ready."""
    on_stage(f"run {name_of(choice.path)} on the bundle's input")
    expected, found = expected_files(choice.path, ready.recipe if ready else None)
    on_stage("fetch the wheels that are not there yet")
    wheels = fetch_wheels(destination, choice.path.suffix, cache)
    packages = destination.requirements(choice.path.suffix)
    pip = [wheel for wheel in wheels if wheel.name.startswith("pip-")]
    packed = wheels if offline else pip
    files: Files = {
        **program_files(),
        **model_files(choice.path, ready.card if ready else None),
        **expected,
        **own,
        "requirements.txt": requirements_file(wheels, packages),
        **licence_files(packed),
        **{f"wheels/{wheel.name}": wheel for wheel in packed},
    }
    name = _name(called, destination)
    manifest = {
        "tool": f"toolchain {toolchain.__version__}",
        "schema": SCHEMA,
        "name": name,
        "board": destination.name,
        "architecture": destination.architecture,
        "python": destination.python,
        "glibc": needed_libc(wheels),
        "packages": list(packages),
        "offline": offline,
        "installed_bytes": unpacked_bytes([wheel for wheel in wheels if wheel not in pip]),
        "model": {"file": place_of(choice.path), "why": choice.why},
        "files": listed(files),
    }
    on_stage("pack")
    path = _packed(out, name, files | {"manifest.json": as_json(manifest)})
    return Bundle(
        str(path),
        name,
        destination.key,
        name_of(choice.path),
        choice.why,
        packages,
        destination.python,
        offline,
        found.faces,
        found.words,
        path.stat().st_size,
        sha256_of(path),
    )


def _name(called: str, destination: Destination) -> str:
    """Return what the folder in the archive is called, and the service with it."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", f"{called}-{destination.key}").lstrip("-.")


def _packed(out: Path, name: str, files: Files) -> Path:
    target = out / f"{name}.tar.gz"
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_archive(target, name, files)
    except OSError as error:
        raise InputError(
            f"{target}: cannot be written ({error.strerror or error}); choose another folder by "
            "--out"
        ) from error
    return target
