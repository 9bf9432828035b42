"""What this machine can do: every stage with what it needs, what is there and what is missing."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from toolchain.arm.sysroot import SYSTEMS, TOOLS
from toolchain.exporting.extra import PINS, lacking
from toolchain.system.caches import arm_cache, cache_folder
from toolchain.system.installation import checkout, how_to_get


@dataclass(frozen=True)
class Stage:
    """One thing that the toolchain does, and whether it can here."""

    name: str
    found: tuple[str, ...]
    """Packages and programs that are there, with their versions."""
    missing: tuple[str, ...]
    """What is not there, or does not work, and why."""
    remedy: str | None = None
    """How to get what is missing."""
    is_main: bool = False
    """Nothing goes without it."""

    @property
    def is_ready(self) -> bool:
        """True if nothing is missing."""
        return not self.missing


@dataclass(frozen=True)
class Readiness:
    """The machine, where the toolchain runs from, and all stages."""

    version: str
    python: str
    """Version and where it lies."""
    machine: str
    checkout: str | None
    """The folder that the code runs from; None where it was installed."""
    cache: str
    cache_bytes: int
    stages: tuple[Stage, ...]

    @property
    def can_do_main_job(self) -> bool:
        """True if it can shrink, prove and export to ONNX."""
        return all(stage.is_ready for stage in self.stages if stage.is_main)


SHRINKING = {
    "torch": "torch",
    "torch-pruning": "torch_pruning",
    "numpy": "numpy",
    "opencv-python-headless": "cv2",
    "safetensors": "safetensors",
}
"""Distributions, and the modules by which they are tried."""
EXPORTING = {
    "onnx": "onnx",
    "onnxscript": "onnxscript",
    "onnxruntime": "onnxruntime",
    "onnxsim": "onnxsim",
}


def look() -> Readiness:
    """Look at what is installed; the packages of the main job are loaded, others are not."""
    import toolchain

    root = checkout()
    return Readiness(
        toolchain.__version__,
        f"{platform.python_version()}, {sys.executable}",
        f"{platform.system()} on {platform.machine()}, {os.cpu_count()} cores",
        str(root) if root else None,
        str(cache_folder()),
        bytes_in(cache_folder()),
        tuple(_stages()),
    )


def _stages() -> Iterator[Stage]:
    yield _packages("prune and shrink", SHRINKING, is_main=True)
    yield _packages("export to ONNX, and its int8", EXPORTING, is_main=True)
    yield _converter()
    yield _extra("TFLite files on this machine", "ai-edge-litert", "arm")
    yield _emulation()
    yield _extra("compare with MNN", "MNN", "mnn")
    yield _programs("boards over ssh", ("ssh",), "Debian: apt install openssh-client")
    yield _extra("a sweep over a cluster", "ray", "ray")
    yield _extra("event files of a training", "tensorboard", "tensorboard")
    yield _gpu()
    yield _camera()
    yield _extra("the fixture of pytest", "pytest", None)


def _packages(name: str, packages: dict[str, str], *, is_main: bool) -> Stage:
    """Return a stage whose packages are loaded, for one that is there may not work."""
    found, missing = [], []
    for package, module in packages.items():
        try:
            importlib.import_module(module)
        except Exception as error:  # what other packages raise when they are loaded
            reason = " ".join(str(error).split()) or type(error).__name__
            missing.append(f"{package} ({reason})")
        else:
            found.append(f"{package} {_version(package) or 'of unknown version'}")
    return Stage(name, tuple(found), tuple(missing), how_to_get() if missing else None, is_main)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _extra(name: str, package: str, extra: str | None) -> Stage:
    version = _version(package)
    if version is not None:
        return Stage(name, (f"{package} {version}",), ())
    return Stage(name, (), (package,), how_to_get(extra) if extra else f"pip install {package}")


def _converter() -> Stage:
    versions = {package: _version(package) for package in PINS}
    found = tuple(f"{package} {version}" for package, version in versions.items() if version)
    trouble = lacking()
    if trouble is None:
        return Stage("export to TFLite, and its int8", found, ())
    wrong = tuple(
        package if versions[package] is None else f"{package} {wanted}"
        for package, wanted in PINS.items()
        if versions[package] != wanted
    )
    return Stage("export to TFLite, and its int8", found, wrong, how_to_get("tflite"))


def _programs(name: str, programs: tuple[str, ...], remedy: str) -> Stage:
    found = tuple(program for program in programs if shutil.which(program))
    missing = tuple(program for program in programs if program not in found)
    return Stage(name, found, missing, remedy if missing else None)


def _emulation() -> Stage:
    """Return whether boards can be emulated: what is fetched may be there, or can be fetched."""
    name, cache = "an emulated ARM board", arm_cache()
    made = [*cache.glob("host-*"), *cache.glob("root-*")]
    fetched = (f"QEMU and a system in {cache}",) if len(made) > 1 else ()
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        machine = "Linux on x86-64"
        return Stage(name, fetched, (machine,), "toolchain check --ssh takes a real board")
    packages = " ".join(TOOLS.values())
    tools = _programs(name, tuple(TOOLS), f"Debian 12: apt install {packages}")
    if fetched or not tools.is_ready:
        return Stage(name, (*fetched, *tools.found), tools.missing, tools.remedy)
    size = SYSTEMS["aarch64"].megabytes + 23
    return Stage(name, (*tools.found, f"{size} MB are fetched by setup-arm or the first check"), ())


def _gpu() -> Stage:
    """Return whether PyTorch sees a GPU; training alone makes use of one."""
    name = "training on a GPU"
    seen = _gpu_name()
    if seen:
        return Stage(name, (seen,), ())
    return Stage(name, (), ("a GPU that PyTorch sees",), "training runs on the CPU all the same")


def _gpu_name() -> str | None:
    try:
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else None
    except Exception:  # a build without CUDA, or a driver that does not answer
        return None


def _camera() -> Stage:
    """Return whether the live page can show a camera here."""
    cameras = tuple(str(path) for path in sorted(Path("/dev").glob("video*")))
    name = "the live page, from a camera here"
    if cameras:
        return Stage(name, cameras, ())
    return Stage(name, (), ("a camera (/dev/video0)",), "it shows videos and streams all the same")


def bytes_in(folder: Path) -> int:
    """Return what the files of a folder take; 0 if it is not there."""
    return sum(_size(path) for path in folder.rglob("*"))


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size if path.is_file() and not path.is_symlink() else 0
    except OSError:  # it has gone meanwhile
        return 0
