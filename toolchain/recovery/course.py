"""A recovery's steps: block by block first, then end to end; zeros are held throughout."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from toolchain.errors import InputError
from toolchain.models.leaves import tensors_in
from toolchain.recovery.block import Blocks
from toolchain.recovery.cells import cell_weights
from toolchain.recovery.channels import Known
from toolchain.recovery.hearing import Arguments, Call, Heard, answer, hearing, run
from toolchain.recovery.norms import average_batch_norm, averaged, remembers
from toolchain.recovery.outputs import Output
from toolchain.recovery.plan import RecoveryPlan
from toolchain.train.course import Course, cosine
from toolchain.train.masks import Masks, apply_masks
from toolchain.train.ranks import follow_first, ranks, total
from toolchain.train.slopes import quick_slopes

FIRST, LATEST = 5, 50
"""Calls of a block whose losses are averaged, for people."""
USUAL_WEIGHT = 0.05
"""Root mean square of the weights that the learning rates are made for."""
LONGEST_STEP = 10.0
"""How many times the usual step a parameter's is at most, where batch norm was trained. Where it
was folded, weights are as large as it made them, and longer steps spoil more."""
Loss = Callable[[Any, Any], Tensor]
"""A user's own loss: the network's outputs and the batch as the user's loader gave it -> scalar."""


@dataclass(frozen=True)
class Batch:
    """What a step is given."""

    inputs: Arguments
    whole: Any
    """As the user's loader gave it, labels and all."""


@dataclass
class HeldMasks:
    """Zeros that are held from the start."""

    masks: Masks | None

    def before(self, step: int, network: nn.Module) -> bool:  # noqa: ARG002
        """Choose nothing anew."""
        return False

    def after(self, step: int, network: nn.Module) -> None:  # noqa: ARG002
        """Hold at zero, in place, what must stay there."""
        if self.masks is not None:
            apply_masks(network, self.masks)


@dataclass(frozen=True)
class Lesson:
    """What is to be learnt: what blocks and outputs there are, and what is known of them."""

    blocks: Blocks
    known: Mapping[Call, Known]
    outputs: tuple[Output, ...]
    settling: Sequence[Batch]
    """Over which batch norm is averaged."""
    heard: Sequence[tuple[Batch, Any]]
    """Some of these, and what the teacher gives for each: by them it is told what comes nearer."""
    loss: Loss | None = None
    staying: frozenset[str] = frozenset()
    """Modules that do not learn."""


class RecoveryCourse(Course[Batch]):
    """A student that learns from what it was before it was pruned."""

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        masks: Masks,
        lesson: Lesson,
        plan: RecoveryPlan,
        half: bool = False,
    ) -> None:
        self.teacher, self.lesson, self.plan, self.phases = teacher, lesson, plan, plan.phases
        super().__init__(student, HeldMasks(masks), half)
        self._modules = dict(student.named_modules())
        self._first: dict[str, list[Tensor]] = {}
        self._latest: dict[str, deque[Tensor]] = {}
        self.enter(0)

    def is_local(self, step: int) -> bool:
        """Tell whether a step is taken block by block."""
        return step < self.plan.local_steps

    def is_recalibrating(self, step: int) -> bool:  # noqa: ARG002
        """Batch norm is averaged and frozen before each phase: steps leave it."""
        return False

    def before(self, step: int) -> None:
        """Begin a phase where it is due."""
        if step == self.plan.local_steps:
            self.settle()
            if step:
                self.enter(step)

    def settle(self) -> float | None:
        """Average batch norm over the student's own way, where that brings it nearer.

        Return how far its outputs are from the teacher's then; None where there is none to average.
        """
        if not averaged(self.student, self.lesson.staying):
            return None
        inputs = [batch.inputs for batch in self.lesson.settling]
        before, kept = self.error(), {k: v.clone() for k, v in self.student.state_dict().items()}
        average_batch_norm(self.student, inputs, self.lesson.staying)
        after = self.error()
        if not after < before:
            self.student.load_state_dict(kept)
        follow_first(self.student)
        return min(before, after)

    def settled_error(self) -> float:
        """Do the same, and return how far its outputs are from the teacher's in any case."""
        found = self.settle()
        return self.error() if found is None else found

    def error(self) -> float:
        """Return how far the student's outputs are from the teacher's, where it settles."""
        self.student.eval()
        distances = [
            self.distance(run(self.student, batch.inputs), theirs)
            for batch, theirs in self.lesson.heard
        ]
        return float(torch.stack(distances).mean())

    def enter(self, step: int) -> None:  # noqa: ARG002
        """Begin a phase with an Adam that has seen nothing."""
        normed = any(
            isinstance(module, _BatchNorm) and remembers(module)
            for module in self.teacher.modules()
        )
        longest = LONGEST_STEP if normed else 1.0
        groups = [
            {"params": [parameter], "factor": step_factor(parameter, longest)}
            for parameter in self.student.parameters()
            if parameter.requires_grad
        ]
        self.optimizer = torch.optim.Adam(groups, lr=1.0)

    def rate(self, step: int) -> float:
        """Return the learning rate, which falls to zero in each phase."""
        plan = self.plan
        if self.is_local(step):
            return plan.local_rate * cosine(step / plan.local_steps)
        return plan.joint_rate * cosine((step - plan.local_steps) / plan.joint_steps)

    def computed(self, step: int, batch: Batch) -> Tensor:
        """Give the student the gradients of a batch; each block's at once, where it learns alone.

        Between two blocks nothing is kept, so memory is that of the largest.
        """
        if not self.is_local(step):
            return super().computed(step, batch)
        self.student.zero_grad(set_to_none=True)
        losses: list[Tensor] = []
        count = len(self.lesson.known)

        def learn(heard: Heard) -> None:
            with torch.enable_grad():
                loss = self.block_loss(heard) / count / ranks()
                if loss.requires_grad:
                    loss.backward()
            losses.append(loss.detach())
            self._note(heard.block.name, loss.detach() * count * ranks())

        blocks = self.lesson.blocks.blocks
        with self.precision(), quick_slopes(self.student), hearing(self.teacher, blocks, learn):
            run(self.teacher, batch.inputs)
        return torch.stack(losses).sum()

    def _note(self, block: str, loss: Tensor) -> None:
        first = self._first.setdefault(block, [])
        if len(first) < FIRST:
            first.append(loss)
        self._latest.setdefault(block, deque(maxlen=LATEST)).append(loss)

    @property
    def losses_by_block(self) -> dict[str, tuple[float, float]]:
        """By block, its mean loss over the first steps of this run, and over the latest."""
        return {
            block: (
                float(torch.stack(first).mean()),
                float(torch.stack([*self._latest[block]]).mean()),
            )
            for block, first in self._first.items()
        }

    def block_loss(self, heard: Heard) -> Tensor:
        """Return how far the student's block is from the teacher's, on what that is given."""
        known = self.lesson.known[heard.call]
        found = answer(self._modules, heard.block, known.feed(heard.given))
        return _mean(known.errors(found, heard.gave))

    def loss(self, step: int, batch: Batch) -> Tensor:
        """Return how far the student is from its teacher end to end, with the user's own loss.

        Of processes that share a batch each returns its part: their sum is the whole's.
        """
        stages = self.lesson.blocks.stages
        wanted: dict[Call, Any] = {}
        found: dict[Call, Any] = {}
        with hearing(self.teacher, stages, lambda heard: wanted.setdefault(heard.call, heard.gave)):
            theirs = run(self.teacher, batch.inputs)
        with hearing(self.student, stages, lambda heard: found.setdefault(heard.call, heard.gave)):
            ours = self.student(*batch.inputs[0], **batch.inputs[1])
        errors = []
        for call, gave in found.items():
            each = [error / ranks() for error in self.lesson.known[call].errors(gave, wanted[call])]
            # As a divisor the error is a constant: what is far off must not drown the rest.
            errors.append(_mean([error / (1 + total(error)) for error in each]))
        loss = self.distance(ours, theirs) / ranks()
        if errors:
            loss = loss + self.features(step) * torch.stack(errors).mean()
        if self.lesson.loss is not None:
            loss = loss + self.plan.loss * own_loss(self.lesson.loss, ours, batch.whole) / ranks()
        return loss

    def features(self, step: int) -> float:
        """Return what features of stages count end to end, beside all outputs together.

        Outputs that count in the few cells alone in which something is seen tell little in a step,
        and each time another thing; so features lead there at first. In the end they stand in the
        way of what cells of the finest levels give.
        """
        if all(output.seen is None for output in self.lesson.outputs):
            return 1.0
        done = (step - self.plan.local_steps) / self.plan.joint_steps
        return 1.0 + (self.plan.features - 1.0) * cosine(done)

    def distance(self, ours: Any, theirs: Any) -> Tensor:
        """Return the mean over outputs of how far they are apart."""
        wanted = tensors_in(theirs)
        weights = cell_weights(self.lesson.outputs, wanted)
        pairs = zip(self.lesson.outputs, tensors_in(ours), wanted, weights, strict=True)
        distances = [o.weight * o.distance(a, b, weight) for o, a, b, weight in pairs]
        return torch.stack(distances).mean()


def step_factor(parameter: Tensor, longest: float) -> float:
    """Return how long a parameter's steps are beside the usual ones: as large as its weights are.

    Adam's steps are as large for all. What reads pixels from 0 to 255, or what batch norm was
    folded into, may hold weights of a thousandth, which one such step would wipe out; filters of
    few inputs (depthwise ones, those of narrow networks) hold large ones, which it hardly moves.
    """
    weights = parameter.detach()
    if weights.ndim < 2 or not bool((weights != 0).any()):
        return 1.0
    size = float(weights[weights != 0].square().mean().sqrt())
    return min(longest, size / USUAL_WEIGHT)


def own_loss(loss: Loss, outputs: Any, batch: Any) -> Tensor:
    """Return a user's own loss; raise :class:`InputError` for what is no scalar."""
    found = loss(outputs, batch)
    if not isinstance(found, Tensor) or found.numel() != 1:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise InputError(f"loss must return a tensor of one number (got {shape})")
    if not bool(found.isfinite()):
        raise InputError(f"loss must return a finite number (got {float(found.detach())})")
    return found.reshape(())


def _mean(errors: Sequence[Tensor]) -> Tensor:
    """Return the mean over maps of the mean over channels; 0 of nothing."""
    means = [error.sum() / max(1, len(error)) for error in errors]
    return torch.stack(means).mean() if means else torch.zeros(())
