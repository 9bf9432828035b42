"""Training with a teacher: local first, then end to end, in steps that can be taken up anywhere.

What step i does follows from the plan, the photos and i alone; what it starts from is in
:class:`~toolchain.train.state.State`. So a run that was stopped and taken up ends with the same
weights, bit for bit, as one that was not.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from toolchain.recipe import AnchorSection
from toolchain.train.batches import Batch
from toolchain.train.distillation import (
    BLOCKS,
    FEATURES,
    Channels,
    LossWeights,
    channels_of,
    end_to_end_loss,
    face_map,
    lesson,
    level_shapes,
    local_loss,
    names_of,
    start_like,
    watching,
)
from toolchain.train.loss import detection_loss
from toolchain.train.masks import Masks, apply_masks
from toolchain.train.targets import anchor_boxes, targets


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
    averaged_batches: int = 16
    """Batches over which batch norm is averaged before it is frozen."""
    local_rate: float = 1e-2
    """Adam's learning rate at the start of the local steps; falls to zero as a cosine."""
    joint_rate: float = 8e-4
    loose_factor: float = 5.0
    """The local rate of parameters outside layers (EResFD's fusion weights) is so much higher."""
    late_features: float = 0.1
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


class Teaching:
    """A student, its teacher, and how a step is taken."""

    def __init__(
        self,
        model: str,
        student: nn.Module,
        teacher: nn.Module,
        masks: Masks,
        plan: TeachingPlan,
        anchors: AnchorSection,
        variances: tuple[float, float],
    ) -> None:
        self.student, self.teacher, self.masks, self.plan = student, teacher.eval(), masks, plan
        self.anchors, self.variances = anchors, variances
        self.blocks = names_of(student, BLOCKS[model])
        self.features = names_of(student, FEATURES[model])
        self._channels: dict[str, Channels] = {}
        self.optimizer = self._optimizer(0)

    def begin(self, teacher: nn.Module) -> None:
        """Prepare a student that has taken no step yet; ``teacher`` still has its batch norms."""
        start_like(self.student, teacher, self.blocks)
        apply_masks(self.student, self.masks)

    def look_at_channels(self, pruned_teacher: nn.Module, images: Tensor) -> None:
        """Learn what the channels are like, and from the pruned teacher which ones there are."""
        self._channels = channels_of(self.teacher, pruned_teacher, images, self.blocks)

    def is_local(self, step: int) -> bool:
        """Tell whether a step is taken block by block."""
        return step < self.plan.local_steps

    def enter(self, step: int) -> None:
        """Set the optimiser and batch norm as ``step`` wants them; call it where phases begin."""
        self.optimizer = self._optimizer(step)

    def _optimizer(self, step: int) -> torch.optim.Optimizer:
        loose = [p for _, p in _loose(self.student)]
        known = {id(parameter) for parameter in loose}
        rest = [p for p in self.student.parameters() if id(p) not in known]
        factor = self.plan.loose_factor if self.is_local(step) else 1.0
        groups = [{"params": rest, "factor": 1.0}, {"params": loose, "factor": factor}]
        return torch.optim.Adam([group for group in groups if group["params"]], lr=1.0)

    def take(self, step: int, batch: Batch) -> float:
        """Take a step and return its loss."""
        self.student.train(step < self.plan.settle_steps)
        rate = self._rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        loss = self._loss(step, batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        apply_masks(self.student, self.masks)
        return float(loss.detach())

    def _rate(self, step: int) -> float:
        plan = self.plan
        if self.is_local(step):
            return plan.local_rate * _cosine(step / plan.local_steps)
        return plan.joint_rate * _cosine((step - plan.local_steps) / plan.joint_steps)

    def _loss(self, step: int, batch: Batch) -> Tensor:
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
            loss = loss + weights.labels * self._label_loss(outputs, batch)
        return loss

    def _label_loss(self, outputs: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
        anchors = anchor_boxes(self.anchors, batch.images.shape[2], batch.images.shape[3])
        wanted = [targets(faces, anchors, self.variances) for faces in batch.faces]
        return detection_loss(*outputs, wanted)

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


def _cosine(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done))


def _loose(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return parameters outside layers: those of modules that hold others."""
    return [
        (f"{name}.{key}", parameter)
        for name, module in network.named_modules()
        if next(module.children(), None) is not None
        for key, parameter in module.named_parameters(recurse=False)
    ]
