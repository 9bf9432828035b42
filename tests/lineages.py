"""A small output folder with its lineage, for the tests that look into one."""

from __future__ import annotations

import functools
from pathlib import Path

import cv2
import numpy as np
import pytest

import toolchain.workflows.stages.measuring as measuring
from toolchain.checking.latency import compare_latency
from toolchain.recipe import Recipe, default_recipe, override
from toolchain.workflows.pipeline import Job, run_shrink

quick = functools.partial(compare_latency, seconds=0.0)


def recipe(**fields: object) -> Recipe:
    values = {"input.height": 96, "input.width": 128, "prune.rate": 0.3}
    return override(default_recipe("eresfd"), values | fields)


def little(**fields: object) -> Recipe:
    """Of a network that is exported in a moment."""
    values = {"input.height": 32, "input.width": 48, "prune.rate": 0.0}
    return override(default_recipe("tiny:Tiny"), values | fields)


def faces(folder: Path, count: int) -> Path:
    """Photos of nothing in particular, each different."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(count):
        coarse = random.integers(0, 256, (6, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f"{index:02}.png"), cv2.resize(coarse, (160, 120)))
    return folder


def make_folder(root: Path) -> Path:
    """The folder of a shipped network with ONNX and its int8."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "compare_latency", quick)
        photos = faces(root / "photos", 20)
        run_shrink(Job(recipe(), root / "out", formats=("onnx", "int8"), calibration=photos))
    return root / "out"
