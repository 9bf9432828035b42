"""Learning from a real teacher: block by block from random weights, and end to end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from toolchain.data.wider import Split, read_split
from toolchain.recipe import default_recipe, override
from toolchain.train import keeping
from toolchain.train.batches import Batch, Crops, batches
from toolchain.train.distillation_plan import DistillationPlan
from toolchain.train.distillation_trainer import DistillationTrainer
from toolchain.train.job import TrainingJob
from toolchain.train.photos import prepare_photos
from toolchain.train.training import train
from toolchain.zoo.reading import FOLDER
from toolchain.zoo.sources import load_network

CHANGES = {"prune.rate": 0.25, "crops.side": 224, "teach.batch": 2}


@pytest.fixture(scope="module")
def split(shared: Path) -> Split:
    return read_split(shared / "wider", "train").spread(30)


def job(
    shared: Path, out: Path, images: int, start: Path | None = None, **teach: float
) -> TrainingJob:
    values = CHANGES | {f"teach.{name}": value for name, value in teach.items()}
    recipe = override(default_recipe("eresfd"), values)
    teacher = shared / "weights" / "upstream" / "eresfd"
    return TrainingJob(recipe, out, out.parent / "cache", teacher, start, images, threads=1)


def run(wanted: TrainingJob, split: Split) -> tuple[float, ...]:
    return train(wanted, split, None, lambda done, total: None, lambda *_: None).losses


@pytest.mark.long
def test_blocks_learn_from_random_weights(
    shared: Path, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "STRETCH", 5)
    losses = run(job(shared, tmp_path / "run", 240, local_share=0.9), split)
    assert len(losses) == 24  # the last three are end to end
    assert sum(losses[16:21]) / 5 < 0.5 * losses[0]


@pytest.mark.long
def test_a_network_that_lost_filters_recovers_end_to_end(
    shared: Path, split: Split, tmp_path: Path
) -> None:
    """On crops that it did not learn from: the distance to the teacher falls by a sixth."""
    start = FOLDER / "eresfd-0.safetensors"
    wanted = job(shared, tmp_path / "run", 500, start, local_share_warm_start=0)
    run(wanted, split)
    photos = prepare_photos(split, wanted.cache, on_photo=lambda done, total: None)
    (batch,) = batches(Crops(photos, wanted.crop, seed=77), 16, 0, 1, 0)
    after = tmp_path / "run" / "model.safetensors"
    assert distance(wanted, after, batch) < 5 / 6 * distance(wanted, start, batch)


def distance(wanted: TrainingJob, weights: Path, batch: Batch) -> float:
    """How far a network, with its filters zeroed, is from the teacher on fixed crops."""
    assert wanted.teacher is not None
    teacher = load_network(wanted.recipe, wanted.teacher)
    assert teacher.recipe.anchors is not None
    teaching = DistillationTrainer(
        "eresfd",
        load_network(wanted.recipe, weights).network,
        teacher.network,
        DistillationPlan(0, 0, 10),
        wanted.recipe.prune,
        torch.zeros(1, 3, 160, 160),
        teacher.recipe.anchors,
        (0.1, 0.2),
    )
    teaching.choose_in_teacher()
    teaching.look(batch.images)
    with torch.no_grad():
        return float(teaching.loss(0, batch))
