"""Making a bundle: which file, what the archive holds, the self-test, real installations."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from board import RED, metadata, write_model
from bundles import install, members, write_wheel
from conftest import ARM_CACHE
from reports import parity_of

from toolchain.arm import checking
from toolchain.arm.sysroot import Sysroot, runtime_of
from toolchain.arm.targets import Target, estimate, find_target
from toolchain.bundle import building
from toolchain.bundle import destination as destinations
from toolchain.bundle.archive import write_archive
from toolchain.bundle.choosing import choose
from toolchain.bundle.contents import expected_files, licence_files, program_files
from toolchain.bundle.destination import find_destination, needed_libc
from toolchain.cli import run as run_cli
from toolchain.deploy import detect
from toolchain.deploy.detector import selftest
from toolchain.errors import InputError
from toolchain.records.timings import FileCheck, Instructions
from toolchain.system.files import as_json, sha256_of

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


def checked(
    path: Path, instructions: int, *, parity: bool = True, board: str = "rpi4"
) -> FileCheck:
    """A check of nothing but what matters here."""
    target = find_target(board)
    return FileCheck(
        target=board,
        runtime=runtime_of(path.suffix, target),
        file=path.name,
        sha256=sha256_of(path),
        size=(96, 128),
        instructions_per_inference=instructions,
        instructions=Instructions(0, instructions, 0, 0),
        apart=parity_of((0.0, 1.0)),
        boxes=None,
        size_bytes=1,
        peak_memory_bytes=1,
        estimate_ms=estimate(instructions, target),
        estimate_error={},
        parity=parity,
        opening_instructions=1,
        operators=(),
        outputs=(),
    )


@pytest.fixture
def keep(tmp_path: Path) -> Callable[..., Path]:
    """Write checks into a cache; return the cache."""

    def write(*checks: FileCheck) -> Path:
        for check in checks:
            count = len(list(place.iterdir()))
            path = place / f"{count}.json"
            path.write_bytes(as_json(dataclasses.asdict(check)))
            os.utime(path, (count, count))
        return tmp_path / "cache"

    place = tmp_path / "cache" / "checks"
    place.mkdir(parents=True)
    (place / "0.json").write_text('{"of": "another version"}')
    return write


# Which file ---------------------------------------------------------------------------------------


def test_the_file_that_check_found_cheapest(made: Path, keep: Callable[..., Path]) -> None:
    onnx, int8 = made / "model.onnx", made / "model_int8.onnx"
    cache = keep(checked(onnx, 2_000_000), checked(int8, 1_000_000))
    choice = choose(made, RPI4, None, cache)
    assert choice.path.name == "model_int8.onnx"
    assert choice.why == (
        "the fewest, 1.0 million instructions on Raspberry Pi 4B, by toolchain check"
    )
    keep(checked(int8, 3_000_000))  # the latest counts
    assert choose(made, RPI4, None, cache).path.name == "model.onnx"
    keep(checked(onnx, 4_000_000), checked(onnx, 1, board="rpi5"))
    assert choose(made, RPI4, None, cache).path.name == "model_int8.onnx"
    keep(checked(onnx, 1, parity=False))
    assert choose(made, RPI4, None, cache).path.name == "model_int8.onnx"


def test_a_file_that_was_never_checked_is_told(made: Path, keep: Callable[..., Path]) -> None:
    cache = keep(checked(made / "model_int8.onnx", 1_000_000))
    choice = choose(made, RPI4, None, cache)
    assert choice.path.name == "model_int8.onnx"
    assert choice.why.endswith("by toolchain check; model.onnx never checked there")


def test_without_a_check_it_is_the_main_file(made: Path, tmp_path: Path) -> None:
    choice = choose(made, RPI4, None, tmp_path)
    assert choice.path.name == "model.onnx"
    assert "no file was ever checked on Raspberry Pi 4B" in choice.why
    assert choose(made, LOCAL, None, tmp_path).path.name == "model.onnx"


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
    assert (root / "MODEL.md").read_text().startswith("# eresfd, 30 % of its filters removed")


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


# The self-test ------------------------------------------------------------------------------------


def test_what_is_found_here_is_what_is_expected(made: Path, tmp_path: Path) -> None:
    files, count = expected_files(made / "model.onnx")
    photo, expected = files["app/photo.png"], files["app/expected.json"]
    assert isinstance(photo, bytes)
    assert isinstance(expected, bytes)
    (tmp_path / "photo.png").write_bytes(photo)
    wanted = json.loads(expected)
    found = selftest.look(made / "model.onnx", tmp_path / "photo.png", threads=1)
    assert selftest.compare(found, wanted) is None
    image = detect.read_image(tmp_path / "photo.png")
    boxes, _ = detect.Detector(made / "model.onnx").detect(
        detect.read_image(tmp_path / "photo.png")
    )
    assert len(boxes) == count == len(wanted["boxes"])
    assert image.shape == (96, 128, 3)


def test_faces_of_random_weights_are_left_out(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "photo.png"), np.full((64, 64, 3), RED, np.uint8))
    for trained in (True, False):
        model = write_model(tmp_path / "cells.onnx", metadata(trained=trained))
        found = selftest.look(model, tmp_path / "photo.png", threads=1)
        assert (len(found["boxes"]) > 0, len(found["scores"]) > 0) == (trained, trained)
        assert found["ranges"][1] > 0


EXPECTED = {
    "boxes": [[1.0, 2.0, 3.0, 4.0], [50.0, 50.0, 60.0, 60.0]],
    "scores": [0.9, 0.8],
    "outputs": [[0.0, 1.0], [2.0, 4.0]],
    "ranges": [1.0, 2.0],
    "figure": "largest",
    "output_limit": 0.1,
    "box_limit_px": 0.5,
    "score_limit": 0.01,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"boxes": [EXPECTED["boxes"][1], [1.4, 2, 3, 4]], "scores": [0.8, 0.9]}, None),  # type: ignore[index]
        ({"boxes": [[1.0, 2.0, 3.0, 4.0]]}, "1 face here, 2 on the build machine"),
        ({"boxes": [[1.6, 2, 3, 4], [50, 50, 60, 60]]}, "a box is 0.60 pixels from"),
        ({"boxes": [[float("nan")] * 4] * 2}, "a box is nan pixels from"),
        ({"scores": [0.9, 0.78]}, "a face's probability differs by 0.020"),
        ({"outputs": [[0.0, 1.0], [2.0, 4.3]]}, "the network's output differs by 0.3"),
        ({"outputs": [[0.0, 1.0], [2.0]]}, "the network's output differs by 1e"),
        ({"outputs": [[0.0, 1.0], [2.0, float("nan")]]}, "the network's output differs by nan"),
    ],
)
def test_what_differs_is_told(changes: dict[str, object], message: str | None) -> None:
    trouble = selftest.compare(EXPECTED | changes, EXPECTED)
    assert (trouble is None) if message is None else (trouble or "").startswith(message)


def test_of_int8_the_mean_counts() -> None:
    found = EXPECTED | {"outputs": [[0.0, 1.15], [2.0, 4.0]]}
    assert selftest.compare(found, EXPECTED | {"figure": "mean"}) is None
    assert selftest.compare(found, EXPECTED) is not None


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
