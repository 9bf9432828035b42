"""The README is tested: every command in it runs, in a copy of the checkout, as it stands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT

from toolchain.models.registry import build

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [line for kind, block in BLOCKS if kind == "sh" for line in block.strip().splitlines()]
NOT_FROM_WITHIN = "make test"
"""Runs this very test; that it is what lands is checked below."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with the installed environment, and the files a user would have."""
    # The environment must be complete, or a command below would install the copy into it.
    subprocess.run(["make", "setup"], cwd=ROOT, check=True, capture_output=True)
    copy = tmp_path_factory.mktemp("checkout") / "repo"
    left_out = shutil.ignore_patterns(".*", "out", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=left_out)
    (copy / ".venv").symlink_to(Path(sys.prefix))
    network = build("eresfd")
    with torch.no_grad():
        network.base.conv4.res_layer[0].weight[:4] = 0
    torch.save(network.state_dict(), copy / "ERES30_FPGM.pth")
    picture = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    cv2.imwrite(str(copy / "group.jpg"), picture)
    return copy


def run(command: str, checkout: Path) -> None:
    """Run a line of the README as a user would."""
    done = subprocess.run(
        command, shell=True, cwd=checkout, capture_output=True, text=True, timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
def test_the_first_command_runs(checkout: Path) -> None:
    assert COMMANDS[0].startswith("make shrink ")
    run(COMMANDS[0], checkout)
    assert (checkout / "out" / "eresfd" / "model.onnx").is_file()


@pytest.mark.long
def test_every_command_runs_in_order(checkout: Path) -> None:
    assert len(COMMANDS) >= 7
    for command in COMMANDS:
        if command != NOT_FROM_WITHIN:
            run(command, checkout)
    assert {"eresfd", "small", "extd"} <= {path.name for path in (checkout / "out").iterdir()}


def test_the_test_command_is_what_decides_what_lands() -> None:
    assert NOT_FROM_WITHIN in COMMANDS
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert NOT_FROM_WITHIN in lines


def test_the_python_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = [block for kind, block in BLOCKS if kind == "python"]
    exec(compile(example, "README.md", "exec"), {})
    assert "verdict='dropped'" in capsys.readouterr().out


def test_every_option_that_is_named_exists() -> None:
    from toolchain import cli

    others = {"--out", "--nproc-per-node", "--toolchain-gate"}  # of all, of torchrun, of pytest
    named = set(re.findall(r"--[a-z-]+", README)) - others
    files = [*Path(cli.__file__).parent.glob("*.py"), *(ROOT / "deploy/bundle").glob("*.*")]
    files = [path for path in files if path.suffix in (".py", ".sh")]
    source = "".join(path.read_text(encoding="utf-8") for path in files).replace("_", "-")
    for option in named:
        assert option in source or option[2:] in source, option


def test_every_target_of_make_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
