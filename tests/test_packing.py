"""The one file that goes to a board."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from board import IN_PICTURE, PROGRAM, metadata, photo, write_model
from conftest import ROOT

from toolchain.deploy import packing


def started(program: Path, *words: Any, folder: Path, **environment: str) -> str:
    """What the program prints, in a folder, with nothing of the toolchain on Python's path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [sys.executable, *map(str, words[:1]), str(program), *map(str, words[1:])],
        cwd=folder,
        env=kept | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_the_same_sources_give_the_same_bytes_anywhere(tmp_path: Path) -> None:
    """Another folder, other dates and rights, another time zone, compiled files beside."""
    copy = tmp_path / "elsewhere"
    shutil.copytree(ROOT / "deploy", copy, ignore=shutil.ignore_patterns("__pycache__"))
    for path in copy.rglob("*.py"):
        path.chmod(0o600)
        os.utime(path, (1e9, 1e9))
    (copy / "detector" / "__pycache__").mkdir()
    (copy / "detector" / "__pycache__" / "errors.cpython-311.pyc").write_bytes(b"old")
    code = "import packing, sys; sys.stdout.buffer.write(packing.program())"
    made = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(copy), "TZ": "Asia/Tokyo"},
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert made.stdout == packing.program()


def test_it_holds_the_package_and_the_page_and_nothing_else() -> None:
    with zipfile.ZipFile(PROGRAM) as archive:
        names = archive.namelist()
    assert names == sorted(names)
    assert {"detector/command_line.py", "detector/live/page/index.html"} <= set(names)
    assert {name.partition("/")[0] for name in names} == {"__main__.py", "detector"}
    assert not [name for name in names if name.endswith(".pyc")]


@pytest.mark.parametrize("program", [PROGRAM, ROOT / "deploy" / "detect.py"])
@pytest.mark.parametrize("option", ["-B", "-I"])
def test_it_runs_in_any_folder(tmp_path: Path, program: Path, option: str) -> None:
    """Even in one that has packages of the same names."""
    for name in ("detector", "deploy", "toolchain"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('the user\\'s own')\n")
    model = write_model(tmp_path / "model.onnx", metadata())
    said = started(program, option, model, photo(tmp_path / "a.png"), "--json", folder=tmp_path)
    assert f'"faces": [{{"box": {IN_PICTURE}, "score": 1.0}}]' in said


def test_it_runs_as_a_command(tmp_path: Path) -> None:
    program = Path(shutil.copy(PROGRAM, tmp_path / "detect.py"))
    assert program.read_bytes().startswith(b"#!/usr/bin/env python3\n")
    assert "examples:" in started(program, "-B", "--help", folder=tmp_path)
