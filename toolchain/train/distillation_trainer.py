"""Training with a teacher: layer by layer or block by block first, then end to end."""

from __future__ import annotations

import copy
import dataclasses
import fnmatch
import itertools
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toolchain.exporting.fold import fold_batch_norm
from toolchain.models.detector import teachable
from toolchain.recipe import AnchorSection, PruneSection
from toolchain.train.batches import Batch
from toolchain.train.channels import Channels, channels_of, spread_like, start_like
from toolchain.train.course import DetectorCourse, cosine
from toolchain.train.devices import placed
from toolchain.train.distillation import answer, end_to_end_loss, local_loss
from toolchain.train.distillation_plan import DistillationPlan
from toolchain.train.filters import Filters
from toolchain.train.masks import apply_masks
from toolchain.train.solving import equations_of
from toolchain.train.teacher_outputs import (
    Call,
    Seen,
    Value,
    face_map,
    hearing,
    layers_by_name,
    level_shapes,
    names_of,
    teacher_outputs,
    tensors,
    watching,
)

LAYER_BATCHES = 4
"""Of the batches over which batch norm is averaged, those that do before layers learn."""


class DistillationTrainer(DetectorCourse):
    """A student and its teacher, which has its batch norms still; one is folded for speed."""

    def __init__(
        self,
        model: str,
        student: nn.Module,
        teacher: nn.Module,
        plan: DistillationPlan,
        prune: PruneSection,
        example: Tensor,
        anchors: AnchorSection,
        variances: tuple[float, float],
        half: bool = False,
        device: str = "cpu",
    ) -> None:
        # Before batch norm is shared by processes, which changes its class, and on the CPU, where
        # its operator has the name that is looked for.
        needed = plan.layer_steps or plan.solves
        self.layers = layers_by_name(student, example) if needed else {}
        self.teacher = placed(fold_batch_norm(copy.deepcopy(teacher), example).eval(), device)
        self.original, self.plan, self.phases = teacher.eval().to(device), plan, plan.phases
        self._prune = prune
        placed(student, device)
        super().__init__(student, Filters(plan.filters, prune, example), anchors, variances, half)
        modules = dict(student.named_modules())
        known = teachable(model)
        self.blocks = {name: modules[name] for name in names_of(student, known.blocks)}
        self.features = names_of(student, known.features)
        sums = names_of(student, known.sums) if self.layers else []
        self._sums = {[n for n in self.layers if n.startswith(f"{s}.")][-1]: s for s in sums}
        """By a layer, the block that ends in the sum of what it gives and something else."""
        self.recalibration_crops: list[Tensor] = []
        """Crops (N, 3, H, W) over which batch norm is averaged before it is frozen."""
        self.to_solve: Callable[[], Iterable[Tensor]] = tuple
        """Gives crops (N, 3, H, W) by which layers are solved."""
        self.on_solved: Callable[[int, int], None] = lambda *_: None
        """Told after each solution how many of how many there are."""
        self._looked: Tensor | None = None
        self._channels: dict[Call, Channels] = {}
        self._choices = 0
        self.enter(0)

    def begin(self) -> None:
        """Prepare a student that has taken no step yet and starts from random weights."""
        start_like(self.student, self.original, list(self.blocks))

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
        self._choices += 1
        pruned = copy.deepcopy(self.original)
        if self.filters.masks is not None:
            apply_masks(pruned, self.filters.masks)
        self._channels = channels_of(
            self.teacher, pruned, self._looked, [*(self.blocks | self.layers)]
        )

    def is_local(self, step: int) -> bool:
        """Tell whether a step is taken layer by layer or block by block."""
        return step < self.plan.local_steps

    def asks_labels(self, step: int) -> bool:
        """Tell whether the data set's own faces count: end to end, if they have a weight."""
        return self.plan.weights.labels > 0 and not self.is_local(step)

    def kind(self, step: int) -> Hashable:
        """Steps of a phase do the same, but for when features count less or filters change."""
        taught = tuple(self.taught_at(step))
        return taught, self.is_recalibrating(step), self.is_late(step), self._choices

    def is_late(self, step: int) -> bool:
        """Tell whether a step is in the last quarter of the joint ones."""
        return step >= self.plan.steps - self.plan.joint_steps // 4

    def is_recalibrating(self, step: int) -> bool:
        """Tell whether batch norm goes by the batch."""
        return step < self.plan.recalibration_steps

    def taught_at(self, step: int) -> Mapping[str, nn.Module]:
        """Return what learns locally at a step: layers, blocks, or nothing."""
        if step < self.plan.layer_steps:
            return self.layers
        return self.blocks if self.is_local(step) else {}

    def before(self, step: int) -> None:
        """Freeze batch norm, or go on end to end, where that is due; choose filters."""
        plan = self.plan
        if step == 0 and plan.solves:
            self.solve()
        elif step == 0 < plan.layer_steps and not plan.warm_start:
            crops = self.recalibration_crops  # all of them may still move
            few = crops[:: len(crops) // LAYER_BATCHES or 1]
            self.average_batch_norm(few, self.layers)
            spread_like(self.layers, self.teacher, few)
        if step == plan.recalibration_steps > 0:
            self.average_batch_norm(self.recalibration_crops, self.blocks)
        if step and step in (plan.layer_steps, plan.local_steps):
            self.enter(step)
        if step > 0 or not self.plan.filters.holds(0):  # at 0 they come from the teacher
            super().before(step)

    def enter(self, step: int) -> None:
        """Begin the phase of ``step`` with an Adam that has seen nothing."""
        outside = [p for _, p in _outside_layers(self.student)]
        known = {id(parameter) for parameter in outside}
        rest = [p for p in self.student.parameters() if id(p) not in known]
        factor = self.plan.non_layer_factor if self.is_local(step) else 1.0
        groups = [{"params": rest, "factor": 1.0}, {"params": outside, "factor": factor}]
        used = [group for group in groups if group["params"]]
        self.optimizer = torch.optim.Adam(used, lr=1.0, fused=True)

    def rate(self, step: int) -> float:
        """Return the learning rate, which falls to zero in each phase."""
        plan = self.plan
        if step < plan.layer_steps:
            return plan.local_rate * cosine(step / plan.layer_steps)
        if self.is_local(step):
            rate = plan.block_rate if plan.layer_steps else plan.local_rate
            done = (step - plan.layer_steps) / (plan.local_steps - plan.layer_steps)
            return rate * cosine(done)
        return plan.joint_rate * cosine((step - plan.local_steps) / plan.joint_steps)

    def loss(self, step: int, batch: Batch) -> Tensor:
        """Return how far the student is from its teacher, and from the labels if they count."""
        plan, local = self.plan, self.taught_at(step)
        taught = teacher_outputs(self.teacher, batch.images, list(local) or self.features)
        size = batch.images.shape[2], batch.images.shape[3]
        faces = face_map(taught.face, level_shapes(*size, self.anchors.strides))
        if local:
            return local_loss(local, taught, faces, self._channels, plan.weights.face)
        with watching(self.student, self.features) as seen:
            outputs = self.student(batch.images)
        weights = plan.weights
        if self.is_late(step):
            weights = dataclasses.replace(weights, features=plan.late_features)
        loss = end_to_end_loss(outputs, seen, taught, faces, self._channels, weights)
        if weights.labels:
            loss = loss + weights.labels * self.label_loss(outputs, batch)
        return loss

    def solve(self) -> None:
        """Give layers the weights that give what the teacher's layers give.

        First all at once, on the teacher's inputs; then one after the other on the student's own,
        so that each makes up for what those before it lack. A layer that is called several times
        stays as it was: what it gives decides what it is given, and it would drift away.
        """
        heads = [name for name in self.layers if _is_named(name, self._prune.protected)]
        inner = [[name] for name in self._called_once() if name not in heads]
        self._solve(list(self.layers), own=False)
        for done, names in enumerate([*inner, heads], start=1):
            self.on_solved(done, len(inner) + 2)
            self._solve(names, own=True)
        self.on_solved(len(inner) + 2, len(inner) + 2)

    def _called_once(self) -> list[str]:
        """Return the layers that are called once in a run, in their order."""
        (images,) = itertools.islice(self.to_solve(), 1)
        seen = teacher_outputs(self.teacher, images, list(self.layers)).seen
        calls = Counter(each.call[0] for each in seen)
        return [name for name, count in calls.items() if count == 1]

    def _solve(self, names: list[str], *, own: bool) -> None:
        """Solve some layers, together; a call weighs by its variance, as in the loss."""
        equations = equations_of({name: self.layers[name] for name in names})
        last = {name: block for name, block in self._sums.items() if name in names and own}
        for images in self.to_solve() if equations else ():
            taught = teacher_outputs(self.teacher, images, [*equations, *last.values()])
            faces = face_map(taught.face, level_shapes(*_size(images), self.anchors.strides))
            ours = self._own(images, [*equations, *last.values()]) if own else {}
            theirs = {seen.call: seen for seen in taught.seen}
            for call, seen in theirs.items():
                if call[0] not in equations:
                    continue
                known = self._channels[call]
                (given,), (gave,) = tensors(seen.given), tensors(seen.gave)
                given = given * known.given_alive[0]
                if own:
                    (given,) = tensors(ours[call].given)
                if call[0] in last:  # what the sum lacks is made up for too
                    block = last[call[0]], call[1]
                    gave = gave + _only(theirs[block].gave) - _only(ours[block].gave)
                    gave = gave + _only(ours[call].gave) - _only(seen.gave)
                pixels = 1 + self.plan.weights.face * F.adaptive_max_pool2d(faces, gave.shape[2:])
                pixels = pixels / known.variance[0].mean() / pixels.sum()
                equations[call[0]].add(given, gave, pixels)
        for each in equations.values():
            each.solve()
        self.filters.after(0, self.student)

    def _own(self, images: Tensor, names: list[str]) -> dict[Call, Seen]:
        """Return what the student's layers and blocks are given and give on its own way."""
        modules = {id(module): name for name, module in self.student.named_modules()}
        norms = {
            modules[id(layer[1])]: name
            for name, layer in self.layers.items()
            if name in names and isinstance(layer, nn.Sequential)
        }
        with torch.no_grad(), watching(self.student.eval(), [*names, *norms]) as heard:
            self.student(images)
        found = {seen.call: seen for seen in heard}
        for norm, name in norms.items():  # a pair gives what its batch norm gives
            for call in [call for call in found if call[0] == norm]:
                first = found[name, call[1]]
                found[name, call[1]] = dataclasses.replace(first, gave=found[call].gave)
        return found

    def average_batch_norm(self, images: list[Tensor], blocks: Mapping[str, nn.Module]) -> None:
        """Let batch norm take the plain average over some batches, on the teacher's inputs."""
        norms = [m for m in self.student.modules() if isinstance(m, nn.BatchNorm2d)]

        def ask(seen: Seen) -> None:
            answer(blocks, seen, self._channels[seen.call])

        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        self.student.train()
        for batch in images:
            with torch.no_grad(), hearing(self.teacher, list(blocks), ask):
                self.teacher(batch)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        self.student.eval()


def _is_named(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[2], images.shape[3]


def _only(value: Value) -> Tensor:
    (tensor,) = tensors(value)
    return tensor


def _outside_layers(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return parameters outside layers: those of modules that hold others."""
    return [
        (f"{name}.{key}", parameter)
        for name, module in network.named_modules()
        if next(module.children(), None) is not None
        for key, parameter in module.named_parameters(recurse=False)
    ]
