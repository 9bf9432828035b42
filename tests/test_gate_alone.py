"""The gate on files alone: a slower, a retrained and a broken model, and what each is told."""

from __future__ import annotations

from pathlib import Path

import files_alone as files
import pytest
from conftest import ARM_CACHE

from toolchain.arm.sysroot import Sysroot
from toolchain.cli import run as run_cli
from toolchain.gate.baselines import read_baseline


def gate(*words: object) -> int:
    return run_cli(["gate", *map(str, words), "--cache", str(ARM_CACHE)])


@pytest.mark.long
def test_a_slower_a_retrained_and_a_broken_file_have_their_verdicts(
    ready: Sysroot, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    shape = ("batch", 3, "height", "width")
    first = files.convolution(tmp_path / "v1.onnx", shape)
    on = ["--baseline", tmp_path / "base.json", "--size", "16x16"]
    assert gate(first, *on, "--update", "--keep-model", "--score", "top1=0.9") == 0
    kept = read_baseline(tmp_path / "base.json")
    assert list(kept.files) == ["model.onnx"]  # whatever it is called
    assert kept.metrics["network/score/top1"] == 0.9
    assert (tmp_path / "base.model" / "model.onnx").read_bytes() == first.read_bytes()
    assert gate(first, *on, "--score", "top1=0.9") == 0
    assert gate(first, *on) == 2
    assert "or --score top1=VALUE" in capsys.readouterr().err

    again = files.convolution(tmp_path / "v2.onnx", shape, seed=1)
    assert gate(again, *on, "--score", "top1=0.91") == 1
    told = capsys.readouterr().out
    assert "let through by --retrained, or --accept model.onnx/outputs" in told
    assert "Was the network trained again? --retrained" in told
    assert gate(again, *on, "--retrained", "--score", "top1=0.85") == 1
    assert "REGRESSION in network/score/top1" in capsys.readouterr().out
    assert gate(again, *on, "--retrained", "--score", "top1=0.91") == 0
    assert "retrained, and decided by network/score/top1 0.91" in capsys.readouterr().out
    assert read_baseline(tmp_path / "base.json") == kept

    slower = files.convolution(tmp_path / "v3.onnx", shape, filters=32)
    assert gate(slower, *on, "--retrained", "--score", "top1=0.95") == 1
    told = capsys.readouterr().out
    assert "WORSE; let through by --accept model.onnx/instructions" in told
    assert "Is it meant? --accept instructions --accept multiply_adds" in told

    broken = files.convolution(tmp_path / "v4.onnx", shape, scale=float("nan"))
    assert gate(broken, *on, "--retrained", "--score", "top1=0.95") == 2
    assert "v4.onnx: its output 0 is NaN" in capsys.readouterr().err


JUDGE = """
import numpy as np

def score(model, data):
    (maps,) = model(np.zeros((16, 16, 3), np.uint8))
    return {"top1": 0.9 if maps.shape == (1, 4, 16, 16) else 0.0}
"""
RECIPE = """
[model]
name = "mine:net"
[input]
height = 16
width = 16
[evaluate]
function = "judge_alone:score"
"""


@pytest.mark.slow
def test_a_file_is_evaluated_as_a_recipe_says(
    ready: Sysroot, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "judge_alone.py").write_text(JUDGE)
    (tmp_path / "r.toml").write_text(RECIPE)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "one.txt").touch()
    path = files.convolution(tmp_path / "v1.onnx", ("batch", 3, "height", "width"))
    words = [path, "--baseline", tmp_path / "b.json", "--size", "16x16", "--data", "data"]
    assert gate(*words, "--update") == 2
    assert "give a recipe with [evaluate] by --recipe, or a figure" in capsys.readouterr().err
    assert gate(*words, "--update", "--recipe", "r.toml") == 0
    kept = read_baseline(tmp_path / "b.json")
    assert kept.metrics["network/score/top1"] == 0.9
    assert "1 samples of data" in kept.conditions["data"]


def test_what_a_file_alone_cannot_tell_is_said_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = files.convolution(tmp_path / "a.onnx")
    assert gate(path) == 2
    assert "needs --baseline FILE" in capsys.readouterr().err
    for bad in ("top1", "top1=good", "top1=nan", "=1", "a b=1"):
        assert gate(path, "--baseline", tmp_path / "b.json", "--update", "--score", bad) == 2
        assert "must be NAME=VALUE, as top1=0.913" in capsys.readouterr().err
    assert gate(tmp_path, "--baseline", tmp_path / "b.json", "--update", "--size", "8x8") == 2
    assert "are for a file on its own" in capsys.readouterr().err
