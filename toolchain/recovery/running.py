"""A recovery from beginning to end: look, solve, learn, keep, tell."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toolchain.errors import CheckpointError
from toolchain.models.reading import read_pickle
from toolchain.records.cost_tables import Reached
from toolchain.recovery.block import Blocks
from toolchain.recovery.channels import known_of
from toolchain.recovery.course import Batch, Lesson, Loss, RecoveryCourse
from toolchain.recovery.feeding import Feed, Figures, size_of
from toolchain.recovery.keeping import Photos, RecoveryKeeper
from toolchain.recovery.learning import let_learn
from toolchain.recovery.looking import Look
from toolchain.recovery.outputs import seen_kinds
from toolchain.recovery.plan import RecoveryPlan
from toolchain.recovery.planning import Beside, plan_within
from toolchain.recovery.report import RecoveryReport, class_agreements
from toolchain.recovery.solving import solvable, solve
from toolchain.recovery.teaching import look_at
from toolchain.surgery.running import Example
from toolchain.train.filters import Choose
from toolchain.train.keeping import OnStep, StateKeeper
from toolchain.train.masks import Masks
from toolchain.train.ranks import follow_first, total
from toolchain.train.state import STATE, State, read_state


@dataclass(frozen=True)
class Pair:
    """The network before pruning and after, and plain copies of both."""

    teacher: nn.Module
    """In eval mode, in float32; nothing of it changes."""
    student: nn.Module
    """The same with filters at zero; it learns in place."""
    plain: nn.Module
    """The teacher on the CPU as the analyses take it: ``plain(*example)``, tensors alone."""
    plain_student: nn.Module
    example: Example
    masks: Masks
    """By parameter, False for what is held at zero."""
    zeroed: int
    """Filters."""
    reached: Reached | None = None
    """What a target came to, if there was one."""
    choose: Choose | None = None
    """Chooses filters anew in the student as it is; None where they are named."""


@dataclass(frozen=True)
class Wanted:
    """How long a recovery learns, and by what."""

    minutes: float = 30.0
    steps: int | None = None
    """So many, whatever the time."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Kinds of outputs by number or name."""
    learn: Sequence[str] | None = None
    """Names, or shell patterns, of the modules that learn; None: all."""
    loss: Loss | None = None
    evaluate: Figures | None = None
    half: bool = False
    soft_share: float = 0.0
    """Of the steps, or of the minutes: at first filters are chosen anew, and may come back."""
    goes_on: bool = False
    """True if the student has learnt before: nothing is solved, and steps are smaller."""
    average: bool = False
    """True if it ends halfway between what it began with and what it learnt, where it goes on."""
    out: Path | None = None
    """Where the state is kept."""
    images_after: int = 0
    """Images that the network will be run on when all is learnt, within the minutes."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """All that the result depends on; a state of others is refused."""
    keep_every_seconds: float = 60.0
    photos: int = 0
    """For the page."""
    broken: tuple[tuple[str, str], ...] = ()
    """Photos that were left out, and why; for the page."""


Tell = Callable[[str], None]


def recover(
    pair: Pair, blocks: Blocks, feed: Feed, wanted: Wanted, on_step: OnStep, tell: Tell
) -> RecoveryReport:
    """Let the student learn from the teacher, in place; return how near it came.

    Raises what :func:`look_at` raises, :class:`CheckpointError` for a state of other settings, and
    :class:`ProofError` where the loss runs away.
    """
    start = time.perf_counter()
    began_with = copy.deepcopy(pair.student.state_dict()) if wanted.average else {}
    staying = let_learn(pair.student, wanted.learn)
    kinds = seen_kinds(pair.plain, pair.example)
    taught = look_at(pair.teacher, feed, wanted.outputs, kinds)
    for note in taught.notes:  # before the minutes are spent
        tell(note)
    look = Look(taught, wanted.evaluate)
    pruned, by_class = look.agreement(pair.student), look.by_class()
    evaluated = dict[str, Mapping[str, float]]()
    if wanted.evaluate:
        evaluated = {"before": look.own(pair.teacher), "pruned": look.own(pair.student)}
    looked = [batch.inputs for batch in feed.looked]
    known = known_of(pair.plain_student, pair.example, pair.teacher, looked, blocks.blocks)
    lesson = Lesson(blocks, known, taught.outputs, feed.looked, taught.heard, wanted.loss, staying)

    state = state_of(wanted)
    if state is None:
        settling = 0.0 if wanted.goes_on else _solve(pair, lesson)
        solved = look.agreement(pair.student)
        began = "it begins at" if wanted.goes_on else "layers solved in closed form"
        tell(f"{began}: {_told(solved)}")
        plan = _plan(pair, lesson, feed, wanted, tell, _beside(start, look, wanted, settling))
        state = State({**wanted.settings, "plan": asdict(plan)}, 0, {}, {}, ())
        state = _with_sample(state, {"step": 0, **solved})
    else:
        plan = RecoveryPlan(**state.settings["plan"])
        pair.student.load_state_dict(dict(state.network))
        solved = {key: value for key, value in state.samples[0].items() if key != "step"}
    before, course = state.seconds, course_of(pair, lesson, wanted)(pair.student, plan)
    learn(course, state, look, feed, wanted, on_step)
    words = (_averaged(course, began_with, look),) if wanted.average else ()
    kept_step = look.take_best(pair.student, plan.steps)
    pair.student.eval()
    if wanted.evaluate:
        evaluated["recovered"] = look.own(pair.student)
    return RecoveryReport(
        images=look.images,
        pruned=pruned,
        solved=solved,
        recovered=look.agreement(pair.student),
        classes=class_agreements(by_class, look.by_class()),
        evaluated=evaluated,
        steps=plan.steps,
        kept_step=kept_step,
        seconds=round(before + time.perf_counter() - start, 1),
        zeroed=pair.zeroed,
        reached=pair.reached,
        notes=(*feed.notes, *taught.notes, *words),
    )


def state_of(wanted: Wanted) -> State | None:
    """Return the state that is there, if there is a place for one; of processes, all have read it.

    It goes on by the plan that it began with: neither the pace of another hour nor rates of another
    version are asked.
    """
    found = _read(wanted)
    total(torch.zeros(1))  # nobody goes on, and writes it, before all have read it
    return found


def _read(wanted: Wanted) -> State | None:
    path = None if wanted.out is None else wanted.out / STATE
    if path is None or not path.exists():
        return None
    content: Mapping[str, Any] = read_pickle(path)
    plan = json.loads(content.get("settings", "{}")).get("plan")
    if plan is None and content.get("settings"):
        raise CheckpointError(
            f"{path} was begun by an earlier version, which kept no plan of its steps; remove it "
            f"to begin anew, or give another --out"
        )
    return read_state(path, {**wanted.settings, "plan": plan})


def learn(
    course: RecoveryCourse, state: State, look: Look, feed: Feed, wanted: Wanted, on_step: OnStep
) -> State:
    """Take all steps that are left after ``state``, and keep what comes of them; return that."""
    if state.step:
        course.enter(state.step)
        course.optimizer.load_state_dict(dict(state.optimizer))
    photos = Photos(wanted.photos, wanted.broken)
    keeper = RecoveryKeeper(
        wanted.out, wanted.keep_every_seconds, state, course, look, on_step, photos
    )
    _take_steps(course, keeper, feed)
    return keeper.keep() if keeper.step > state.step else state


def _averaged(course: RecoveryCourse, began_with: Mapping[str, Tensor], look: Look) -> str:
    """Put the student halfway between what it began with and what it learnt; tell what that gave.

    Their mean often finds more than either (Wortsman et al., "Robust fine-tuning
    of zero-shot models", CVPR 2022). Where batch norm was averaged, it is anew.
    """
    student = course.student
    learnt = look.agreement(student)
    for name, tensor in student.state_dict().items():
        if tensor.is_floating_point():
            tensor.add_(began_with[name]).div_(2)
    course.settle()
    return (
        "its weights are the mean of those it began with and those it learnt, which agreed so: "
        f"{_told(learnt)}"
    )


def _with_sample(state: State, sample: Mapping[str, float]) -> State:
    return State(**{**vars(state), "samples": (sample,)})


def _told(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in figures.items())


def _solve(pair: Pair, lesson: Lesson) -> float:
    """Solve layers and average batch norm; what brings the outputs no nearer is taken back.

    Return the seconds that averaging batch norm takes.
    """
    looked = [batch.inputs for batch in lesson.settling]
    course = RecoveryCourse(pair.student, pair.teacher, pair.masks, lesson, RecoveryPlan(1, 1))
    began = time.perf_counter()
    before = course.settled_error()
    settling = time.perf_counter() - began
    kept = {key: value.clone() for key, value in pair.student.state_dict().items()}
    layers = [
        layer
        for layer in solvable(pair.plain, pair.example)
        if not lesson.staying.intersection(layer.modules)
    ]
    known = known_of(pair.plain_student, pair.example, pair.teacher, looked, layers)
    solve(pair.student, pair.teacher, layers, known, looked)
    course.filters.after(0, pair.student)
    if not course.settled_error() < before:
        pair.student.load_state_dict(kept)
    follow_first(pair.student)
    return settling


def course_of(
    pair: Pair, lesson: Lesson, wanted: Wanted
) -> Callable[[nn.Module, RecoveryPlan], RecoveryCourse]:
    """Return what makes a course of a plan, for the student or a copy of it."""
    return lambda student, plan: RecoveryCourse(
        student, pair.teacher, pair.masks, lesson, plan, wanted.half
    )


def _beside(start: float, look: Look, wanted: Wanted, settling: float) -> Beside:
    """Return what time is not for steps."""
    after = look.seconds * (1 + wanted.images_after / look.images)
    one = look.seconds
    if wanted.evaluate:
        one, after = look.own_seconds, after + look.own_seconds
    return Beside(time.perf_counter() - start, one, after, settling)


def _plan(
    pair: Pair, lesson: Lesson, feed: Feed, wanted: Wanted, tell: Tell, beside: Beside
) -> RecoveryPlan:
    """Return the plan that was asked for; by the time, once the pace is known."""
    if wanted.steps is not None:
        return _plan_of(wanted.steps, feed, wanted)
    courses, minutes = course_of(pair, lesson, wanted), wanted.minutes
    return plan_within(minutes, pair.student, courses, feed, beside, tell, goes_on=wanted.goes_on)


def _plan_of(steps: int, feed: Feed, wanted: Wanted) -> RecoveryPlan:
    return RecoveryPlan.of(steps, size_of(feed.looked[0]), goes_on=wanted.goes_on)


def _take_steps(course: RecoveryCourse, keeper: StateKeeper, feed: Feed) -> None:
    """Take all steps that are left, phase by phase."""
    ends = [last for _, last in course.phases]
    for (name, _), (first, last) in zip(course.phases, pairwise([0, *ends]), strict=True):
        for step, batch in _numbered(feed, max(first, keeper.step), last):
            course.before(step)
            keeper.note(name, step + 1, course.take(step, batch))


def _numbered(feed: Feed, first: int, last: int) -> Iterator[tuple[int, Batch]]:
    if first < last:
        yield from zip(range(first, last), feed.batches(first, last), strict=True)
