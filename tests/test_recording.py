"""Steps that a GPU records: they do what steps one by one do. Without a GPU nothing runs here."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable

import pytest
import torch
from torch import Tensor, nn

from toolchain.models.registry import build
from toolchain.recipe import PruneSection, default_recipe
from toolchain.train.batches import Batch
from toolchain.train.devices import memory_format, own_stream
from toolchain.train.distillation import LossWeights
from toolchain.train.distillation_plan import DistillationPlan
from toolchain.train.distillation_trainer import DistillationTrainer
from toolchain.train.filters import Schedule
from toolchain.train.recording import WARM_STEPS, Recorder

STEPS = 2 * WARM_STEPS
"""Of each kind: some are taken one by one, the rest are replayed."""
PLAN = DistillationPlan(
    2 * STEPS + STEPS,
    0,
    4 * STEPS,
    layer_steps=STEPS,
    filters=Schedule(5 * STEPS, 3 * STEPS, 2 * STEPS),
    weights=LossWeights(labels=0.5),
)
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


class OneByOne(Recorder):
    """Records nothing."""

    def take(self, kind: Hashable, batch: Batch, compute: Callable[[Batch], Tensor]) -> Tensor:
        return compute(batch)


def batch_of(number: int) -> Batch:
    generator = torch.Generator().manual_seed(number)
    images = torch.randn(2, 3, 128, 128, generator=generator) * 60
    faces = (torch.tensor([[10.0, 10, 50, 60]]), torch.zeros(0, 4))
    return Batch(images.cuda().contiguous(memory_format=memory_format("cuda")), faces)


def run(model: str, recorder: Recorder) -> tuple[list[float], nn.Module]:
    recipe = default_recipe(model)
    assert recipe.anchors is not None
    teacher = build(model, 1).train()
    with torch.no_grad():
        for number in range(10):
            teacher(batch_of(number).images.cpu())
    prune = PruneSection(rate=0.25, criterion="fpgm", scope="group")
    example = torch.zeros(1, 3, 128, 128)
    with own_stream("cuda"):
        teaching = DistillationTrainer(
            model,
            build(model, 2),
            copy.deepcopy(teacher),
            PLAN,
            prune,
            example,
            recipe.anchors,
            recipe.decode.variances,
            device="cuda",
        )
        teaching._recorder = recorder
        teaching.begin()
        teaching.look(torch.cat([batch_of(number).images for number in range(8)]))
        teaching.recalibration_crops = [batch_of(number).images for number in range(8)]
        losses = []
        for step in range(PLAN.steps):
            batch = batch_of(step)
            if teaching.asks_labels(step):
                wanted = teaching.matching.of(batch.faces, 128, 128).to("cuda")
                batch = Batch(batch.images, batch.faces, wanted)
            teaching.before(step)
            losses.append(teaching.take(step, batch))
    return losses, teaching.student.cpu()


@NEEDS_GPU
@pytest.mark.parametrize("model", ["eresfd", "extd"])
def test_steps_that_are_replayed_are_the_steps(model: str) -> None:
    """Through all phases and changes of filters. Sums of a GPU differ from run to run a little."""
    recorded, found = run(model, Recorder())
    single, wanted = run(model, OneByOne())
    assert recorded[: WARM_STEPS + 1] == pytest.approx(single[: WARM_STEPS + 1], rel=1e-3)
    assert recorded == pytest.approx(single, rel=0.05)
    for (name, ours), (_, theirs) in zip(
        found.state_dict().items(), wanted.state_dict().items(), strict=True
    ):
        assert torch.equal(ours == 0, theirs == 0), name
