"""Emulated ARM boards: what they need, and real runs under QEMU."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from board import write_model
from conftest import ARM_CACHE
from tflite_board import write_tflite

from toolchain.arm import emulation
from toolchain.arm import sysroot as fetching
from toolchain.arm.checking import check_folder
from toolchain.arm.sysroot import Sysroot, prepare
from toolchain.arm.targets import Target, find_target
from toolchain.checking.pictures import read_photos
from toolchain.cli import run as run_cli
from toolchain.errors import InputError
from toolchain.records.certificate import read_certificate, to_json
from toolchain.system.files import sha256_of

# What is needed -----------------------------------------------------------------------------------


def test_missing_programs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"needs apt, dpkg, gcc \(Debian 12: apt install"):
        prepare(find_target("rpi4"), tmp_path, lambda _name: None)
    assert list(tmp_path.iterdir()) == []


def test_another_machine_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching.platform, "machine", lambda: "aarch64")
    with pytest.raises(InputError, match="emulated on Linux for x86-64"):
        prepare(find_target("rpi4"), tmp_path, lambda _name: None)


@pytest.mark.slow
def test_a_failed_download_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "ARM_PACKAGES", ("there-is-no-such-package",))
    monkeypatch.setattr(fetching, "HOST_PACKAGES", ("there-is-no-such-package-either",))
    if any(shutil.which(tool) is None for tool in fetching.TOOLS):
        pytest.skip("no apt, dpkg or gcc here")
    with pytest.raises(InputError, match=r"apt cannot .*; is the network there\?"):
        prepare(find_target("rpi4"), tmp_path, lambda _name: None)
    assert list(tmp_path.iterdir()) == []


def test_another_python_is_refused(tmp_path: Path) -> None:
    board = dataclasses.replace(find_target("rpi4"), python="3.13")
    with pytest.raises(InputError, match=r"its Python is 3.13; 3.11 alone is emulated"):
        prepare(board, tmp_path, lambda _name: None)


@pytest.mark.parametrize(("mixed", "runs"), [(0, 1), (1, 2), (9, emulation.ATTEMPTS)])
def test_a_run_whose_operators_cannot_be_told_apart_is_taken_again(
    mixed: int, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine mixes up the times of operators."""
    ran = list[str]()

    def run(command: list[str], *_: object) -> str:
        folder = Path(command[-1]).parent
        np.savez(folder / "out.npz", **{"input0/0": np.zeros(1)})
        facts = {"operators": [{"name": "a"}], "resident_bytes": 1}
        (folder / "facts.json").write_text(json.dumps(facts))
        (folder / "counts").write_text("")
        ran.append(command[-1])
        return ""

    def told(*_: object) -> object:
        return SimpleNamespace(operators=() if len(ran) <= mixed else ("a",))

    monkeypatch.setattr(emulation, "_run", run)
    monkeypatch.setattr(emulation, "_compiled", lambda _: 0)
    monkeypatch.setattr(emulation, "guest_python", lambda *_, **__: [])
    monkeypatch.setattr(emulation, "read_counts", told)
    sysroot: Any = SimpleNamespace(site=Path("site"), plugin="plugin")
    found = emulation.emulate(Path("model.onnx"), {"x": np.zeros(1)}, board(), sysroot)  # type: ignore[dict-item]
    assert len(ran) == runs
    assert bool(found.counts.operators) is (mixed < runs)


# Under QEMU ---------------------------------------------------------------------------------------


def board(key: str = "rpi4") -> Target:
    return find_target(key)


@pytest.mark.long
def test_a_folder_runs_on_the_board(ready: Sysroot, made: Path, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    photos = read_photos([tmp_path / "a.png"])
    stages: list[str] = []
    found = check_folder(made, None, board(), ready, photos, ARM_CACHE, stages.append)
    assert found.passed
    plain, int8 = found.files
    assert (
        (plain.file, int8.file) == ("model.onnx", "model_int8.onnx") == (found.main.file, int8.file)
    )
    assert plain.runtime.startswith("onnxruntime 1.")
    assert plain.apart.figure == "largest"
    assert plain.apart.worst is not None
    assert 0 < plain.apart.worst < 1e-4  # other instructions than here, so other roundings
    assert int8.apart.figure == "mean"
    assert int8.apart.passed
    counted = plain.instructions
    assert counted.total == plain.instructions_per_inference
    # 52k parameters at 96x128: about 9 million multiply-accumulates, four to an instruction.
    assert 1e6 < counted.multiply_add < 5e6
    assert counted.multiply_add < counted.total < 30e6
    assert 20e6 < plain.peak_memory_bytes < 200e6
    assert plain.estimate_ms.low < plain.estimate_ms.mid < plain.estimate_ms.high
    assert found.program is not None
    assert (found.program.photos, found.program.missed, found.program.added) == (1, 0, 0)
    assert found.stages is not None
    assert found.stages.network == pytest.approx(found.main.instructions_per_inference, rel=0.05)
    assert 0 < found.stages.decoding < found.stages.fitting < found.stages.network
    told = sum(operator.instructions for operator in plain.operators)
    assert abs(told - counted.total) < 0.1 * counted.total
    kinds = plain.operator_types
    assert "FusedConv" in next(iter(kinds))
    assert sum(count for count, _ in kinds.values()) == len(plain.operators)
    assert plain.opening_instructions > counted.total
    again = check_folder(made, ["model.onnx"], board(), ready, photos, ARM_CACHE, stages.append)
    assert again.files == (plain,)  # from the cache


@pytest.mark.long
def test_counts_repeat(ready: Sysroot, made: Path, tmp_path: Path) -> None:
    """What may be an earlier run's, and what is counted now."""
    counts = [
        check_folder(
            made, ["model.onnx"], board(), ready, (), cache, lambda _name: None
        ).main.instructions_per_inference
        for cache in (ARM_CACHE, tmp_path)
    ]
    assert abs(counts[0] - counts[1]) <= 1e-3 * counts[0]


@pytest.mark.slow
def test_the_command_writes_what_scripts_read(
    ready: Sysroot, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--file", "model.onnx", "--cache", str(ARM_CACHE), "--out", str(tmp_path / "out")]
    assert run_cli(["check", str(made), "--target", "rpi5", *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {
        "target", "runtime", "file", "instructions_per_inference", "apart", "size_bytes",
        "peak_memory_bytes", "estimate_ms", "estimate_error",
    } <= set(found)  # fmt: skip
    assert set(found["estimate_ms"]) == {"low", "mid", "high"}
    assert found["target"] == "rpi5"
    written = json.loads((tmp_path / "out" / "check.json").read_text())
    assert written["files"] == [found]
    assert (written["passed"], written["over_budget"]) == (True, [])
    tight = tmp_path / "tight.toml"
    tight.write_text("[model]\nname = 'eresfd'\n[budget.rpi5]\nparameters = 1000\n")
    assert run_cli(["check", str(made), "--target", "rpi5", *options, "--recipe", str(tight)]) == 1
    assert "over budget: parameters: model.onnx takes" in capsys.readouterr().err


@pytest.mark.long
def test_several_boards_are_told_together(
    ready: Sysroot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_model(tmp_path / "cells.onnx", None)
    options = ["--cache", str(ARM_CACHE), "--out", str(tmp_path / "out")]
    boards = ["--target", "rpi4", "--target", "rpi5", "--target", "rpi4-32"]
    assert run_cli(["check", str(path), *options, *boards]) == 0
    said = capsys.readouterr()
    assert "left out: cells.onnx: Raspberry Pi 4B, 32 bits has no runtime for it" in said.err
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == {
        "rpi4", "rpi5", "cells-boards.html",
    }  # fmt: skip
    assert "Raspberry Pi 5" in (tmp_path / "out" / "cells-boards.html").read_text()
    assert run_cli(["check", str(path), *options, *boards, "--json"]) == 2
    assert "--ssh and --json are for one --target" in capsys.readouterr().err


@pytest.mark.slow
def test_what_cannot_be_run_is_told(ready: Sysroot, made: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "copy"))
    with pytest.raises(InputError, match=r"has no model file a.onnx \(there: model.onnx, model_i"):
        check_folder(folder, ["a.onnx"], board(), ready, (), tmp_path, lambda _name: None)
    (folder / "model.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"model.onnx: was changed after it was made"):
        check_folder(folder, ["model.onnx"], board(), ready, (), tmp_path, lambda _name: None)
    # One that is as it was made, and that the board's runtime does not take all the same.
    certificate = read_certificate(folder / "certificate.json")
    files = tuple(
        dataclasses.replace(file, sha256=sha256_of(folder / file.name))
        for file in certificate.files
    )
    again = dataclasses.replace(certificate, files=files)
    (folder / "certificate.json").write_bytes(to_json(again))
    with pytest.raises(InputError, match=r"model.onnx: is no whole ONNX file"):
        check_folder(folder, ["model.onnx"], board(), ready, (), tmp_path, lambda _name: None)
    image = np.zeros((1, 3, 96, 128), np.float32)
    with pytest.raises(InputError, match=r"model.onnx does not run on Raspberry Pi 4B: "):
        emulation.emulate(folder / "model.onnx", {"noise": image}, board(), ready)
    (folder / "certificate.json").unlink()
    with pytest.raises(InputError, match="give an output folder of toolchain shrink"):
        check_folder(folder, None, board(), ready, (), tmp_path, lambda _name: None)


def test_a_file_of_any_kind_runs_on_the_board(ready: Sysroot, tmp_path: Path) -> None:
    path = write_model(tmp_path / "cells.onnx", None)
    found = check_folder(path, None, board("rpi3"), ready, (), tmp_path, lambda _name: None)
    assert found.passed
    assert (found.folder, found.main.file, found.main.size) == ("cells", "cells.onnx", (64, 64))
    # Two convolutions of 16x16 over 3 channels at 16 places, with 4 and 2 outputs.
    assert found.main.instructions.multiply_add >= 16 * 6 * 3 * 256 // 4
    (tmp_path / "cells.txt").touch()
    refusals = {"cells.txt": "is no model file", "any.onnx": "takes pictures of any size"}
    for name, words in refusals.items():
        write_model(tmp_path / "any.onnx", None, size=None)
        with pytest.raises(InputError, match=words):
            check_folder(tmp_path / name, None, board(), ready, (), tmp_path, lambda _name: None)


@pytest.mark.long
def test_a_tflite_file_runs_on_32_bits(ready: Sysroot, made: Path, tmp_path: Path) -> None:
    small = board("rpi4-32")
    try:
        system = prepare(small, ARM_CACHE, lambda _name: None)
    except InputError as error:
        pytest.skip(f"no 32-bit system here: {error}")
    path = write_tflite(tmp_path / "cells.tflite", None)
    found = check_folder(path, None, small, system, (), tmp_path, lambda _name: None)
    assert found.passed
    assert found.main.runtime == "tflite-runtime 2.14.0"
    assert found.main.instructions.multiply_add > 0
    assert found.main.operators == ()
    for names in (None, ["model.onnx"]):
        with pytest.raises(InputError, match=r"has no runtime for it, but for \.tflite files"):
            check_folder(made, names, small, system, (), tmp_path, lambda _name: None)


def test_a_cache_that_was_moved_still_holds_the_boards_system(tmp_path: Path) -> None:
    def cache_at(place: Path) -> Sysroot:
        return Sysroot(place / "host", place / "root", place / "site", place / "so", place / "qemu")

    cache = tmp_path / "cache"
    (cache / "root" / "lib").mkdir(parents=True)
    (cache / "root" / "lib" / "loader").touch()
    board = find_target("rpi4")
    root = emulation._root_for(board, cache_at(cache))
    (root / "lib").unlink()
    (root / "lib").symlink_to(cache / "root" / "lib")  # as an earlier version made it
    cache.rename(tmp_path / "moved")
    root = emulation._root_for(board, cache_at(tmp_path / "moved"))
    assert (root / "lib" / "loader").is_file()
    (tmp_path / "moved").rename(tmp_path / "again")
    assert (tmp_path / "again" / root.name / "lib" / "loader").is_file()
