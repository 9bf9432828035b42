"""The gate on a real model under emulation, its plugin of pytest, and the templates."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import yaml
from conftest import ARM_CACHE, ROOT

from toolchain.arm.sysroot import Sysroot
from toolchain.cli import run as run_cli
from toolchain.gate.baselines import read_baseline, write_baseline


def gate(*words: object) -> int:
    return run_cli(["gate", *map(str, words), "--cache", str(ARM_CACHE)])


@pytest.mark.slow
def test_a_folder_passes_its_own_baseline_and_a_change_is_stopped(
    ready: Sysroot, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    base = tmp_path / "base.json"
    assert gate(made, "--baseline", base) == 2
    assert "give a baseline, which toolchain gate FOLDER" in capsys.readouterr().err
    assert gate(made, "--baseline", base, "--update", "--keep-model") == 0
    assert "written, the first one" in capsys.readouterr().out
    first = base.read_bytes()
    assert gate(made, "--baseline", base, "--update") == 0
    assert base.read_bytes() == first
    assert gate(made, "--baseline", base, "--rebase") == 0
    assert "measured again" in capsys.readouterr().out
    # A baseline with fewer instructions stands for a candidate with more.
    kept = read_baseline(base)
    name = "model.onnx/instructions"
    lower = dataclasses.replace(kept, metrics=kept.metrics | {name: kept.metrics[name] * 0.99})
    write_baseline(base, lower, kept)
    assert gate(made, "--baseline", base) == 1
    assert gate(made, "--baseline", base, "--update") == 1
    assert read_baseline(base) == lower
    assert gate(made, "--baseline", base, "--accept", "instructions") == 2
    assert "belong together" in capsys.readouterr().err
    words = ["--accept", "model.onnx/instructions", "--why", "for a test"]
    assert gate(made, "--baseline", base, *words, "--json") == 0
    (verdict,) = json.loads(capsys.readouterr().out)
    assert verdict["passed"]
    (accepted,) = read_baseline(base).accepted
    assert (accepted.metric, accepted.why) == (name, "for a test")
    assert gate(made, "--baseline", base) == 0
    written = sorted(entry.name for entry in (tmp_path / "out" / "gate").iterdir())
    assert written == ["gate.html", "gate.json", "gate.md", "gate.xml"]
    # Other conditions are no verdict.
    moved = dataclasses.replace(read_baseline(base), conditions=kept.conditions | {"threads": "2"})
    write_baseline(base, moved, read_baseline(base))
    assert gate(made, "--baseline", base) == 2
    assert "threads was 2 and is 1" in capsys.readouterr().err
    assert gate(made, "--baseline", base, "--rebase") == 0
    # A baseline of other conditions gives way to its model measured again.
    stale = read_baseline(base)
    lower = {**stale.metrics, "network/parameters": 1}
    write_baseline(base, dataclasses.replace(stale, metrics=lower), stale)
    assert gate(made, "--baseline", base, "--rebase", "--update") == 0
    assert read_baseline(base).conditions == kept.conditions
    assert read_baseline(base).metrics["network/parameters"] > 1


@pytest.mark.slow
def test_bad_candidates_are_told(
    ready: Sysroot, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["--baseline", tmp_path / "base.json", "--update", "--out", tmp_path / "out"]
    assert gate(tmp_path / "absent", *base) == 2
    assert "give an output folder" in capsys.readouterr().err
    folder = Path(shutil.copytree(made, tmp_path / "copy"))
    model = onnx.load(folder / "model.onnx")
    model.producer_name = "somebody else"
    onnx.save(model, folder / "model.onnx")
    assert gate(folder, *base) == 2
    assert "model.onnx: was changed after it was made" in capsys.readouterr().err
    (folder / "model.onnx").unlink()
    assert gate(folder, *base) == 2
    assert "model.onnx: is missing" in capsys.readouterr().err
    (folder / "certificate.json").unlink()
    assert gate(folder, *base) == 2
    assert "give an output folder of toolchain shrink" in capsys.readouterr().err
    assert not (tmp_path / "base.json").exists()
    assert gate("--target", "rpi5", "--baseline", tmp_path) == 2
    assert "has no baselines" in capsys.readouterr().err


@pytest.mark.long
def test_the_plugin_gates_beside_a_teams_tests(ready: Sysroot, made: Path, tmp_path: Path) -> None:
    base = tmp_path / "base.json"
    assert gate(made, "--baseline", base, "--update", "--out", tmp_path / "out") == 0
    (tmp_path / "test_model.py").write_text(
        f"def test_it(model_gate):\n"
        f"    assert model_gate({str(made)!r}, baseline={str(base)!r}).passed\n"
    )
    words = ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:anyio"]
    words += ["--toolchain-cache", str(ARM_CACHE)]

    def outcome(*more: str) -> str:
        done = subprocess.run(
            [*words, *more, "test_model.py"], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )  # fmt: skip
        return done.stdout

    assert "1 skipped" in outcome()
    assert "1 passed" in outcome("--toolchain-gate")
    kept = read_baseline(base)
    lower = {**kept.metrics, "network/parameters": 1}
    write_baseline(base, dataclasses.replace(kept, metrics=lower), kept)
    text = outcome("--toolchain-gate")
    assert "1 failed" in text
    assert "REGRESSION in network/parameters" in text


# Templates ----------------------------------------------------------------------------------------


def github_commands() -> tuple[dict[str, str], list[str]]:
    content = yaml.safe_load((ROOT / "deploy" / "ci" / "github.yml").read_text())
    steps = content["jobs"]["gate"]["steps"]
    return content["env"], [step["run"] for step in steps if "run" in step]


def test_both_templates_run_the_same_commands() -> None:
    """What one of them does is tried in the test of the wheel."""
    job = yaml.safe_load((ROOT / "deploy" / "ci" / "gitlab.yml").read_text())["model gate"]
    assert job["artifacts"]["reports"]["junit"] == "out/gate/gate.xml"
    variables, lines = github_commands()
    assert variables.items() <= job["variables"].items()
    words = " ".join(lines).split()
    for line in (*job["before_script"], *job["script"]):
        assert line in " ".join(words)
