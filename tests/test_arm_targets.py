"""Emulated boards: the table of them, and their calibration."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path

import pytest

from toolchain.arm.calibrating import CalibrationPoint, as_toml, fitted
from toolchain.arm.targets import estimate, find_target, read_targets
from toolchain.cli import run as run_cli
from toolchain.errors import InputError

OWN = """
[mine]
name = "A board"
core = "cortex-a35"
part = "0xd04"
clock_hz = 1_000_000
cores = 2
memory_bytes = 1000
python = "3.11"
cycles_per_instruction = 2.0
median_error = 0.1
worst_error = 0.5
fitted_on = "nothing"
"""


def test_the_boards_of_the_project_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(read_targets()) == {
        "rpi-zero2", "rpi3", "rpi4", "rpi5", "rpi3-32", "rpi4-32",
    }  # fmt: skip
    assert run_cli(["targets", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rpi4"]["core"] == "cortex-a72"
    assert run_cli(["targets"]) == 0
    assert "Raspberry Pi 5" in capsys.readouterr().out


def test_an_estimate_is_a_range(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN)
    board = find_target("mine", tmp_path / "own.toml")
    found = estimate(3_000, board)
    assert (found.low, found.mid, found.high) == (3.0, 6.0, 9.0)
    assert board.cpuinfo.count("processor\t: ") == 2
    assert "CPU part\t: 0xd04" in board.cpuinfo


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "not valid TOML"),
        ("mine = 3", "must be a table of a board"),
        (OWN.replace("cores = 2\n", ""), "mine.cores is missing"),
        (OWN.replace("2.0", "0"), r"mine.cycles_per_instruction must be > 0"),
        (OWN + "wings = 2\n", "mine.wings is unknown"),
    ],
)
def test_a_wrong_table_is_told(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_targets(tmp_path / "own.toml")


def test_an_unknown_board_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["check", str(tmp_path), "--target", "rpi9"]) == 2
    assert "there is no such board; known are rpi-zero2, rpi3" in capsys.readouterr().err
    with pytest.raises(InputError, match="cannot be read as a table of targets"):
        read_targets(tmp_path / "absent.toml")


def test_a_fit_is_the_median_with_its_errors(tmp_path: Path) -> None:
    board = dataclasses.replace(find_target("rpi4"), clock_hz=1_000_000_000)
    points = [
        # One cycle per instruction.
        CalibrationPoint('a/"odd"\nname', "onnxruntime", 1_000_000, 1.0),
        CalibrationPoint("b", "onnxruntime", 1_000_000, 2.0),
        CalibrationPoint("c", "ai-edge-litert", 1_000_000, 4.0),
    ]
    made = fitted(board, points, 'a "host"', datetime.date(2026, 1, 2))
    assert (made.cycles_per_instruction, made.median_error, made.worst_error) == (2.0, 0.5, 1.0)
    assert made.fitted_on == 'a "host" on 2026-01-02, 3 files, ai-edge-litert, onnxruntime'
    (tmp_path / "own.toml").write_text(as_toml(made, points))
    assert find_target("rpi4", tmp_path / "own.toml") == made
    with pytest.raises(InputError, match="at least two files"):
        fitted(board, points[:1], "host", datetime.date(2026, 1, 2))
