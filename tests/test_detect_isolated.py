"""The program for the board where only ``deploy/requirements.txt`` is installed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board import IN_PICTURE, PROGRAM, metadata, photo, write_model
from conftest import ROOT

pytestmark = pytest.mark.slow

LAUNCHER = ROOT / "deploy" / "detect.py"
REQUIREMENTS = ROOT / "deploy" / "requirements.txt"


@pytest.fixture(scope="session")
def board_python() -> Path:
    """The interpreter of an environment that holds what the board holds, made once and kept."""
    name = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = ROOT / ".cache" / f"board-venv-{name}"
    python = folder / "bin" / "python"
    if python.exists():
        return python
    folder.parent.mkdir(exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    try:
        venv.create(beside, with_pip=True)
        install = [beside / "bin" / "python", "-m", "pip", "install", "-q", "-r", REQUIREMENTS]
        subprocess.run(install, check=True)
        if not folder.exists():  # another test run may have been quicker
            beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return python


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.onnx", metadata())


def environment() -> dict[str, str]:
    """The environment without what could lead to other packages."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def run(
    board_python: Path,
    folder: Path,
    *arguments: Any,
    program: Path = PROGRAM,
    before: str = "",
    stdout: Any = None,
) -> subprocess.CompletedProcess[str]:
    """Run the program in ``folder`` on the board's interpreter, after a shell command."""
    command = ["sh", "-c", f'{before or ":"}; exec "$@"', "sh", board_python, program, *arguments]
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment(),
        stdout=stdout or subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("module", ["torch", "onnx", "toolchain", "scipy"])
def test_the_board_has_nothing_of_the_build_machine(
    board_python: Path, tmp_path: Path, module: str
) -> None:
    command = [board_python, "-c", f"import {module}"]
    found = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert found.returncode == 1
    assert f"No module named '{module}'" in found.stderr


@pytest.mark.parametrize("program", [PROGRAM, LAUNCHER], ids=["one file", "checkout"])
def test_a_picture_is_looked_at(
    board_python: Path, tmp_path: Path, model: Path, program: Path
) -> None:
    path = photo(tmp_path / "a.png")
    found = run(board_python, tmp_path, model, path, "--json", "--out", "out", program=program)
    assert (found.returncode, found.stderr) == (0, "")
    facts = json.loads(found.stdout)
    assert facts["faces"] == [{"box": IN_PICTURE, "score": 1.0}]
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["a.png"]


def test_broken_files_give_one_line_each_and_no_chatter_of_the_decoders(
    board_python: Path, tmp_path: Path, model: Path
) -> None:
    large = np.random.default_rng(1).integers(0, 256, (100, 150, 3), np.uint8)
    names = ["a.jpg", "b.png", "c.bmp", "d.webp", "e.tiff", "f.mp4"]
    for name in names:
        path = photo(tmp_path / name, large) if name != "f.mp4" else tmp_path / name
        path.write_bytes(path.read_bytes()[:999] if path.exists() else b"no video" * 99)
    found = run(board_python, tmp_path, model, *names)
    assert (found.returncode, found.stdout) == (2, "")
    lines = found.stderr.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == names


def test_a_picture_above_the_pixel_limit_is_refused(
    board_python: Path, tmp_path: Path, model: Path
) -> None:
    photo(tmp_path / "a.png", np.zeros((10_001, 10_000), np.uint8))
    found = run(board_python, tmp_path, model, "a.png")
    assert (found.returncode, found.stdout) == (2, "")
    assert "a.png: cannot be read as a picture (more than 100000000 pixels" in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_a_name_that_is_no_text_is_looked_at(
    board_python: Path, tmp_path: Path, model: Path
) -> None:
    name = os.fsdecode(b"\xff.png")
    photo(tmp_path / "a.png").rename(tmp_path / name)
    for options in ([], ["--json"]):
        found = run(board_python, tmp_path, model, name, *options)
        assert (found.returncode, found.stderr) == (0, "")
        assert "\\udcff.png" in found.stdout


def test_windows_are_missing_in_one_line(board_python: Path, tmp_path: Path, model: Path) -> None:
    found = run(board_python, tmp_path, model, photo(tmp_path / "a.png"), "--show")
    assert (found.returncode, found.stdout, len(found.stderr.splitlines())) == (2, "", 1)
    assert "pip install opencv-python" in found.stderr


def many(tmp_path: Path) -> list[Path]:
    """So many pictures that their lines do not fit into a pipe: the program waits for a reader."""
    return [photo(tmp_path / ("x" * 200 + ".png"))] * 600


def test_a_closed_pipe_ends_without_a_word(board_python: Path, tmp_path: Path, model: Path) -> None:
    command = [board_python, PROGRAM, model, *many(tmp_path)]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        assert b"1 face" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_cleanly(
    board_python: Path, tmp_path: Path, model: Path, which: signal.Signals
) -> None:
    command = [board_python, PROGRAM, model, *many(tmp_path), "--out", tmp_path / "out"]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert b"1 face" in process.stdout.readline()
        process.send_signal(which)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"detect.py: stopped\n")
    assert not [each for each in (tmp_path / "out").iterdir() if each.name.startswith(".")]


def test_an_output_that_is_full_is_one_line(
    board_python: Path, tmp_path: Path, model: Path
) -> None:
    with Path("/dev/full").open("w") as full:
        found = run(board_python, tmp_path, model, photo(tmp_path / "a.png"), stdout=full)
    assert found.returncode == 2
    assert found.stderr.splitlines() == [
        "detect.py: standard output: cannot be written (No space left on device)"
    ]


@pytest.mark.parametrize("name", ["a.png", "clip.mp4"])
def test_a_disk_that_fills_up_leaves_nothing(
    board_python: Path, tmp_path: Path, model: Path, name: str
) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (128, 128, 3), np.uint8)
    if name == "a.png":
        photo(tmp_path / name, noise)
    else:
        write_noise = (
            "import sys; sys.path.insert(0, sys.argv[1]); import numpy as np\n"
            "from detector.outputs import VideoFile\n"
            "video = VideoFile('clip.mp4'); random = np.random.default_rng(2)\n"
            "for _ in range(20):\n"
            "    video.write(random.integers(0, 256, (128, 128, 3), np.uint8), 10.0)\n"
            "video.close(); video.check()\n"
        )
        command = [board_python, "-c", write_noise, PROGRAM]
        subprocess.run(command, cwd=tmp_path, env=environment(), check=True)

    small_disk = "ulimit -f 20"  # no file above 20 blocks of 512 bytes, or of 1024
    found = run(board_python, tmp_path, model, name, "--out", "out", before=small_disk)
    assert found.returncode == 2
    assert len(found.stderr.splitlines()) == 1
    assert f"{name}: cannot be written (" in found.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_without_its_packages_the_program_says_what_to_install(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare")
    command = [tmp_path / "bare" / "bin" / "python", PROGRAM, "--help"]
    found = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.splitlines() == [
        "detect.py: No module named 'cv2'; "
        "run: pip install numpy opencv-python-headless onnxruntime"
    ]
