"""Training by the data set's own faces, with soft filter pruning as the paper does it.

"Filter-Pruning of Lightweight Face Detectors Using a Geometric Median Criterion" (WACV workshops
2024): filters are zeroed after an epoch and may come back, then held at zero for some epochs.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from toolchain.recipe import AnchorSection, PruneSection, TrainSection
from toolchain.train.batches import Batch
from toolchain.train.course import DetectorCourse
from toolchain.train.filters import Filters, Schedule


@dataclass(frozen=True)
class LabelPlan:
    """The recipe's epochs as steps."""

    section: TrainSection
    epoch: int
    """Steps in an epoch."""

    @property
    def soft_steps(self) -> int:
        """Steps in which zeroed filters may come back."""
        return self.section.epochs * self.epoch

    @property
    def steps(self) -> int:
        """The number of all steps."""
        return self.soft_steps + self.section.hold_epochs * self.epoch

    def schedule(self) -> Schedule:
        """Return when filters are chosen: after every so many epochs, and for the last time."""
        every = self.section.choose_every * self.epoch
        return Schedule(hold=self.soft_steps, first=every, every=every)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        section, held = self.section, step - self.soft_steps
        if held >= 0:
            start, drops, epoch = section.hold_learning_rate, section.hold_drops, held // self.epoch
        else:
            start, drops, epoch = section.learning_rate, section.drops, step // self.epoch
        return start * section.drop_factor ** sum(epoch >= drop for drop in drops)


class LabelCourse(DetectorCourse):
    """The paper's training."""

    def __init__(
        self,
        student: nn.Module,
        plan: LabelPlan,
        prune: PruneSection,
        example: Tensor,
        anchors: AnchorSection,
        variances: tuple[float, float],
        half: bool = False,
    ) -> None:
        super().__init__(
            student, Filters(plan.schedule(), prune, example), anchors, variances, half
        )
        self.plan = plan
        soft = "filters chosen anew" if prune.zeroes else "all filters"
        self.phases = ((soft, plan.soft_steps), ("zeros held", plan.steps))
        self.enter(0)

    def enter(self, step: int) -> None:  # noqa: ARG002
        """Begin with an optimiser that has seen nothing."""
        section, parameters = self.plan.section, list(self.student.parameters())
        groups = [{"params": parameters, "factor": 1.0}]
        if section.optimizer == "adam":
            self.optimizer = torch.optim.Adam(groups, lr=1.0, weight_decay=section.weight_decay)
        else:
            self.optimizer = torch.optim.SGD(
                groups, lr=1.0, momentum=section.momentum, weight_decay=section.weight_decay
            )

    def loss(self, step: int, batch: Batch) -> Tensor:  # noqa: ARG002
        """Return the detection loss."""
        return self.label_loss(self.student(batch.images), batch)

    def rate(self, step: int) -> float:
        """Return the recipe's learning rate."""
        return self.plan.rate(step)

    def asks_labels(self, step: int) -> bool:  # noqa: ARG002
        """True: it learns from the data's own faces alone."""
        return True

    def kind(self, step: int) -> Hashable:  # noqa: ARG002
        """All steps do the same."""
        return None

    def is_recalibrating(self, step: int) -> bool:  # noqa: ARG002
        """Batch norm always goes by the batch."""
        return True
