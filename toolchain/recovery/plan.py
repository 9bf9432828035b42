"""What the steps of a recovery are: how many of each kind, and at which rates."""

from __future__ import annotations

from dataclasses import dataclass

LOCAL_SHARE = 0.3
"""Of the steps, or of the time, learnt from block by block."""
GOING_ON = 0.3
"""Of the learning rate, where a student has learnt before."""
FEWEST = 2
"""Steps of a plan."""
FULL_RATE = 50
"""Steps of a plan from which on learning rates are whole: a few long ones would end anywhere."""


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
    features: float = 1.0
    """Weight of what stages give, end to end; that of each output is 1."""
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
    def of(cls, steps: int) -> RecoveryPlan:
        """Return a plan of so many steps."""
        local, share = round(steps * LOCAL_SHARE), min(1.0, steps / FULL_RATE)
        return cls(local, steps - local, cls.local_rate * share, cls.joint_rate * share)

    @classmethod
    def going_on(cls, steps: int) -> RecoveryPlan:
        """Return a plan of so many steps from weights that learnt before: end to end, smaller."""
        return cls(0, steps, joint_rate=cls.joint_rate * GOING_ON * min(1.0, steps / FULL_RATE))

    @classmethod
    def within(
        cls, seconds: float, local_seconds: float, joint_seconds: float, *, goes_on: bool = False
    ) -> RecoveryPlan:
        """Return a plan that takes so long, given how long a step of each kind takes."""
        if goes_on:
            return cls.going_on(max(FEWEST, int(seconds / joint_seconds)))
        mean = LOCAL_SHARE * local_seconds + (1 - LOCAL_SHARE) * joint_seconds
        return cls.of(max(FEWEST, int(seconds / mean)))
