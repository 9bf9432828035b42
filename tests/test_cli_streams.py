"""Standard output and standard error that are full, closed, ASCII, or shared with other code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from toolchain import cli

COMMAND = [sys.executable, "-m", "toolchain.cli"]
HERE = Path(__file__).parent
FULL = Path("/dev/full")
needs_full_device = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")


def run(words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command line by a shell, which closes and redirects; ``$T`` is the toolchain."""
    line = words.replace("$T", " ".join(COMMAND))
    paths = os.pathsep.join([str(HERE.parent), str(HERE)])
    environment = {**os.environ, "PYTHONPATH": paths, **more}
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False, env=environment
    )


@needs_full_device
@pytest.mark.parametrize("words", ["targets", "targets --json", "--help", "--version"])
def test_a_full_standard_output_is_one_line_and_code_2(words: str) -> None:
    found = run(f"$T {words} >/dev/full")
    assert found.returncode == 2
    assert found.stderr == (
        "toolchain: standard output: cannot be written (No space left on device)\n"
    )


@pytest.mark.parametrize("words", ["targets", "targets --json"])
def test_a_reader_that_has_gone_ends_it_quietly(words: str) -> None:
    found = run(f"$T {words} | true; echo ${{PIPESTATUS[0]}}")
    assert (found.stdout, found.stderr) == ("141\n", "")


def test_who_closes_standard_output_wants_nothing_on_it() -> None:
    found = run("$T targets >&-")
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


@needs_full_device
@pytest.mark.parametrize("place", ["/dev/full", "&-"])
def test_an_error_that_cannot_be_told_keeps_its_code(place: str) -> None:
    found = run(f"$T shrink nonsense 2>{place}")
    assert (found.returncode, found.stdout, found.stderr) == (2, "", "")


def test_text_that_an_ascii_terminal_lacks_is_escaped() -> None:
    found = run("$T shrink gr\u00fcn", PYTHONIOENCODING="ascii")
    assert found.returncode == 2
    assert "gr\\xfcn" in found.stderr


def test_file_names_are_utf8_where_python_is_told_otherwise() -> None:
    told = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    found = run("$T shrink gr\u00fcn:net", **told)
    assert found.returncode == 2
    assert "gr\u00fcn" in found.stderr


@pytest.mark.slow
def test_json_is_alone_on_standard_output_whatever_else_is_printed(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(
        "import ctypes, os\nfrom torch import nn\n\n\ndef build():\n"
        "    print('by Python')\n    os.system('echo by a child')\n"
        "    ctypes.CDLL(None).puts(b'in C')\n    raise ValueError('too loud')\n"
    )
    found = run(f"cd {tmp_path} && $T shrink loud:build --json --out out --formats onnx")
    assert found.returncode == 2
    document = json.loads(found.stdout)
    assert document["code"] == 2
    assert "too loud" in document["error"]
    for words in ("by Python", "by a child", f"toolchain: {document['error']}"):
        assert words in found.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["shrink", "nonsense"],
        ["shrink", "eresfd", "--rate", "many"],
        ["inspect", "nowhere.pth"],
        ["verify", "nowhere"],
        ["check", "nowhere"],
        ["bench", "nowhere"],
        ["bundle", "nowhere"],
        ["compare", "nowhere"],
        ["gate", "nowhere", "--baseline", "nowhere.json"],
        ["evaluate", "nowhere.pth", "--data", "nowhere"],
        ["score", "nowhere", "--data", "nowhere"],
        ["targets", "--targets", "nowhere.toml"],
        ["cost", "nonsense"],
        ["plan", "nonsense", "--parameters", "52k"],
    ],
)
def test_a_failure_is_json_too(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*words, "--json"]) == 2
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document == {"error": document["error"], "code": 2}
    assert f"toolchain: {document['error']}" in printed.err


def test_standard_streams_are_given_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    cli.run(["targets", "--json"])
    cli.run(["bake", "--json"])
    assert (sys.stdout, sys.stderr) == before
