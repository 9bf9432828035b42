"""Training with a teacher: block by block first, then end to end."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from toolchain.export.fold import fold_batch_norm
from toolchain.recipe import AnchorSection, PruneSection, TeachSection
from toolchain.train.batches import Batch
from toolchain.train.channels import Channels, channels_of, start_like
from toolchain.train.course import Course, cosine
from toolchain.train.distillation import LossWeights, end_to_end_loss, local_loss
from toolchain.train.filters import Filters, Schedule
from toolchain.train.lessons import (
    BLOCKS,
    FEATURES,
    face_map,
    lesson,
    level_shapes,
    names_of,
    watching,
)
from toolchain.train.masks import apply_masks

LATE_SHARE = 0.1
"""Of the features' weight, in the last quarter of the joint steps."""


def local_share(section: TeachSection, *, begun: bool) -> float:
    """Return the share of the crops that are learnt from block by block."""
    return section.local_share_begun if begun else section.local_share


@dataclass(frozen=True)
class TeachingPlan:
    """The steps of a training with a teacher."""

    local_steps: int
    """Block by block."""
    settle_steps: int
    """Of the local steps, those in which batch norm goes by the batch; then it is averaged and
    frozen."""
    joint_steps: int
    """End to end, after the local steps."""
    filters: Schedule = field(default_factory=lambda: Schedule(hold=0))
    """When filters are chosen in the student; at step 0 they are chosen in the teacher."""
    local_rate: float = 1e-2
    """Adam's learning rate at the start of the local steps; falls to zero as a cosine."""
    joint_rate: float = 8e-4
    loose_factor: float = 5.0
    """The local rate of parameters outside layers (EResFD's fusion weights) is so much higher."""
    late_features: float = 1.0
    """Weight of the features in the last quarter of the joint steps."""
    weights: LossWeights = field(default_factory=LossWeights)

    @property
    def steps(self) -> int:
        """All of them."""
        return self.local_steps + self.joint_steps

    @property
    def phases(self) -> tuple[tuple[str, int], ...]:
        """Name of each phase, and the number of steps after which it ends."""
        return (
            ("block by block, settling", self.settle_steps),
            ("block by block", self.local_steps),
            ("end to end", self.steps),
        )

    @classmethod
    def of(cls, section: TeachSection, images: int, *, begun: bool) -> TeachingPlan:
        """Return the recipe's plan for so many crops; ``begun`` says that the student's weights
        have learnt already.
        """
        steps = images // section.batch
        local = int(steps * local_share(section, begun=begun))
        settle = section.settle_share_begun if begun else section.settle_share
        soft = int((steps - local) * section.soft_share)
        schedule = Schedule(hold=0)
        if soft:
            schedule = Schedule(local + soft, local, max(1, soft // section.choices))
        return cls(
            local,
            min(local, int(steps * settle)),
            steps - local,
            filters=schedule,
            local_rate=section.local_rate_begun if begun else section.local_rate,
            joint_rate=section.joint_rate,
            late_features=section.features * LATE_SHARE,
            weights=LossWeights(features=section.features, labels=section.labels),
        )


class Teaching(Course):
    """A student and its teacher, which has its batch norms still; one is folded for speed."""

    def __init__(
        self,
        model: str,
        student: nn.Module,
        teacher: nn.Module,
        plan: TeachingPlan,
        prune: PruneSection,
        example: Tensor,
        anchors: AnchorSection,
        variances: tuple[float, float],
        half: bool = False,
    ) -> None:
        super().__init__(student, Filters(plan.filters, prune, example), anchors, variances, half)
        self.teacher = fold_batch_norm(copy.deepcopy(teacher), example).eval()
        self.original, self.plan, self.phases = teacher.eval(), plan, plan.phases
        self.blocks = names_of(student, BLOCKS[model])
        self.features = names_of(student, FEATURES[model])
        self.settling: list[Tensor] = []
        """Crops (N, 3, H, W) over which batch norm is averaged before it is frozen."""
        self._looked: Tensor | None = None
        self._channels: dict[str, Channels] = {}
        self.enter(0)

    def begin(self) -> None:
        """Prepare a student that has taken no step yet and starts from random weights."""
        start_like(self.student, self.original, self.blocks)

    def choose_in_teacher(self) -> None:
        """Choose filters in the teacher and zero them in the student, if the plan chooses once."""
        if self.plan.filters.holds(0):
            self.filters.before(0, copy.deepcopy(self.original))
            self.filters.after(0, self.student)

    def look(self, images: Tensor) -> None:
        """Look at the teacher's channels on many crops (N, 3, H, W)."""
        self._looked = images
        self.filters_chosen()

    def filters_chosen(self) -> None:
        """Ask only for channels that the student has: the teacher's, but for what is masked."""
        assert self._looked is not None
        pruned = copy.deepcopy(self.original)
        if self.filters.masks is not None:
            apply_masks(pruned, self.filters.masks)
        self._channels = channels_of(self.teacher, pruned, self._looked, self.blocks)

    def is_local(self, step: int) -> bool:
        """Tell whether a step is taken block by block."""
        return step < self.plan.local_steps

    def is_settling(self, step: int) -> bool:
        """Tell whether batch norm goes by the batch."""
        return step < self.plan.settle_steps

    def before(self, step: int) -> None:
        """Freeze batch norm, or go on end to end, where that is due; choose filters."""
        if step == self.plan.settle_steps > 0:
            self.average_batch_norm(self.settling)
        if step == self.plan.local_steps > 0:
            self.enter(step)
        if step > 0 or not self.plan.filters.holds(0):  # at 0 they come from the teacher
            super().before(step)

    def enter(self, step: int) -> None:
        """Begin the phase of ``step`` with an Adam that has seen nothing."""
        loose = [p for _, p in _loose(self.student)]
        known = {id(parameter) for parameter in loose}
        rest = [p for p in self.student.parameters() if id(p) not in known]
        factor = self.plan.loose_factor if self.is_local(step) else 1.0
        groups = [{"params": rest, "factor": 1.0}, {"params": loose, "factor": factor}]
        used = [group for group in groups if group["params"]]
        self.optimizer = torch.optim.Adam(used, lr=1.0, fused=True)

    def rate(self, step: int) -> float:
        """Return the learning rate, which falls to zero in each phase."""
        plan = self.plan
        if self.is_local(step):
            return plan.local_rate * cosine(step / plan.local_steps)
        return plan.joint_rate * cosine((step - plan.local_steps) / plan.joint_steps)

    def loss(self, step: int, batch: Batch) -> Tensor:
        """Return how far the student is from its teacher, and from the labels if they count."""
        plan, local = self.plan, self.is_local(step)
        taught = lesson(self.teacher, batch.images, self.blocks if local else self.features)
        size = batch.images.shape[2], batch.images.shape[3]
        faces = face_map(taught.face, level_shapes(*size, self.anchors.strides))
        if local:
            return local_loss(self.student, taught, faces, self._channels, plan.weights.face)
        with watching(self.student, self.features) as seen:
            outputs = self.student(batch.images)
        weights = plan.weights
        if step >= plan.steps - plan.joint_steps // 4:
            weights = dataclasses.replace(weights, features=plan.late_features)
        loss = end_to_end_loss(outputs, seen, taught, faces, self._channels, weights)
        if weights.labels:
            loss = loss + weights.labels * self.label_loss(outputs, batch)
        return loss

    def average_batch_norm(self, images: list[Tensor]) -> None:
        """Let batch norm take the plain average over some batches, on the teacher's inputs."""
        norms = [m for m in self.student.modules() if isinstance(m, nn.BatchNorm2d)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        self.student.train()
        with torch.no_grad():
            for batch in images:
                taught = lesson(self.teacher, batch, self.blocks)
                nothing = batch.new_zeros(len(batch), 1, 4, 4)
                local_loss(self.student, taught, nothing, self._channels, 0.0)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        self.student.eval()


def _loose(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return parameters outside layers: those of modules that hold others."""
    return [
        (f"{name}.{key}", parameter)
        for name, module in network.named_modules()
        if next(module.children(), None) is not None
        for key, parameter in module.named_parameters(recurse=False)
    ]
