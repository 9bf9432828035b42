"""What a bundle is for: the machine, its Python, and the packages it gets."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.arm.sysroot import SYSTEMS, pinned_version
from toolchain.arm.targets import Target, find_target
from toolchain.errors import InputError
from toolchain.system.fetching import download_wheels
from toolchain.system.files import digest_of, made_beside

LOCAL = "local"
PIP = "pip==25.3"
"""What installs the others there: a bare system has no pip of its own."""
RUNTIMES = {".onnx": "onnxruntime", ".tflite": "ai-edge-litert", ".param": "ncnn"}
"""By the suffix of a file; for 64 bits all boards have the same."""
LIBC_OF_2014 = (2, 17)
"""What the tag manylinux2014 stands for."""


@dataclass(frozen=True)
class Destination:
    """A kind of machine."""

    key: str
    name: str
    architecture: str
    """As ``platform.machine()`` tells it there."""
    python: str
    """The version of Python, as ``3.11``."""
    platforms: tuple[str, ...]
    """Tags of wheels that fit; none for this machine."""
    board: Target | None
    """None for this machine."""

    def requirements(self, suffix: str) -> tuple[str, ...]:
        """Return what runs a file with the suffix, pinned."""
        packages = ("numpy", "opencv-python-headless", RUNTIMES[suffix])
        return tuple(f"{name}=={pinned_version(name, 'aarch64')}" for name in packages)


def find_destination(key: str, targets: Path | None, python: str | None) -> Destination:
    """Return a board, or this machine; raise :class:`InputError` where nothing could be installed.

    ``python`` is in place of the Python that the system has by itself.
    """
    if python is not None and not re.fullmatch(r"3\.\d{1,2}", python):
        raise InputError(f"--python must be a version like 3.11 (got {python})")
    if key == LOCAL:
        own = python or f"{sys.version_info.major}.{sys.version_info.minor}"
        return Destination(LOCAL, "this kind of machine", platform.machine(), own, (), None)
    board = find_target(key, targets)
    if board.architecture != "aarch64":
        raise InputError(
            f"{board.name}: there are no wheels of OpenCV for 32 bits; give the board a 64-bit "
            "system, and use --target rpi3 or rpi4"
        )
    tags = SYSTEMS[board.architecture].platforms
    return Destination(key, board.name, board.architecture, python or board.python, tags, board)


def fetch_wheels(destination: Destination, suffix: str, cache: Path) -> tuple[Path, ...]:
    """Return the wheels of pip and of what runs the file, fetched once, sorted by name."""
    requirements = (*destination.requirements(suffix), PIP)
    parts = (*requirements, destination.python, destination.architecture, *destination.platforms)
    place = cache.absolute() / f"wheels-{digest_of({'parts': parts})[:12]}"
    try:
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            with made_beside(place) as folder:
                download_wheels(folder, requirements, destination.python, destination.platforms)
        wheels = tuple(sorted(place.glob("*.whl")))
    except OSError as error:
        raise InputError(f"{cache}: cannot be written ({error.strerror or error})") from error
    return wheels


def needed_libc(wheels: Sequence[Path]) -> str:
    """Return the oldest GNU C library that all wheels run with, as ``2.28``."""
    needed = [min(found) for wheel in wheels if (found := _libcs(wheel.name))]
    return ".".join(map(str, max(needed, default=LIBC_OF_2014)))


def _libcs(name: str) -> list[tuple[int, int]]:
    old = [LIBC_OF_2014] if "manylinux2014_" in name else []
    return old + [(int(a), int(b)) for a, b in re.findall(r"manylinux_(\d+)_(\d+)_", name)]
