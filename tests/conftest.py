"""Fixtures that many tests share."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import secrets
import shutil
import signal
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from toolchain.train.processor import keep_gradients_right

if TYPE_CHECKING:
    from toolchain.arm.sysroot import Sysroot

keep_gradients_right()  # before PyTorch is loaded, as the command line does it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as nohup leaves it, and programs inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A machine with other work on it draws slowly, which says nothing of the code.
settings.register_profile(
    "shared machine", suppress_health_check=[HealthCheck.too_slow], deadline=None
)
settings.load_profile("shared machine")

os.environ.setdefault("SURGERY_SEED", str(secrets.randbelow(2**32)))  # workers inherit it
ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.setdefault("TOOLCHAIN_CACHE", str(ROOT / ".cache")))
ARM_CACHE = CACHE / "arm"
"""What emulation needs, and earlier checks."""


def pytest_report_header() -> str:
    return f"new random networks: SURGERY_SEED={os.environ['SURGERY_SEED']} runs the same ones"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests first, so that two workers end at about the same time."""
    first = {item.path for item in items if item.get_closest_marker("long")}
    items.sort(key=lambda item: item.path not in first)


def _shared() -> Path:
    return Path(os.environ.get("TOOLCHAIN_SHARED", ROOT.parent / "shared"))


@pytest.fixture
def quick_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare latencies for a moment only: tests do not look at the time."""
    from toolchain.workflows.stages import measuring

    brief = functools.partial(measuring.compare_latency, seconds=0.1)
    monkeypatch.setattr(measuring, "compare_latency", brief)


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos as a stranger's folder holds them; it is only read."""
    from recoveries import pictures_in

    place = tmp_path_factory.mktemp("photos")
    pictures_in(place)
    return place


@pytest.fixture
def home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a stranger's network and its weights in it."""
    from recoveries import home_in

    return home_in(tmp_path, monkeypatch)


def _made_of() -> str:
    """Name all that what tests share is made of: this code, Python, and the packages."""
    digest = hashlib.sha256(sys.version.encode())
    shared = [ROOT / "tests" / f"{name}.py" for name in ("exports", "surgeries", "lineages")]
    for folder in ("toolchain", "deploy", "recipes"):
        shared += [path for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts]
    for path in sorted(path for path in shared if path.is_file()):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    packages = Path(sysconfig.get_path("purelib")).glob("*.dist-info")
    digest.update(" ".join(sorted(path.name for path in packages)).encode())
    return digest.hexdigest()[:16]


@pytest.fixture(scope="session")
def kept() -> Path:
    """What tests share that takes long to make: all workers, and runs of the same code."""
    place = CACHE / "tests" / _made_of()
    place.mkdir(parents=True, exist_ok=True)
    os.utime(place)
    for other in place.parent.iterdir():
        if other.stat().st_mtime < time.time() - 24 * 3600:  # of code that has changed since
            shutil.rmtree(other, ignore_errors=True)
    return place


@pytest.fixture(scope="session", autouse=True)
def _once(kept: Path) -> Iterator[None]:
    """Make each export and surgery of a detector once, and look up operators once a process."""
    if "torch" not in sys.modules:  # nothing that was collected exports
        yield
        return
    import exports
    import surgeries
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    from toolchain.exporting import onnx_file
    from toolchain.surgery import removing
    from toolchain.workflows.stages import shrinking

    folders = [kept / name for name in ("exports", "surgeries")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    table, cut = functools.cache(ONNXRegistry.from_torchlib), surgeries.kept_in(folders[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_file, "_export", exports.kept_in(folders[0]))
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(table))
        patch.setattr(removing, "cut", cut)
        patch.setattr(shrinking, "cut", cut)
        yield


@pytest.fixture
def afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut and export as it is done outside tests, each time anew."""
    import exports
    import surgeries

    monkeypatch.setattr("toolchain.exporting.onnx_file._export", exports.REAL)
    monkeypatch.setattr("toolchain.surgery.removing.cut", surgeries.REAL)
    monkeypatch.setattr("toolchain.workflows.stages.shrinking.cut", surgeries.REAL)


@pytest.fixture(scope="session")
def made(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder of a small shrink, ONNX and its int8, certified; not to be changed."""
    from lineages import make_folder

    with (kept / "lineage.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        if not (kept / "lineage").exists():
            beside, half = tmp_path_factory.mktemp("lineage"), kept / "half"
            make_folder(beside)
            shutil.rmtree(half, ignore_errors=True)  # of a run that was killed
            shutil.move(beside, half)
            half.rename(kept / "lineage")
    return kept / "lineage" / "out"


@pytest.fixture(scope="session")
def ready() -> Sysroot:
    """What the emulation of a 64-bit board needs; skips where it cannot be fetched."""
    from toolchain.arm.sysroot import prepare
    from toolchain.arm.targets import find_target
    from toolchain.errors import InputError

    try:
        return prepare(find_target("rpi4"), ARM_CACHE, lambda _name: None)
    except InputError as error:
        pytest.skip(f"no emulation here: {error}")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference weights and photos; tests that need it skip where it is not."""
    folder = _shared()
    if not folder.is_dir():
        pytest.skip(f"reference material is not there ({folder}); set TOOLCHAIN_SHARED")
    return folder


@pytest.fixture(scope="session")
def photos(shared: Path) -> list[Path]:
    """Real photos, sorted by name."""
    return sorted((shared / "wider" / "WIDER_val" / "images").rglob("*.jpg"))
