"""What the steps of a recovery are: how many of each kind, and at which rates."""

from __future__ import annotations

import math
from dataclasses import dataclass

LOCAL_SHARE = 0.3
"""Of the steps, or of the time, learnt from block by block."""
GOING_ON = 0.3
"""Of the learning rate, where a student has learnt before."""
FEWEST = 2
"""Steps of a plan."""
FULL_RATE = 50
"""Steps of a plan from which on learning rates are whole: a few long ones would end anywhere."""
FULL_BATCH = 8
"""Images of a step from which on the learning rate end to end is whole. It falls with the square
root of fewer, as the noise of their gradients rises: Adam then ends as near."""
FULL_STEP = 200_000
"""Pixels of a step from which on a CPU takes hardly less time for each in a larger one."""


@dataclass(frozen=True)
class RecoveryPlan:
    """The steps of a recovery."""

    local_steps: int
    """Block by block."""
    joint_steps: int
    """End to end, after these."""
    local_rate: float = 1e-3
    """Adam's learning rate at the start of the local steps; falls to zero as a cosine."""
    joint_rate: float = 1e-3
    """The same of the steps end to end."""
    features: float = 10.0
    """Weight of what stages give when the steps end to end begin, where outputs count in few cells;
    falls to 1 as a cosine. That of other networks, and of all outputs together, is 1."""
    loss: float = 1.0
    """Weight of the user's own loss."""

    @property
    def steps(self) -> int:
        """The number of all steps."""
        return self.local_steps + self.joint_steps

    @property
    def phases(self) -> tuple[tuple[str, int], ...]:
        """Name of each phase, and the number of steps after which it ends."""
        return (("block by block", self.local_steps), ("end to end", self.steps))

    @classmethod
    def of(cls, steps: int, images: int, *, goes_on: bool = False) -> RecoveryPlan:
        """Return a plan of so many steps of so many images each.

        ``goes_on``: from weights that learnt before, which is end to end, and with smaller steps.
        """
        share = min(1.0, steps / FULL_RATE)
        joint_rate = cls.joint_rate * share * min(1.0, math.sqrt(max(1, images) / FULL_BATCH))
        if goes_on:
            return cls(0, steps, joint_rate=GOING_ON * joint_rate, features=1.0)
        local = round(steps * LOCAL_SHARE)
        return cls(local, steps - local, cls.local_rate * share, joint_rate)

    @classmethod
    def within(
        cls,
        seconds: float,
        local_seconds: float,
        joint_seconds: float,
        images: int,
        *,
        goes_on: bool = False,
    ) -> RecoveryPlan:
        """Return a plan that takes so long, given how long a step of each kind takes."""
        share = 0.0 if goes_on else LOCAL_SHARE
        mean = share * local_seconds + (1 - share) * joint_seconds
        return cls.of(max(FEWEST, int(seconds / mean)), images, goes_on=goes_on)


def crops_of_step(height: int, width: int, device: str, processes: int = 1) -> int:
    """Return how many crops of so many pixels a step takes where nobody says it.

    Many steps of few teach more than few of many. On a CPU they are as few as cost little time;
    elsewhere as many as have the whole learning rate. So many processes share them evenly.
    """
    crops = FULL_BATCH
    if device == "cpu":
        crops = min(crops, math.ceil(FULL_STEP / (height * width)))
    return math.ceil(crops / processes) * processes
