"""A detector is one record: what it says is what training and checkpoints go by."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor

from toolchain.errors import ModelError
from toolchain.models import detector
from toolchain.models.detector import Detector, register, teachable
from toolchain.models.layouts import known_model, read_checkpoint
from toolchain.models.registry import build
from toolchain.recipe import PruneSection
from toolchain.recipe.sections import AnchorSection
from toolchain.train.batches import Batch
from toolchain.train.distillation_plan import DistillationPlan
from toolchain.train.distillation_trainer import DistillationTrainer

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3)) * 50
ANCHORS = AnchorSection(sizes=(16, 32), strides=(4, 8), aspect_ratio=1.0)


@pytest.fixture
def third() -> Iterator[Detector]:
    """A third model, beside the two that ship."""
    yield register(
        Detector(
            name="third",
            factory=tiny.Faces,
            blocks=("stem", "down", "loc.*", "conf.*"),
            features=("down",),
            marks=("down.weight", "conf.1.weight"),
            layouts=("flat", "epoch-weight"),
        )
    )
    del detector._REGISTERED["third"]


def teaching(model: str) -> DistillationTrainer:
    student, teacher = build(model, 1), build(model, 2)
    plan = DistillationPlan(0, 0, 10)
    example, variances = torch.zeros(1, 3, 64, 64), (0.1, 0.2)
    return DistillationTrainer(
        model, student, teacher, plan, PruneSection(), example, ANCHORS, variances
    )


def test_those_that_ship_are_known_by_name() -> None:
    assert detector.names() == ["eresfd", "extd", "yunet"]
    assert [each.name for each in detector.detectors()] == ["eresfd", "extd", "yunet"]
    assert detector.find("package:network") is None


def test_a_third_model_is_built_by_its_name(third: Detector) -> None:
    assert type(build("third")) is tiny.Faces
    assert detector.names() == ["eresfd", "extd", "third", "yunet"]


@pytest.mark.parametrize(
    ("wrap", "layout"),
    [
        (lambda state: state, "third/flat"),
        (lambda state: {"epoch": 3, "weight": state}, "third/epoch-weight"),
    ],
)
def test_its_checkpoints_are_told_by_its_parameters(
    third: Detector, tmp_path: Path, wrap: object, layout: str
) -> None:
    path = tmp_path / "third.pth"
    torch.save(wrap(build("third").state_dict()), path)
    assert read_checkpoint(path).layout == layout
    assert known_model(path, None) == "third"


def test_without_its_record_the_same_checkpoint_is_nobodys(tmp_path: Path) -> None:
    path = tmp_path / "third.pth"
    torch.save(tiny.Faces().state_dict(), path)
    with pytest.raises(ModelError, match=r"--model \(eresfd, extd, yunet, or module:factory\)"):
        known_model(path, None)


def test_it_learns_from_a_teacher_by_its_own_blocks(third: Detector) -> None:
    course = teaching("third")
    assert set(course.blocks) == {"stem", "down", "loc.0", "loc.1", "conf.0", "conf.1"}
    assert course.features == ["down"]
    batch = Batch(IMAGES, [torch.zeros(0, 4), torch.zeros(0, 4)])
    course.choose_in_teacher()
    course.look(batch.images)
    before = loss_of(course, batch)
    with torch.no_grad():
        for ours, theirs in zip(course.student.parameters(), teacher_of(course), strict=True):
            ours.copy_(theirs)
    assert loss_of(course, batch) < 1e-3 * before


def teacher_of(course: DistillationTrainer) -> list[Tensor]:
    return list(copy.deepcopy(course.teacher).parameters())


def loss_of(course: DistillationTrainer, batch: Batch) -> float:
    with torch.no_grad():
        return float(course.loss(0, batch))


def test_a_network_without_blocks_has_no_teacher() -> None:
    with pytest.raises(ModelError, match="a teacher is known for eresfd, extd only"):
        teachable("mine:network")
