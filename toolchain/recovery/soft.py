"""Soft filter pruning before a recovery: filters are chosen anew as the network learns.

He et al., "Soft Filter Pruning for Accelerating Deep Convolutional Neural Networks" (IJCAI 2018),
with a teacher in place of labels. From time to time filters are chosen and zeroed; they learn on,
and may come back. Those that are chosen last are held at zero by the recovery that follows.

Until then their biases, scales and shifts stay, as in the paper: through these a filter of zeros
has a gradient. Where all of a channel is zero, ReLU gives none.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from toolchain.errors import CheckpointError, RecipeError
from toolchain.recovery.block import Blocks
from toolchain.recovery.channels import known_of
from toolchain.recovery.course import Batch, Lesson, RecoveryCourse
from toolchain.recovery.feeding import Feed, size_of
from toolchain.recovery.learning import let_learn
from toolchain.recovery.looking import Look
from toolchain.recovery.outputs import seen_kinds
from toolchain.recovery.plan import RecoveryPlan
from toolchain.recovery.planning import Beside, plan_within
from toolchain.recovery.report import RecoveryReport
from toolchain.recovery.running import Pair, Tell, Wanted, course_of, learn, recover, state_of
from toolchain.recovery.teaching import look_at
from toolchain.train.filters import Choose, Schedule, SoftMasks
from toolchain.train.keeping import OnStep
from toolchain.train.masks import Masks, apply_masks, zero_filters_of
from toolchain.train.state import STATE, State

CHOICES = 10
"""How often filters are chosen before the last time."""
FILTERS = 2
"""Dimensions of a layer's filters, at least."""
FOLDER = "soft"
"""Where the state of these steps is, in the recovery's folder."""
MOST = 0.95
"""Share of the steps in which filters may come back, at most."""


class SoftCourse(RecoveryCourse):
    """Steps end to end, between which filters are chosen anew in the student."""

    def __init__(
        self, pair: Pair, choose: Choose, lesson: Lesson, plan: RecoveryPlan, half: bool
    ) -> None:
        super().__init__(pair.student, pair.teacher, pair.masks, lesson, plan, half)
        self.phases = (("filters chosen anew", plan.steps),)
        self.schedule = Schedule(plan.steps, every=max(1, plan.steps // CHOICES))
        self.filters = SoftMasks(self.schedule, choose, pair.masks)

    def before(self, step: int) -> None:
        """Choose filters where that is due; batch norm stays the teacher's."""
        if not self.schedule.chooses(step):
            return
        vectors = {
            name: parameter.detach().clone()
            for name, parameter in self.student.named_parameters()
            if parameter.ndim < FILTERS
        }
        self.filters.before(step, self.student)
        self.student.load_state_dict(vectors, strict=False)

    def take(self, step: int, batch: Batch) -> float:
        """Take a step; after the last one, choose those that go for good."""
        loss = super().take(step, batch)
        if step + 1 == self.plan.steps:
            self.filters.before(self.plan.steps, self.student)
        return loss


def recover_softly(
    pair: Pair, blocks: Blocks, feed: Feed, wanted: Wanted, on_step: OnStep, tell: Tell
) -> RecoveryReport:
    """Choose filters as the student learns, for a share of the steps; then recover without them.

    Raises :class:`RecipeError` where none can be chosen anew, :class:`CheckpointError` where their
    state is gone and a later one is there, and what :func:`recover` raises.
    """
    share = wanted.soft_share
    if not 0 < share <= MOST:
        raise RecipeError(f"soft_share must be above 0, and at most {MOST} (got {share})")
    if pair.choose is None:
        raise RecipeError(
            "the recipe's plan names the filters that go, so none can be chosen anew; leave out "
            "soft_share, or prune.pruned_channels"
        )
    told: list[str] = []

    def once(words: str) -> None:
        if words not in told:  # what the teacher gives is looked at twice
            told.append(words)
            tell(words)

    out = None if wanted.out is None else _place(wanted.out)
    steps = None if wanted.steps is None else max(1, round(wanted.steps * share))
    soft = replace(wanted, minutes=wanted.minutes * share, steps=steps, out=out)
    state, now, own = _soften(pair, pair.choose, blocks, feed, soft, on_step, once)
    left = None if wanted.steps is None else max(1, wanted.steps - (steps or 0))
    held = replace(wanted, minutes=wanted.minutes * (1 - share), steps=left)
    report = recover(now, blocks, feed, held, on_step, once)
    return replace(
        report,
        steps=state.step + report.steps,
        soft_steps=state.step,
        kept_step=state.step + report.kept_step,
        pruned={name: value for name, value in state.samples[0].items() if name != "step"},
        evaluated={**report.evaluated, **({"pruned": own} if own else {})},
        seconds=round(state.seconds + report.seconds, 1),
        notes=(*report.notes, _words(state.step, pair, now)),
    )


def _place(out: Path) -> Path:
    """Return where the state of these steps is; raise where that of the steps after them is alone.

    Which filters were chosen last is told there only: others would be held in their place.
    """
    place = out / FOLDER
    if (out / STATE).exists() and not (place / STATE).exists():
        raise CheckpointError(
            f"{out / STATE} goes on from {place / STATE}, which is gone; put it back, or remove "
            f"both, or give another --out, to begin anew"
        )
    return place


def _soften(
    pair: Pair,
    choose: Choose,
    blocks: Blocks,
    feed: Feed,
    wanted: Wanted,
    on_step: OnStep,
    tell: Tell,
) -> tuple[State, Pair, Mapping[str, float]]:
    """Let the student learn while filters may come back, or take that up.

    Return where it ended, and the user's own figures of the pruned network before the first step.
    """
    start = time.perf_counter()
    staying = let_learn(pair.student, wanted.learn)
    taught = look_at(pair.teacher, feed, wanted.outputs, seen_kinds(pair.plain, pair.example))
    for note in taught.notes:  # before the minutes are spent
        tell(note)
    look, own = Look(taught, None), dict[str, float]()
    looked = [batch.inputs for batch in feed.looked]
    known = known_of(pair.plain, pair.example, pair.teacher, looked, blocks.blocks)
    lesson = Lesson(blocks, known, taught.outputs, feed.looked, taught.heard, wanted.loss, staying)
    state = state_of(wanted)
    if state is None:
        pruned = look.agreement(pair.student)
        if wanted.evaluate is not None:
            own = Look(taught, wanted.evaluate).own(pair.student)
        pair.student.load_state_dict(pair.teacher.state_dict())
        plan = _plan(pair, lesson, feed, wanted, tell, time.perf_counter() - start, look)
        settings = {**wanted.settings, "plan": asdict(plan)}
        state = State(settings, 0, {}, {}, (), samples=({"step": 0, **pruned},))
    else:
        plan = RecoveryPlan(**state.settings["plan"])
        pair.student.load_state_dict(dict(state.network))
    course = SoftCourse(pair, choose, lesson, plan, wanted.half)
    if state.step:
        course.filters.masks = state.masks
    state = learn(course, state, look, feed, wanted, on_step)
    return state, _without(pair, course.filters.masks or {}), own


def _without(pair: Pair, masks: Masks) -> Pair:
    """Return the pair, of which the filters go that were chosen last."""
    device = next(pair.student.parameters()).device
    plain = copy.deepcopy(pair.plain)
    apply_masks(plain, {name: mask.cpu() for name, mask in masks.items()})
    masks = {name: mask.to(device) for name, mask in masks.items()}
    return replace(pair, masks=masks, plain_student=plain)


def _plan(
    pair: Pair,
    lesson: Lesson,
    feed: Feed,
    wanted: Wanted,
    tell: Tell,
    spent: float,
    look: Look,
) -> RecoveryPlan:
    """Return a plan whose steps are all end to end, at the rate of those from the teacher."""
    steps = wanted.steps
    if steps is None:
        courses, beside = course_of(pair, lesson, wanted), Beside(spent, look.seconds, 0.0, 0.0)
        found = plan_within(wanted.minutes, pair.student, courses, feed, beside, tell, goes_on=True)
        steps = found.steps
    usual = RecoveryPlan.of(steps, size_of(feed.looked[0]))
    return RecoveryPlan(0, steps, joint_rate=usual.joint_rate)


def _words(steps: int, before: Pair, after: Pair) -> str:
    """Tell how many filters other than those chosen first went."""
    first, last = (zero_filters_of(each.student, each.masks) for each in (before, after))
    gone = sum(map(len, last.values()))
    others = sum(len({*zeros} - {*first.get(name, ())}) for name, zeros in last.items())
    return (
        f"of these, {steps} first in which filters might come back: of {gone} that went, layer "
        f"by layer, {others} are others than were chosen first"
    )
