"""A small bundle whose packages and program are made up, for the tests that install one."""

from __future__ import annotations

import ensurepip
import hashlib
import os
import platform
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolchain.bundle.archive import write_archive
from toolchain.bundle.contents import INSTALLER, listed, requirements_file
from toolchain.system.files import as_json

NAME = "small-local"
PROGRAM = "import sys; print('detect', *sys.argv[1:])\n"
WORKS = "import made_up; print(f'works: {made_up.VALUE}')\n"


def write_wheel(folder: Path, value: int) -> Path:
    """A wheel of the package ``made-up``, version ``value``.0."""
    path = folder / f"made_up-{value}.0-py3-none-any.whl"
    info = f"made_up-{value}.0.dist-info"
    record = f"made_up.py,,\n{info}/METADATA,,\n{info}/RECORD,,\n"
    return _zipped(
        path,
        {
            "made_up.py": f"VALUE = {value}\n",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: made-up\nVersion: {value}.0\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/licenses/LICENSE.txt": "Do as you like.\n",
            f"{info}/RECORD": record,
        },
    )


def _zipped(path: Path, files: Mapping[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)  # without the time of day
    return path


def pip_wheel() -> Path:
    """The wheel of pip that this Python brings."""
    places = [Path(ensurepip.__file__).parent / "_bundled", Path("/usr/share/python-wheels")]
    return next(path for place in places for path in sorted(place.glob("pip-*.whl")))


QUICK_PIP = """
import pathlib, sys, sysconfig, tempfile, zipfile
tempfile.mkstemp()
if "--no-index" not in sys.argv:
    sys.exit("ERROR: no network")
links = pathlib.Path(sys.argv[sys.argv.index("--find-links") + 1])
version = pathlib.Path(sys.argv[-1]).read_text().partition("==")[2].split()[0]
wheel = zipfile.ZipFile(links / f"made_up-{version}-py3-none-any.whl")
wheel.extractall(sysconfig.get_path("purelib"))
"""
"""Unpacks what the real one would, which takes seconds to start."""


def quick_pip(folder: Path, program: str = QUICK_PIP) -> Path:
    """A wheel in place of pip's."""
    return _zipped(folder / "pip-0-py3-none-any.whl", {"pip/__main__.py": program})


def write_bundle(
    folder: Path,
    value: int = 1,
    selftest: str = WORKS,
    pip: Path | None = None,
    program: str = PROGRAM,
    **changes: Any,
) -> Path:
    """Write the archive; ``changes`` are fields of its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel, pip = write_wheel(folder, value), pip or quick_pip(folder)
    programs = ("install.sh", "install.py", "service.py", "detect", "README.md")
    files: dict[str, bytes | Path] = {name: INSTALLER / name for name in programs}
    files |= {
        "app/selftest.py": selftest.encode(),
        "app/model.onnx": b"model %d" % value,
        "app/deploy/detect.py": program.encode(),
        "requirements.txt": requirements_file([wheel], [f"made-up=={value}.0"]),
        f"wheels/{wheel.name}": wheel,
        f"wheels/{pip.name}": pip,
    }
    manifest = {
        "tool": "toolchain test",
        "schema": 1,
        "name": NAME,
        "board": "this kind of machine",
        "architecture": platform.machine(),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "glibc": "2.17",
        "packages": [f"made-up=={value}.0"],
        "offline": True,
        "installed_bytes": 1000,
        "model": {"file": "model.onnx", "why": "it is the only one"},
        "files": listed(files),
    }
    target = folder / f"{NAME}-{value}.tar.gz"
    write_archive(target, NAME, files | {"manifest.json": as_json(manifest | changes)})
    return target


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack as the user would; return the bundle's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "xf", str(archive)], cwd=folder, check=True, stderr=subprocess.PIPE)
    return folder / NAME


def install(bundle: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``install.sh`` with this Python."""
    return subprocess.run(
        [str(bundle / "install.sh"), *options],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHON": sys.executable} | environment,
        timeout=300,
        check=False,
    )


def snapshot(folder: Path, left_out: tuple[str, ...] = ()) -> Mapping[str, str]:
    """Hashes of all files below a folder, and where its links point."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(left_out):
            continue
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def members(archive: Path) -> dict[str, tarfile.TarInfo]:
    """What an archive holds, by name."""
    with tarfile.open(archive) as opened:
        return {entry.name: entry for entry in opened.getmembers()}
