"""A small network, a folder of photos, and recoveries from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT
from teaching import Residual
from torch import Tensor, nn

import toolchain as tc
from toolchain.library.recovery_runs import RecoveryJob, recover_from_photos
from toolchain.models.choosing import PLAIN
from toolchain.models.layouts import read_checkpoint
from toolchain.recipe import default_recipe, override

EXAMPLE = torch.zeros(1, 3, 16, 16)


def pictures(count: int) -> Tensor:
    torch.manual_seed(1)
    coarse = torch.randn(count, 3, 3, 3)
    return torch.nn.functional.interpolate(coarse, (16, 16), mode="bicubic")


def network() -> nn.Module:
    torch.manual_seed(0)
    found = Residual(classes=3)
    with torch.no_grad():
        for _ in range(5):
            found.train()(pictures(8))
    return found


FACTORY = """
import torch
from torch import nn
from teaching import Residual

def build():
    torch.manual_seed(0)
    network = Residual(classes=3)
    return network

build.input_size = (16, 16)
"""


def pictures_in(place: Path) -> None:
    """Write photos of any size, nested, one grey, one broken."""
    (place / "more").mkdir()
    generator = np.random.default_rng(0)
    for number in range(12):
        coarse = generator.integers(0, 255, (4, 5, 3), dtype=np.uint8)
        size = (40 + 5 * number, 60 - 3 * number)
        pixels = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
        if number == 3:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
        cv2.imwrite(str(place / ("more" if number % 2 else "") / f"{number}.png"), pixels)
    (place / "broken.jpg").write_bytes(b"\xff\xd8 not a photo")
    (place / "notes.txt").write_text("no photo")


def home_in(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a folder with a stranger's network and its weights."""
    (place / "mynet.py").write_text(FACTORY)
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(place)
    monkeypatch.syspath_prepend(ROOT / "tests")
    torch.manual_seed(0)
    torch.save(network().state_dict(), place / "best.pth")
    return place


def job_of(home: Path, folder: Path, out: str, **options: Any) -> RecoveryJob:
    recipe = override(
        default_recipe("mynet:build"),
        {
            "prune.rate": 0.3, "input.height": 16, "input.width": 16, "input.scale": 1 / 64,
            "input.mean": [2.0, 2.0, 2.0],
        },
    )  # fmt: skip
    settings = {
        "recipe": recipe, "ckpt": home / "best.pth", "choice": PLAIN, "images": folder,
        "out": home / out, "minutes": 1.0, "steps": 12, "batch": 4, "outputs": {},
        "blocks": None, "half": False, "device": "cpu", "threads": 1, "workers": 0, "seed": 0,
        "cache": home / "cache", "keep_every_seconds": 0.0,
    }  # fmt: skip
    return RecoveryJob(**{**settings, **options})


def go(job: RecoveryJob, stop_after: int | None = None) -> tc.RecoveryReport:
    def on_step(phase: str, step: int, steps: int, loss: float) -> None:
        if step == stop_after:
            raise KeyboardInterrupt

    return recover_from_photos(job, lambda done, total: None, on_step, lambda words: None)


def weights(home: Path, out: str) -> Mapping[str, Tensor]:
    return read_checkpoint(home / out / "model.safetensors").state
