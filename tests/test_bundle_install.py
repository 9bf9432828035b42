"""Installing a bundle: its own folder alone, twice, anew, cut off, damaged, for another board."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bundles import NAME, WORKS, install, pip_wheel, quick_pip, snapshot, unpack, write_bundle

OWN = (f"{NAME}/installed", f"{NAME}/current")
"""What an installation may make, in the folder where the bundle was unpacked."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that was unpacked and installed; copy it to change it."""
    root = tmp_path_factory.mktemp("installed")
    bundle = unpack(write_bundle(root / "made"), root / "board")
    done = install(bundle)
    assert (done.returncode, done.stderr) == (0, "")
    assert "works: 1\n" in done.stdout
    return bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle as it is unpacked."""
    return unpack(write_bundle(tmp_path / "made"), tmp_path / "board")


@pytest.fixture
def ready(installed: Path, tmp_path: Path) -> Path:
    """A copy of the one that is installed: the folder may be moved."""
    shutil.copytree(installed.parent, tmp_path / "moved", symlinks=True)
    return tmp_path / "moved" / NAME


def current(bundle: Path) -> str:
    return str((bundle / "current").readlink())


def model(bundle: Path) -> str:
    return (bundle / "current" / "model").read_text()


# What is made -------------------------------------------------------------------------------------


def test_what_is_installed_runs(installed: Path) -> None:
    done = subprocess.run(
        [str(installed / "detect"), "photo.jpg", "--json"], capture_output=True, text=True
    )
    assert done.stdout == f"detect {installed}/current/model photo.jpg --json\n"
    assert model(installed) == "model 1"


def test_nothing_else_is_touched(bundle: Path, tmp_path: Path) -> None:
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    before = snapshot(tmp_path)
    done = install(bundle, HOME=str(home), TMPDIR=str(temporary), XDG_CACHE_HOME=str(home / "c"))
    assert done.returncode == 0, done.stderr
    own = tuple(f"board/{name}" for name in OWN)
    assert snapshot(tmp_path, own) == before
    entries = {path.name.partition("-")[0] for path in (bundle / "installed").iterdir()}
    assert entries == {"app", "venv"}


def test_a_second_time_changes_nothing(ready: Path) -> None:
    before = snapshot(ready)
    done = install(ready)
    assert (done.returncode, done.stderr) == (0, "")
    assert "installing" not in done.stdout
    assert "works: 1\n" in done.stdout
    after = snapshot(ready)
    assert {name: after[name] for name in before} == before
    assert all(name.endswith(".pyc") for name in after.keys() - before.keys())


def test_uninstalling_leaves_what_was_unpacked(ready: Path, tmp_path: Path) -> None:
    done = install(ready, "--uninstall")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("removed; the bundle itself is ")
    fresh = unpack(write_bundle(tmp_path / "made"), tmp_path / "fresh")
    assert snapshot(ready) == snapshot(fresh)
    assert install(ready, "--uninstall").stdout.startswith("nothing was installed")
    refused = subprocess.run([str(ready / "detect"), "photo.jpg"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr == f"detect: nothing is installed; run {ready}/install.sh\n"


# Another bundle over it ---------------------------------------------------------------------------


def test_a_new_bundle_takes_the_place_of_the_old(ready: Path, tmp_path: Path) -> None:
    old = current(ready)
    unpack(write_bundle(tmp_path / "new", value=2), ready.parent)
    assert model(ready) == "model 1"  # what runs is not what was unpacked
    done = install(ready)
    assert (done.returncode, done.stderr) == (0, "")
    assert "works: 2\n" in done.stdout
    assert model(ready) == "model 2"
    assert current(ready) != old
    assert len(list((ready / "installed").iterdir())) == 2
    assert [path.name for path in (ready / "wheels").glob("made_up-*")] == [
        "made_up-2.0-py3-none-any.whl"
    ]


def test_a_new_model_alone_keeps_the_packages(ready: Path, tmp_path: Path) -> None:
    packages = [path.name for path in (ready / "installed").glob("venv-*")]
    unpack(write_bundle(tmp_path / "new", selftest=f"{WORKS}print('again')\n"), ready.parent)
    done = install(ready)
    assert "again" in done.stdout
    assert "installing" not in done.stdout
    assert [path.name for path in (ready / "installed").glob("venv-*")] == packages


@pytest.mark.parametrize("packages", [1, 2])
def test_one_that_does_not_work_leaves_the_old_one(
    packages: int, ready: Path, tmp_path: Path
) -> None:
    old = current(ready)
    packed = (ready / "current" / "venv").resolve().stat().st_ino
    wrong = "import sys; sys.exit('it does not do here what it did: 2 faces here, 3 there')\n"
    unpack(write_bundle(tmp_path / "new", value=packages, selftest=wrong), ready.parent)
    done = install(ready)
    assert done.returncode == 1
    assert done.stderr == ("install.sh: it does not do here what it did: 2 faces here, 3 there\n")
    assert ("installing" in done.stdout) == (packages == 2)
    assert current(ready) == old
    assert model(ready) == "model 1"
    assert (ready / "current" / "venv").resolve().stat().st_ino == packed  # never made anew


# Cut off ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["packages", "selftest"])
def test_what_was_cut_off_is_mended(moment: str, tmp_path: Path) -> None:
    """Killed in the midst, as when the current fails; nothing is taken for whole."""
    waiting = f"open({str(tmp_path / 'there')!r}, 'w').close()\nimport time; time.sleep(60)\n"
    if moment == "packages":
        archive = write_bundle(tmp_path / "slow", pip=quick_pip(tmp_path, waiting))
    else:
        archive = write_bundle(tmp_path / "slow", selftest=waiting)
    bundle = unpack(archive, tmp_path / "board")
    environment = {**os.environ, "PYTHON": sys.executable}
    running = subprocess.Popen(
        [str(bundle / "install.sh")], env=environment, start_new_session=True
    )
    until = time.monotonic() + 60
    while not (tmp_path / "there").exists() and running.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert not (bundle / "current").exists()
    unpack(write_bundle(tmp_path / "made"), bundle.parent)
    done = install(bundle)
    assert (done.returncode, done.stderr) == (0, "")
    assert "works: 1\n" in done.stdout
    assert "made again" not in done.stdout  # it is known to be half made
    assert len(list((bundle / "installed").iterdir())) == 2


@pytest.mark.parametrize("lost", ["lib/python*/site-packages/made_up.py", "bin/python"])
def test_what_was_lost_is_made_again(lost: str, ready: Path) -> None:
    (path,) = next((ready / "installed").glob("venv-*")).glob(lost)
    path.unlink()
    done = install(ready)
    assert (done.returncode, done.stderr) == (0, "")
    assert "made again" in done.stdout
    assert "works: 1\n" in done.stdout


def test_an_installed_model_that_was_changed_is_copied_again(ready: Path) -> None:
    (ready / "current" / "model.onnx").write_text("other")
    assert install(ready).returncode == 0
    assert model(ready) == "model 1"


def test_two_at_once_are_told(ready: Path) -> None:
    handle = os.open(ready, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        done = install(ready)
    finally:
        os.close(handle)
    assert done.returncode == 2
    assert done.stderr == f"install.sh: {ready}: another install.sh is at work there; wait for it\n"


# What does not fit --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architecture": "riscv64", "board": "A board"},
            "this bundle is for A board (riscv64), and here is ",
        ),
        ({"glibc": "9.1"}, "this bundle needs glibc 9.1 or newer, and here is "),
        ({"installed_bytes": 10**15}, "1000000020 MB must be free to install, and "),
        ({"schema": 2}, "manifest.json has schema 2; 1 is known here"),
        ({"python": "3.2"}, "this bundle is for Python 3.2 ("),
        ({"files": 3}, "manifest.json is missing or damaged (AttributeError)"),
        ({"files": {"../x": {"sha256": ""}}}, "../x leads out of the bundle"),
    ],
)
def test_what_does_not_fit_is_told(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    bundle = unpack(write_bundle(tmp_path / "made", **changes), tmp_path / "board")
    before = snapshot(tmp_path)
    done = install(bundle)
    assert done.returncode == 2
    assert done.stderr.startswith("install.sh: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (bundle / "current").exists()
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", ["app/model.onnx", "wheels/made_up-1.0-py3-none-any.whl"])
def test_a_flipped_byte_is_told(name: str, bundle: Path) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(data)
    done = install(bundle)
    assert done.returncode == 2
    assert done.stderr == (
        f"install.sh: {name} was changed or is damaged; copy the bundle again and unpack it anew\n"
    )


def test_missing_files_are_told(bundle: Path) -> None:
    (bundle / "requirements.txt").unlink()
    (bundle / "app" / "model.onnx").unlink()
    assert "app/model.onnx is missing (and 1 more); copy" in install(bundle).stderr
    (bundle / "manifest.json").write_text("{")
    assert "manifest.json is missing or damaged; unpack the bundle again" in install(bundle).stderr


def test_no_python_is_told(bundle: Path, tmp_path: Path) -> None:
    for tool in ("dirname", "sed"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or tool)
    done = install(bundle, PATH=str(tmp_path), PYTHON="")
    assert done.returncode == 2
    assert "(no python3 is here); install python3" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("options", [("--service", "--cpus", "a"), ("--wings",)])
def test_wrong_options_install_nothing(options: tuple[str, ...], bundle: Path) -> None:
    done = install(bundle, *options)
    assert done.returncode == 2
    assert options[-1] in done.stderr or "must be processors" in done.stderr
    assert not (bundle / "installed").exists()


def test_help_tells_the_options(bundle: Path) -> None:
    done = install(bundle, "--help")
    assert done.returncode == 0
    assert "install.sh --uninstall" in done.stdout


@pytest.mark.slow
def test_without_its_wheels_and_without_a_network(tmp_path: Path) -> None:
    archive = write_bundle(tmp_path / "made", pip=pip_wheel(), offline=False)
    bundle = unpack(archive, tmp_path / "board")
    done = install(bundle, PIP_INDEX_URL="http://127.0.0.1:9/", PIP_RETRIES="0", PIP_TIMEOUT="1")
    assert done.returncode == 2
    assert "pip cannot install the packages: ERROR: " in done.stderr
    assert "is the network there? toolchain bundle --offline packs" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (bundle / "current").exists()
