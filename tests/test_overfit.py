"""The whole of training by labels at once: crops, targets, loss and schedule must find faces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from widerface import make_wider

from toolchain.data.wider import read_split
from toolchain.recipe import default_recipe, override
from toolchain.train.job import TrainingJob
from toolchain.train.training import train

PLAIN = {"own_scale": 1.0, "near_face": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0}
"""Crops at the photo's own scale and in its colours, mirrored at times."""


@pytest.mark.long
def test_a_network_learns_eight_photos_by_heart(tmp_path: Path) -> None:
    """From random weights to AP over 0.95 on what it learnt from, scored as on any photos.

    So many epochs, because processors round otherwise: after 250 it was .92 to 1.0 by seed.
    """
    split = read_split(make_wider(tmp_path / "wider", 1, train=8), "train")
    epochs = {"epochs": 350, "hold_epochs": 0, "drops": [240, 315], "batch": 8}
    fields = {"learning_rate": 3e-3, "weight_decay": 0.0, **epochs}
    values = {f"train.{name}": value for name, value in fields.items()}
    values |= {f"crops.{name}": value for name, value in {"side": 192, **PLAIN}.items()}
    job = TrainingJob(override(default_recipe("eresfd"), values), tmp_path / "out", tmp_path / "c")
    train(job, split, split, lambda done, total: None, lambda phase, step, steps, loss: None)
    samples = json.loads((tmp_path / "out" / "train.json").read_text())["samples"]
    assert samples[0]["all"] < 0.6  # after 29 steps
    assert samples[-1] == {"step": 350, "all": pytest.approx(1.0, abs=0.05)}
