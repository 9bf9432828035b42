"""A course: a student, and how each of its steps is taken.

What step i does follows from the course's plan, the photos and i alone; what it starts from is in
:class:`~toolchain.train.state.State`. So a run that was stopped and taken up ends with the same
weights, bit for bit, as one that was not.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from toolchain.recipe import AnchorSection
from toolchain.train.batches import Batch
from toolchain.train.loss import detection_loss
from toolchain.train.masks import Masks
from toolchain.train.ranks import ranks, share_batch_norm, sum_gradients, total
from toolchain.train.recording import Recorder
from toolchain.train.slopes import quick_slopes
from toolchain.train.targets import Matching

Given = TypeVar("Given")
"""What a step is given: a batch."""


class Held(Protocol):
    """Which filters are zeroed, and whether they may come back."""

    masks: Masks | None

    def before(self, step: int, network: nn.Module) -> bool:
        """Choose and zero filters of ``network``, in place, if that is due; tell whether it was."""
        ...

    def after(self, step: int, network: nn.Module) -> None:
        """Hold at zero, in place, what must stay there."""
        ...


class Course(abc.ABC, Generic[Given]):
    """What all ways to train have in common: the order of things within a step."""

    phases: tuple[tuple[str, int], ...]
    """Name of each phase, and the number of steps after which it ends."""
    optimizer: torch.optim.Optimizer

    def __init__(self, student: nn.Module, filters: Held, half: bool = False) -> None:
        self.student, self.filters, self.half = student, filters, half
        share_batch_norm(student)

    @property
    def steps(self) -> int:
        """The number of all steps."""
        return self.phases[-1][1]

    def before(self, step: int) -> None:
        """Do what is due before ``step``: a new phase begins, filters are chosen."""
        if self.filters.before(step, self.student):
            self.filters_chosen()

    def take(self, step: int, batch: Given) -> float:
        """Take a step and return its loss, of the whole batch."""
        self.student.train(self.is_recalibrating(step))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step) * group["factor"]
        loss = self.computed(step, batch)
        sum_gradients(self.student.parameters())
        self.optimizer.step()
        self.filters.after(step, self.student)
        return float(total(loss))

    def computed(self, step: int, batch: Given) -> Tensor:
        """Give the student the gradients of a batch; return this process's part of the loss."""
        self.student.zero_grad(set_to_none=True)
        with self.precision(), quick_slopes(self.student):
            loss = self.loss(step, batch)
        loss.backward()
        return loss.detach()

    @contextmanager
    def precision(self) -> Iterator[None]:
        """Compute in bfloat16 while the block runs, if that was asked for."""
        device = next(self.student.parameters()).device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.half):
            yield

    @abc.abstractmethod
    def enter(self, step: int) -> None:
        """Set the optimiser as the phase of ``step`` wants it."""

    @abc.abstractmethod
    def loss(self, step: int, batch: Given) -> Tensor:
        """Return this process's part of the loss."""

    @abc.abstractmethod
    def rate(self, step: int) -> float:
        """Return the learning rate."""

    @abc.abstractmethod
    def is_recalibrating(self, step: int) -> bool:
        """Tell whether batch norm goes by the batch."""

    def filters_chosen(self) -> None:
        """Learn that other filters are zero than before."""


class DetectorCourse(Course[Batch]):
    """A course of a detector of faces, whose data set has labels."""

    def __init__(
        self,
        student: nn.Module,
        filters: Held,
        anchors: AnchorSection,
        variances: tuple[float, float],
        half: bool = False,
    ) -> None:
        self.anchors = anchors
        self.matching = Matching(anchors, variances)
        self._recorder = Recorder()
        super().__init__(student, filters, half)

    def computed(self, step: int, batch: Batch) -> Tensor:
        """Give the student the gradients of a batch; a single GPU replays its record."""
        if batch.images.is_cuda and ranks() == 1:
            compute = super().computed
            return self._recorder.take(self.kind(step), batch, lambda given: compute(step, given))
        return super().computed(step, batch)

    def label_loss(self, outputs: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
        """Return the detection loss against the data set's own faces."""
        wanted = batch.wanted
        if wanted is None:
            device = batch.images.device.type
            wanted = self.matching.of(batch.faces, *batch.images.shape[2:]).to(device)
        return detection_loss(outputs[0].float(), outputs[1].float(), wanted)

    @abc.abstractmethod
    def asks_labels(self, step: int) -> bool:
        """Tell whether the data set's own faces count."""

    @abc.abstractmethod
    def kind(self, step: int) -> Hashable:
        """Return what is equal for steps that do the same with another batch."""


def cosine(done: float) -> float:
    """Return 1 at 0 and 0 at 1, in between as a cosine."""
    return 0.5 * (1 + math.cos(math.pi * done))
