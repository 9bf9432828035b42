"""Making a bundle: what is refused, what the archive holds, real installations."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from bundles import install, members, write_wheel
from conftest import ARM_CACHE

from toolchain.arm import checking
from toolchain.arm.sysroot import Sysroot
from toolchain.arm.targets import Target, find_target
from toolchain.bundle import building
from toolchain.bundle import destination as destinations
from toolchain.bundle.archive import write_archive
from toolchain.bundle.contents import licence_files, program_files
from toolchain.bundle.destination import find_destination, needed_libc
from toolchain.cli import run as run_cli
from toolchain.errors import InputError
from toolchain.system.files import sha256_of

LOCAL = find_destination("local", None, None)
RPI4 = find_destination("rpi4", None, None)


@pytest.fixture
def quick_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Wheels of the right names that hold next to nothing, in place of those of the network."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    made = write_wheel(folder, 1)
    found = []
    for name in ("numpy", "onnxruntime", "opencv_python_headless", "pip"):
        path = folder / f"{name}-1.0-cp311-cp311-manylinux_2_27_x.manylinux_2_28_x.whl"
        shutil.copyfile(made, path)
        found.append(path)
    made.unlink()
    monkeypatch.setattr(building, "fetch_wheels", lambda *_: tuple(found))
    return found


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "rpi9"], "there is no such board"),
        (["--target", "rpi4-32"], "there are no wheels of OpenCV for 32 bits"),
        (["--python", "4"], "--python must be a version like 3.11 (got 4)"),
        (["--runtime", "litert"], "has no .tflite file for --runtime litert; make one by shrink"),
        (["--runtime", "tensorrt"], "--runtime"),
    ],
)
def test_what_cannot_be_is_told(
    options: list[str],
    message: str,
    made: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert run_cli(["bundle", str(made), *options, "--out", str(out)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert message in said[-1]
    assert not out.exists()


def test_no_output_folder_is_told(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(["bundle", str(tmp_path), "--target", "local"]) == 2
    assert "give an output folder of toolchain shrink" in capsys.readouterr().err
    changed = tmp_path / "changed"
    shutil.copytree(made, changed)
    with (changed / "model.onnx").open("ab") as stream:
        stream.write(b"x")
    assert run_cli(["bundle", str(changed), "--target", "local"]) == 2
    assert "was changed after it was made" in capsys.readouterr().err


def test_wheels_that_cannot_be_fetched_leave_nothing(
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object) -> None:
        raise InputError("pip cannot fetch the board's wheels: no")

    monkeypatch.setattr(destinations, "download_wheels", refuse)
    cache, out = tmp_path / "cache", tmp_path / "out"
    words = ["bundle", str(made), "--cache", str(cache), "--out", str(out)]
    assert run_cli(words) == 2
    assert "pip cannot fetch" in capsys.readouterr().err
    assert list(cache.iterdir()) == []
    assert not out.exists()
    (tmp_path / "file").touch()
    assert run_cli(["bundle", str(made), "--cache", str(tmp_path / "file"), "--out", str(out)]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_told(
    made: Path, tmp_path: Path, quick_wheels: list[Path]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written .*; choose another folder by --out"):
        building.make_bundle(
            made, LOCAL, None, True, tmp_path / "file", tmp_path, lambda _name: None
        )


# The archive --------------------------------------------------------------------------------------


def test_an_archive_is_the_same_every_time(
    made: Path, tmp_path: Path, quick_wheels: list[Path]
) -> None:
    digests = set()
    for name in ("one", "two"):
        found = building.make_bundle(
            made, LOCAL, None, True, tmp_path / name, tmp_path, lambda _name: None
        )
        assert Path(found.path) == tmp_path / name / "out-local.tar.gz"
        assert found.sha256 == sha256_of(Path(found.path))
        digests.add(found.sha256)
    assert len(digests) == 1
    assert [path.name for path in (tmp_path / "two").iterdir()] == ["out-local.tar.gz"]


def test_what_an_archive_holds(made: Path, tmp_path: Path, quick_wheels: list[Path]) -> None:
    sizes = {}
    for offline in (True, False):
        found = building.make_bundle(
            made, RPI4, None, offline, tmp_path, tmp_path / "none", lambda _name: None
        )
        entries = members(Path(found.path))
        with tarfile.open(found.path) as archive:
            archive.extractall(tmp_path / str(offline), filter="data")
        root = tmp_path / str(offline) / "out-rpi4"
        manifest = json.loads((root / "manifest.json").read_text())
        there = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
        assert there == {*manifest["files"], "manifest.json"}
        for name, facts in manifest["files"].items():
            data = (root / name).read_bytes()
            assert facts == {
                "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()
            }  # fmt: skip
        modes = {entry.mode for name, entry in entries.items() if name.endswith("install.sh")}
        assert modes == {0o755}
        assert {(entry.uid, entry.mtime, entry.uname) for entry in entries.values()} == {
            (0, 315_532_800, "")
        }
        sizes[offline] = sum(name.startswith("wheels/") for name in there)
        assert (manifest["python"], manifest["architecture"]) == ("3.11", "aarch64")
        assert manifest["offline"] is offline
    assert sizes == {True: 4, False: 1}
    assert {"app/deploy/detect.py", "app/model.onnx", "MODEL.md", "REPORT.md", "LICENSE"} <= there
    pins = (root / "requirements.txt").read_text()
    assert pins.count(f"--hash=sha256:{sha256_of(quick_wheels[0])}") == 3
    assert pins.startswith(f"numpy=={dict(item.split('==') for item in found.packages)['numpy']} ")
    assert (root / "MODEL.md").read_text().startswith("# eresfd, 54,240 parameters")


def test_all_that_the_board_runs_is_in_it() -> None:
    names = set(program_files())
    assert {"app/deploy/detect.py", "app/selftest.py"} == {
        name for name in names if name.startswith("app/")
    }


def test_licences_are_those_of_the_wheels(tmp_path: Path) -> None:
    files = licence_files([write_wheel(tmp_path, 1)])
    assert set(files) == {"LICENSE", "licences/made_up-1.0.txt"}
    text = files["licences/made_up-1.0.txt"]
    assert isinstance(text, bytes)
    assert b"Do as you like." in text


def test_the_oldest_c_library_that_will_do() -> None:
    names = [
        "a-1-cp37-abi3-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
        "b-1-cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl",
        "pip-1-py3-none-any.whl",
    ]
    assert needed_libc([Path(name) for name in names]) == "2.27"
    assert needed_libc([Path(names[0])]) == "2.17"


def test_an_archive_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "x.tar.gz"
    write_archive(target, "x", {"a": b"1"})
    old = target.read_bytes()
    with pytest.raises(FileNotFoundError):
        write_archive(target, "x", {"a": b"2", "b": tmp_path / "absent"})
    assert target.read_bytes() == old
    assert list(tmp_path.iterdir()) == [target]


# For real -----------------------------------------------------------------------------------------


def make(folder: Path, out: Path, *options: str) -> Path:
    """Make a bundle by the command line and unpack it."""
    words = ["bundle", str(folder), "--offline", "--cache", str(ARM_CACHE), "--out", str(out)]
    assert run_cli([*words, *options]) == 0
    (archive,) = out.glob("*.tar.gz")
    subprocess.run(["tar", "xf", archive.name], cwd=out, check=True)
    return out / archive.name.removesuffix(".tar.gz")


@pytest.mark.slow
def test_this_machine_installs_it_offline(made: Path, tmp_path: Path) -> None:
    bundle = make(made, tmp_path, "--target", "local")
    done = install(bundle, PIP_INDEX_URL="http://127.0.0.1:9/", PIP_RETRIES="0")
    assert (done.returncode, done.stderr) == (0, "")
    assert "as on the build machine" in done.stdout
    found = subprocess.run(
        [str(bundle / "detect"), str(bundle / "app/photo.png"), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    expected = json.loads((bundle / "app/expected.json").read_text())
    assert len(json.loads(found.stdout)["faces"]) == len(expected["boxes"])


def emulated_python(folder: Path, target: Target, sysroot: Sysroot) -> Path:
    """A program that is the board's Python, and its own children's too: venv links to it."""
    root = sysroot.root.with_name(f"{sysroot.root.name}-{target.key}")
    program = folder / "python3"
    program.write_text(
        f"#!/bin/sh\nLD_LIBRARY_PATH={sysroot.host}/usr/lib/x86_64-linux-gnu exec "
        f'{sysroot.emulator} -cpu {target.core} -L {root} -E LD_LIBRARY_PATH= -0 "$0" '
        f'{sysroot.python} "$@"\n'
    )
    program.chmod(0o755)
    return program


@pytest.mark.long
def test_an_emulated_board_installs_it_offline(made: Path, ready: Sysroot, tmp_path: Path) -> None:
    target = find_target("rpi4")
    checking.check_folder(made, ["model.onnx"], target, ready, (), ARM_CACHE, lambda _name: None)
    bundle = make(made, tmp_path, "--target", "rpi4")
    why = json.loads((bundle / "manifest.json").read_text())["model"]["why"]
    assert "million instructions on Raspberry Pi 4B, by toolchain check" in why
    python = str(emulated_python(tmp_path, target, ready))
    done = install(bundle, PYTHON=python, PIP_INDEX_URL="http://127.0.0.1:9/")
    assert (done.returncode, done.stderr) == (0, "")
    assert "as on the build machine" in done.stdout
    here = install(bundle)
    assert "this bundle is for Raspberry Pi 4B (aarch64), and here is x86_64" in here.stderr
