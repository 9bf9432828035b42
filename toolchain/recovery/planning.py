"""How many steps the minutes buy: by the pace of some, and by what is done beside them."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from toolchain.errors import InputError
from toolchain.recovery.course import RecoveryCourse
from toolchain.recovery.feeding import Feed, size_of
from toolchain.recovery.plan import RecoveryPlan
from toolchain.train.keeping import LOOKING, SAMPLES
from toolchain.train.ranks import agreed

PACE_STEPS = 4
"""Steps of each kind by which the pace is measured; the first of them is not counted."""
PACE = 3 * 10**9
"""First number of the batches that the pace is measured on."""


@dataclass(frozen=True)
class Beside:
    """Seconds that are no steps."""

    spent: float
    """So far."""
    look: float
    """One look at the student on the way."""
    after: float
    """All that follows the last step."""
    settle: float
    """Averaging batch norm between the phases."""

    def left(self, seconds: float) -> float:
        """Return what is left of so many seconds for steps."""
        left = seconds - self.spent - self.after - self.settle
        return left - min(SAMPLES * self.look, LOOKING * max(left, 0.0) + self.look)


def plan_within(
    minutes: float,
    student: nn.Module,
    course_of: Callable[[nn.Module, RecoveryPlan], RecoveryCourse],
    feed: Feed,
    beside: Beside,
    tell: Callable[[str], None],
    *,
    goes_on: bool = False,
) -> RecoveryPlan:
    """Return the plan that ends within so many minutes, and tell what they buy.

    Raises :class:`InputError` where they are too few for a step of each kind.
    """
    began = time.perf_counter()
    local, joint = (agreed(_pace(student, course_of, feed, kind)) for kind in range(2))
    left = agreed(beside.left(60 * minutes - (time.perf_counter() - began)))
    if left < 2 * (local + joint):
        raise InputError(
            f"{minutes:g} minutes are too few: all but the steps takes "
            f"{60 * minutes - left:.0f} s, and a step {local + joint:.1f} s; give more"
        )
    images = size_of(feed.looked[0])
    plan = RecoveryPlan.within(left, local, joint, images, goes_on=goes_on)
    tell(
        f"a step block by block takes {local:.2f} s, end to end {joint:.2f} s; of {minutes:g} "
        f"minutes {left / 60:.1f} are left for steps, {plan.local_steps} and {plan.joint_steps} of "
        f"them, {plan.steps * images:,} images"
    )
    return plan


def _pace(
    student: nn.Module,
    course_of: Callable[[nn.Module, RecoveryPlan], RecoveryCourse],
    feed: Feed,
    kind: int,
) -> float:
    """Return how many seconds a step takes, block by block (0) or end to end (1)."""
    plan = RecoveryPlan(*((PACE_STEPS, 1) if kind == 0 else (0, PACE_STEPS)))
    course = course_of(copy.deepcopy(student), plan)
    began = 0.0
    for step, batch in enumerate(feed.batches(PACE, PACE + PACE_STEPS)):
        if step == 1:
            began = time.perf_counter()
        course.take(step, batch)
    return (time.perf_counter() - began) / (PACE_STEPS - 1)
