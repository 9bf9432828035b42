"""Every command of README and docs that is to be run runs, in a copy of the checkout."""

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
PAGES = [ROOT / "docs" / f"{name}.md" for name in ("getting-started", "your-network", "formats")]
"""Those with commands that run on a machine without photos and boards."""
ALL = README + "".join(page.read_text(encoding="utf-8") for page in PAGES)
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", ALL, re.DOTALL)
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


@pytest.mark.long
def test_every_command_runs_in_order(checkout: Path) -> None:
    assert len(COMMANDS) >= 7
    assert COMMANDS[0].startswith("make shrink ")
    for command in dict.fromkeys(COMMANDS):
        if command != NOT_FROM_WITHIN:
            run(command, checkout)
    assert {"eresfd", "small", "extd"} <= {path.name for path in (checkout / "out").iterdir()}


def test_the_test_command_is_what_decides_what_lands() -> None:
    assert NOT_FROM_WITHIN in COMMANDS
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert NOT_FROM_WITHIN in lines


def test_no_page_with_commands_is_left_out() -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        assert page in PAGES or "```sh" not in page.read_text(encoding="utf-8"), page
