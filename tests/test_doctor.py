"""``toolchain doctor``: what is there, what is missing for which stage, and how to get it."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from toolchain import cli
from toolchain.system import caches, installation
from toolchain.workflows import readiness


def looked(capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, Any]:
    """What ``doctor --json`` says, stages by name."""
    assert cli.run(["doctor", "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert found["can_do_main_job"] == (code == 0)
    found["stages"] = {stage["name"]: stage for stage in found["stages"]}
    return found  # type: ignore[no-any-return]


def hide(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Let these distributions be absent."""
    real = metadata.version

    def version(package: str) -> str:
        if package in packages:
            raise metadata.PackageNotFoundError(package)
        return real(package)

    monkeypatch.setattr(metadata, "version", version)


def test_the_main_job_can_run_here(capsys: pytest.CaptureFixture[str]) -> None:
    found = looked(capsys)
    main = [stage for stage in found["stages"].values() if stage["is_main"]]
    assert len(main) == 2
    assert all(stage["is_ready"] and not stage["remedy"] for stage in main)
    assert f"torch {metadata.version('torch')}" in main[0]["found"]
    assert cli.run(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert str(caches.cache_folder()) in printed
    assert "NO" not in printed


def test_a_package_that_does_not_load_stops_the_main_job(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxsim", None)
    stage = looked(capsys, 1)["stages"]["export to ONNX, and its int8"]
    assert stage["missing"] == ["onnxsim (import of onnxsim halted; None in sys.modules)"]
    assert stage["remedy"] == installation.how_to_get()
    assert cli.run(["doctor"]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "NO export to ONNX" in shown
    assert f"The main job cannot run: {installation.how_to_get()}" in shown


def test_what_an_extra_brings_is_told_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(installation, "PACKAGE", tmp_path / "site-packages" / "toolchain")
    hide(monkeypatch, "ray", "litert-torch", "ai-edge-litert")
    found = looked(capsys)
    assert found["checkout"] is None
    ray = found["stages"]["a sweep over a cluster"]
    assert (ray["missing"], ray["remedy"]) == (["ray"], "pip install 'edge-toolchain[ray]'")
    converter = found["stages"]["export to TFLite, and its int8"]
    assert {"litert-torch", "ai-edge-litert"} <= set(converter["missing"])
    assert converter["remedy"] == "pip install 'edge-toolchain[tflite]'"


def test_another_release_of_the_converter_is_missing_in_the_right_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(metadata, "version", lambda package: "0.9.0")
    converter = looked(capsys)["stages"]["export to TFLite, and its int8"]
    assert "litert-torch 0.9.0" in converter["found"]
    assert "litert-torch 0.10.0" in converter["missing"]


def test_emulation_names_the_programs_that_it_lacks_or_the_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("TOOLCHAIN_CACHE", str(tmp_path))
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(shutil, "which", lambda program: None if program == "gcc" else program)
    stage = looked(capsys)["stages"]["an emulated ARM board"]
    assert stage["missing"] == ["gcc"]
    assert "apt install" in stage["remedy"]
    for name in ("host-1", "root-1"):
        (tmp_path / "arm" / name).mkdir(parents=True)
    monkeypatch.setattr(shutil, "which", lambda program: program)
    stage = looked(capsys)["stages"]["an emulated ARM board"]
    assert f"QEMU and a system in {tmp_path / 'arm'}" in stage["found"]
    assert stage["is_ready"]
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    stage = looked(capsys)["stages"]["an emulated ARM board"]
    assert stage["missing"] == ["Linux on x86-64"]


def test_the_caches_size_counts_files_once(tmp_path: Path) -> None:
    assert readiness.bytes_in(tmp_path / "absent") == 0
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_bytes(b"123")
    (tmp_path / "two").symlink_to(tmp_path / "a" / "one")
    assert readiness.bytes_in(tmp_path) == 3


def test_it_answers_where_nothing_of_the_main_job_is_installed() -> None:
    absent = ["torch", "torch_pruning", "numpy", "cv2", "onnx", "onnxruntime", "safetensors"]
    code = (
        f"import sys\nfor name in {absent}: sys.modules[name] = None\n"
        "from toolchain.cli import main\nmain(['doctor', '--json'])"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    stages = json.loads(done.stdout)["stages"]
    lacking = [part for stage in stages if stage["is_main"] for part in stage["missing"]]
    missing = {part.partition(" ")[0] for part in lacking}
    assert {"torch", "torch-pruning", "numpy", "opencv-python-headless", "onnx"} <= missing
