"""The time that stages take: each begins where the one before it ends, so that none is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from toolchain.records.stages import Stage


def say_nothing(_name: str) -> None:
    """The default for those who do not want to hear of stages."""


@dataclass
class Clock:
    """Tells of stages as they begin, and how long each took.

    Time belongs to a stage from its beginning to that of the next: nothing falls between two.
    """

    on_stage: Callable[[str], None] = say_nothing
    before: tuple[Stage, ...] = ()
    """What the caller has timed already, such as the loading of PyTorch."""
    _started: list[tuple[str, float]] = field(default_factory=list)

    def begin(self, name: str) -> None:
        """End the stage before, and begin ``name``."""
        self.on_stage(name)
        self._started.append((name, time.perf_counter()))

    @property
    def stages(self) -> tuple[Stage, ...]:
        """All stages so far, the present one up to now."""
        ends = [start for _, start in self._started[1:]] + [time.perf_counter()]
        own = (
            Stage(name, round(end - start, 3))
            for (name, start), end in zip(self._started, ends, strict=True)
        )
        return (*self.before, *own)
