"""Fixtures that many tests share."""

from __future__ import annotations

import fcntl
import functools
import os
import secrets
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from toolchain.train.processor import keep_gradients_right

if TYPE_CHECKING:
    from toolchain.arm.sysroot import Sysroot

keep_gradients_right()  # before PyTorch is loaded, as the command line does it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as nohup leaves it, and programs inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("SURGERY_SEED", str(secrets.randbelow(2**32)))  # workers inherit it
ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.setdefault("TOOLCHAIN_CACHE", str(ROOT / ".cache")))
ARM_CACHE = CACHE / "arm"
"""What emulation needs, and earlier checks."""


def pytest_report_header() -> str:
    return f"new random networks: SURGERY_SEED={os.environ['SURGERY_SEED']} runs the same ones"


def _shared() -> Path:
    return Path(os.environ.get("TOOLCHAIN_SHARED", ROOT.parent / "shared"))


@pytest.fixture
def quick_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare latencies for a moment only: tests do not look at the time."""
    from toolchain.workflows.stages import measuring

    brief = functools.partial(measuring.compare_latency, seconds=0.1)
    monkeypatch.setattr(measuring, "compare_latency", brief)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder of a small shrink, ONNX and its int8, certified; not to be changed."""
    from chains import make_folder

    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # of all workers: the first makes it
    with (root / "chain.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        if not (root / "chain").exists():
            beside = tmp_path_factory.mktemp("chain")
            make_folder(beside)
            beside.rename(root / "chain")
    return root / "chain" / "out"


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
