"""What the steps of a training with a teacher are: how many of each kind, and at which rates."""

from __future__ import annotations

from dataclasses import dataclass, field

from toolchain.recipe import TeachSection
from toolchain.train.distillation import LossWeights
from toolchain.train.filters import Schedule

LATE_SHARE = 0.1
"""Of the features' weight, in the last quarter of the joint steps."""


def shares_of(section: TeachSection, *, warm_start: bool) -> tuple[float, float, float]:
    """Return the shares of the crops that are learnt from layer by layer, block by block, and end
    to end.
    """
    local = _local_share(section, warm_start=warm_start)
    return local * section.layer_share, local * (1 - section.layer_share), 1 - local


def _local_share(section: TeachSection, *, warm_start: bool) -> float:
    return section.local_share_warm_start if warm_start else section.local_share


@dataclass(frozen=True)
class DistillationPlan:
    """The steps of a training with a teacher."""

    local_steps: int
    """Layer by layer and block by block."""
    recalibration_steps: int
    """Of the local steps, those in which batch norm goes by the batch; then it is averaged and
    frozen."""
    joint_steps: int
    """End to end, after the local steps."""
    layer_steps: int = 0
    """Of the local steps, the first, layer by layer; batch norm is averaged and frozen before."""
    solves: bool = False
    """Whether layers are solved in closed form before the first step."""
    filters: Schedule = field(default_factory=lambda: Schedule(hold=0))
    """When filters are chosen in the student; at step 0 they are chosen in the teacher."""
    local_rate: float = 1e-2
    """Adam's learning rate at the start of the local steps; falls to zero as a cosine."""
    block_rate: float = 3e-3
    """The same for the blocks, where layers have learnt before them."""
    joint_rate: float = 8e-4
    """Adam's learning rate at the start of the end-to-end steps."""
    warm_start: bool = False
    """Whether the student's weights have learnt already: layers start from them."""
    non_layer_factor: float = 5.0
    """The local rate of parameters outside layers (EResFD's fusion weights) is so much higher."""
    late_features: float = 1.0
    """Weight of the features in the last quarter of the joint steps."""
    weights: LossWeights = field(default_factory=LossWeights)

    @property
    def steps(self) -> int:
        """The number of all steps."""
        return self.local_steps + self.joint_steps

    @property
    def phases(self) -> tuple[tuple[str, int], ...]:
        """Name of each phase, and the number of steps after which it ends."""
        return (
            ("layer by layer", self.layer_steps),
            (
                "block by block, recalibrating batch norm",
                max(self.layer_steps, self.recalibration_steps),
            ),
            ("block by block", self.local_steps),
            ("end to end", self.steps),
        )

    @classmethod
    def of(cls, section: TeachSection, images: int, *, warm_start: bool) -> DistillationPlan:
        """Return the recipe's plan for so many crops.

        ``warm_start`` says that the student's weights have learnt already.
        """
        steps = images // section.batch
        local = int(steps * _local_share(section, warm_start=warm_start))
        recalibrate = (
            section.recalibration_share_warm_start if warm_start else section.recalibration_share
        )
        layers = int(local * section.layer_share)
        solves = section.solved > 0 and not warm_start
        soft = int((steps - local) * section.soft_share)
        schedule = Schedule(hold=0)
        if soft:
            schedule = Schedule(local + soft, local, max(1, soft // section.choices))
        return cls(
            local,
            0 if layers or solves else min(local, int(steps * recalibrate)),
            steps - local,
            layer_steps=layers,
            solves=solves,
            filters=schedule,
            local_rate=section.local_rate_warm_start if warm_start else section.local_rate,
            block_rate=section.local_rate_warm_start,
            warm_start=warm_start,
            joint_rate=section.joint_rate,
            late_features=section.features * LATE_SHARE,
            weights=LossWeights(features=section.features, labels=section.labels),
        )

    @classmethod
    def of_each(cls, steps: int, section: TeachSection) -> DistillationPlan:
        """Return a plan of ``steps`` in each phase, to see how long they take."""
        weights = LossWeights(features=section.features, labels=section.labels)
        recalibrate = 0 if section.layer_share else 2 * steps
        return cls(2 * steps, recalibrate, steps, layer_steps=steps, weights=weights)
