"""Install a bundle on a board, into the bundle's own folder; run by ``install.sh``.

    installed/venv-HASH   Python with the pinned packages; kept as long as they stay the same
    installed/app-HASH    the program and the model; its link ``venv`` is the environment
    current               a link to the app in use, changed last and at once

Nothing of an earlier installation is changed before the new one has found the same faces as the
build machine. What a run that was cut off has left is made again by the next. Needs the standard
library alone: the bundle brings pip.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

WHOLE = ".whole"
"""Written last into what is installed: without it, it is half made."""
RESERVE_BYTES = 20_000_000
"""Kept free beside what is installed: the programs' own cache."""


class InstallError(Exception):
    """What cannot go on; its message is one line that says what is wrong and what to do."""

    exit_code = 2


class DifferentError(InstallError):
    """What is installed does not do what it did on the build machine."""

    exit_code = 1


def read_manifest(here: Path) -> dict[str, Any]:
    """Return the bundle's list of files and what it is for."""
    try:
        manifest: dict[str, Any] = json.loads((here / "manifest.json").read_bytes())
        if manifest["schema"] != 1:
            raise InstallError(f"manifest.json has schema {manifest['schema']}; 1 is known here")
        for key in ("name", "board", "architecture", "glibc", "installed_bytes"):
            manifest[key]
        all(facts["sha256"] for facts in manifest["files"].values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InstallError(
            f"{here / 'manifest.json'} is missing or damaged ({type(error).__name__}); unpack the "
            "bundle again"
        ) from error
    return manifest


def check_machine(manifest: dict[str, Any]) -> None:
    """Raise :class:`InstallError` if the bundle is for another kind of machine."""
    machine, wanted = platform.machine(), manifest["architecture"]
    if machine != wanted:
        raise InstallError(
            f"this bundle is for {manifest['board']} ({wanted}), and here is {machine}; "
            f"{_instead(machine)}"
        )
    version = platform.libc_ver(sys.executable)[1] or platform.libc_ver()[1]
    if version and _numbers(version) < _numbers(manifest["glibc"]):
        raise InstallError(
            f"this bundle needs glibc {manifest['glibc']} or newer, and here is {version}: use a "
            "newer system"
        )


def _instead(machine: str) -> str:
    if machine == "aarch64":
        return "make one with toolchain bundle --target rpi4"
    if machine.startswith("arm"):
        return "install the 64-bit system, there are no packages for 32 bits"
    return "make one on such a machine with toolchain bundle --target local"


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def check_files(here: Path, files: dict[str, Any]) -> None:
    """Raise :class:`InstallError` naming the first file that is not as it was packed."""
    wrong = [(name, trouble) for name in sorted(files) if (trouble := _trouble(here, name, files))]
    if wrong:
        name, trouble = wrong[0]
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise InstallError(f"{name} {trouble}{more}; copy the bundle again and unpack it anew")


def _trouble(here: Path, name: str, files: dict[str, Any]) -> str | None:
    """Return what is wrong with a file, as the end of a sentence; None if nothing is."""
    path = here / name
    if ".." in Path(name).parts or Path(name).is_absolute():
        return "leads out of the bundle"
    if not path.is_file():
        return "is missing"
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return None if digest.hexdigest() == files[name]["sha256"] else "was changed or is damaged"


def check_space(here: Path, needed: int) -> None:
    """Raise :class:`InstallError` if what is to be installed does not fit."""
    free = shutil.disk_usage(here).free
    if free < needed + RESERVE_BYTES:
        raise InstallError(
            f"{here}: {(needed + RESERVE_BYTES) / 1e6:.0f} MB must be free to install, and "
            f"{free / 1e6:.0f} MB are; make room, or unpack the bundle on another disk"
        )


def make_environment(here: Path, manifest: dict[str, Any], target: Path) -> None:
    """Make a Python with the pinned packages, by the bundle's own pip."""
    shutil.rmtree(target, ignore_errors=True)
    builder = venv.EnvBuilder(symlinks=True, with_pip=False)
    builder.create(target)
    pip = next(here / name for name in manifest["files"] if name.startswith("wheels/pip-"))
    room = here / "installed" / ".tmp"
    room.mkdir(exist_ok=True)
    command = [str(target / "bin" / "python"), "-E", "-s", f"{pip}/pip", "install", "--quiet"]
    command += [
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
        "--no-compile",
        "--no-cache-dir",
    ]
    command += ["--no-input", "--disable-pip-version-check", "--no-warn-script-location"]
    if manifest["offline"]:
        command += ["--isolated", "--no-index", "--find-links", str(here / "wheels")]
    command += ["-r", str(here / "requirements.txt")]
    done = subprocess.run(
        command, env={**os.environ, "TMPDIR": str(room)}, stderr=subprocess.PIPE, check=False
    )
    shutil.rmtree(room, ignore_errors=True)
    if done.returncode:
        raise InstallError(_pip_trouble(done.stderr.decode(errors="replace"), manifest))


def _pip_trouble(said: str, manifest: dict[str, Any]) -> str:
    """Return pip's own reason on one line, and what helps."""
    if os.strerror(errno.ENOSPC) in said:
        return "the disk is full; make room, then run install.sh again"
    lines = [line for line in said.splitlines() if line.startswith("ERROR:")]
    reason = (lines or said.splitlines() or ["it says nothing"])[0][:300]
    helps = "copy the bundle again"
    if not manifest["offline"]:
        helps = "is the network there? toolchain bundle --offline packs what it needs"
    return f"pip cannot install the packages: {reason}; {helps}"


def copy_app(here: Path, manifest: dict[str, Any], target: Path, environment: Path) -> None:
    """Copy the program and the model, and link them to their environment."""
    shutil.rmtree(target, ignore_errors=True)
    for name in packed_app(manifest):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(here / "app" / name, target / name)
    (target / "venv").symlink_to(Path("..") / environment.name)
    (target / "model").symlink_to(manifest["model"]["file"])


def packed_app(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return what is told of the files below ``app``, by their names there."""
    files = manifest["files"].items()
    return {name[len("app/") :]: facts for name, facts in files if name.startswith("app/")}


def is_whole(target: Path, expected: str) -> bool:
    """Tell whether something was installed to its end, and of the same."""
    try:
        return (target / WHOLE).read_text() == expected
    except OSError:
        return False


def mark_whole(target: Path, expected: str) -> None:
    """Say that all is there, after it has reached the disk."""
    os.sync()
    (target / WHOLE).write_text(expected)


def self_test(app: Path) -> str:
    """Return what the self-test says; raise :class:`DifferentError` if it fails."""
    command = [str(app / "venv" / "bin" / "python"), "-E", "-s", str(app / "selftest.py")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise DifferentError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise DifferentError((lines or [f"the self-test ended with {done.returncode}"])[-1][:300])
    return done.stdout.strip()


def earlier_works(here: Path, app: Path) -> bool:
    """Tell whether another app is in use and passes its own test."""
    earlier = (here / "current").resolve()
    if earlier == app or not earlier.exists():
        return False
    try:
        self_test(earlier)
    except DifferentError:
        return False
    return True


def switch(here: Path, app: Path) -> None:
    """Let ``current`` be the app, in one step."""
    link = here / "installed" / ".current"
    link.unlink(missing_ok=True)
    link.symlink_to(Path("installed") / app.name)
    link.replace(here / "current")
    os.sync()


def sweep(here: Path, manifest: dict[str, Any], kept: tuple[Path, ...]) -> None:
    """Remove what earlier versions, or runs that were cut off, have left."""
    for entry in (here / "installed").iterdir():
        if entry not in kept:
            shutil.rmtree(entry, ignore_errors=True)
    for wheel in (here / "wheels").glob("*.whl"):
        if f"wheels/{wheel.name}" not in manifest["files"]:
            wheel.unlink()


def install(here: Path) -> None:
    """Do all; print a line for each step."""
    manifest = read_manifest(here)
    check_machine(manifest)
    check_files(here, manifest["files"])
    _say(f"{manifest['name']}: {len(manifest['files'])} files are as they were packed")
    requirements = (here / "requirements.txt").read_bytes()
    base = f"{sys.version} {os.path.realpath(sys.executable)}".encode()
    root = here / "installed"
    environment = root / f"venv-{_hash(requirements, base)}"
    app = root / f"app-{_hash((here / 'manifest.json').read_bytes(), environment.name.encode())}"
    root.mkdir(exist_ok=True)
    reused = is_whole(environment, environment.name)
    said = None
    if reused:
        copy_if_needed(here, manifest, app, environment)
        try:
            said = self_test(app)
        except DifferentError:
            if earlier_works(here, app):  # with the same packages: the new app is at fault
                raise
            _say("what was installed before does not work any more; it is made again")
            shutil.rmtree(app)
    if said is None:
        build(here, manifest, environment, app)
        said = self_test(app)
    switch(here, app)
    sweep(here, manifest, (environment, app))
    _say(said)
    _say(f"now: {here / 'detect'} photo.jpg --out found")


def build(here: Path, manifest: dict[str, Any], environment: Path, app: Path) -> None:
    """Make environment and app anew."""
    check_space(here, manifest["installed_bytes"])
    where = "this bundle" if manifest["offline"] else "the network"
    _say(f"installing {', '.join(manifest['packages'])} from {where}")
    try:
        make_environment(here, manifest, environment)
    except BaseException:  # it may have filled the disk
        shutil.rmtree(environment, ignore_errors=True)
        raise
    mark_whole(environment, environment.name)
    copy_if_needed(here, manifest, app, environment)


def copy_if_needed(here: Path, manifest: dict[str, Any], app: Path, environment: Path) -> None:
    """Copy the app unless it is there, as it was packed."""
    packed = packed_app(manifest)
    if is_whole(app, app.name) and not any(_trouble(app, name, packed) for name in packed):
        return
    copy_app(here, manifest, app, environment)
    mark_whole(app, app.name)


def uninstall(here: Path) -> None:
    """Remove what was installed; what was unpacked stays."""
    current, installed = here / "current", here / "installed"
    there = current.is_symlink() or installed.exists()
    current.unlink(missing_ok=True)
    if installed.exists():
        shutil.rmtree(installed)
    _say(f"{'removed' if there else 'nothing was installed'}; the bundle itself is {here}")


def _hash(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def _say(line: str) -> None:
    print(line, flush=True)


def _held(here: Path) -> int:
    """Hold the folder against a second run; it is free again when this process ends."""
    handle = os.open(here, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InstallError(f"{here}: another install.sh is at work there; wait for it") from error
    return handle


def main(arguments: list[str], here: Path) -> int:
    """Run; every error is one line."""
    try:
        _held(here)
        (uninstall if arguments == ["--uninstall"] else install)(here)
    except InstallError as error:
        print(f"install.sh: {error}", file=sys.stderr)
        return error.exit_code
    except (OSError, shutil.Error) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        place = getattr(error, "filename", None) or here
        print(f"install.sh: {place}: {reason}; then run install.sh again", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("install.sh: stopped; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().parent))
