"""The frozen records of what could go onto a board, and of which of it is recommended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from toolchain.records.timings import Estimate

Level = Literal["mean", "easy", "medium", "hard"]
"""Of average precision; ``mean`` is that of the three official ones."""

How = Literal["measured", "counted", "estimated", "scaled"]
"""Where a cost comes from: *measured* as time on a real board, *counted* as instructions on an
emulated one, *estimated* from tables of layers that were counted, or, for an input of another size,
*scaled* from those by pixels."""


ORIGINAL = "original size"
"""Of photos that were looked at as they are."""


@dataclass(frozen=True)
class CandidateAccuracy:
    """Average precision from 0 to 1."""

    easy: float
    medium: float
    hard: float
    protocol: str
    photos: int
    input: str = ORIGINAL
    """The size in which photos were looked at, in words."""

    @property
    def mean(self) -> float:
        """The mean of the three levels."""
        return (self.easy + self.medium + self.hard) / 3

    def at(self, level: Level) -> float:
        """Return the figure of a level."""
        return cast(float, getattr(self, level))

    def is_like(self, other: CandidateAccuracy) -> bool:
        """Tell whether both were measured alike, so that they can be compared."""
        ours, theirs = (self.protocol, self.photos), (other.protocol, other.photos)
        return (*ours, self.input) == (*theirs, other.input)


@dataclass(frozen=True)
class CandidateCost:
    """What the best file of a candidate takes on the board."""

    file: str
    """As its output folder has it, an ncnn file by its folder: ``model_ncnn``."""
    runtime: str
    """With its version."""
    how: How
    milliseconds: Estimate
    """Of one inference on one thread; where it is measured, the median and the quartiles."""
    instructions: int | None = None
    """Of one inference on one thread; None where time alone is known."""
    of_unpruned: float | None = None
    """The same as a share of the unpruned network's, in the same runtime; None where that is not
    known."""
    of_plain: float | None = None
    """As a share of the unpruned network's plain export, in onnxruntime."""
    size_bytes: int | None = None
    """With the files that belong to it; None where it is not made yet and nothing tells."""


@dataclass(frozen=True)
class Candidate:
    """A network that could go onto the board."""

    name: str
    """Of a shipped network its file's without the suffix, else the folder as it was given."""
    kind: Literal["shipped", "folder", "peer"]
    """A peer is a detector of others: it stands beside, and is never the one to take."""
    model: str
    size: tuple[int, int]
    """(height, width) of the input that the costs are of."""
    accuracy: CandidateAccuracy | None
    """None where it was never measured."""
    parameters: int
    """Deployed."""
    cost: CandidateCost | None
    """None where nothing is known of any file on the board."""
    next: tuple[str, ...]
    """The lines to copy."""
    notes: tuple[str, ...] = ()
    beaten_by: str | None = None
    """Another that is no slower, at no level less accurate, and better in one of these."""


@dataclass(frozen=True)
class Wish:
    """What a network is wanted to do; nothing is wished by default."""

    min_ap: float | None = None
    level: Level = "mean"
    """The one that ``min_ap`` speaks of."""
    max_ms: float | None = None
    """By the middle of an estimate."""

    @property
    def is_told(self) -> bool:
        """True if anything is wished."""
        return self.min_ap is not None or self.max_ms is not None


@dataclass(frozen=True)
class Recommendation:
    """All candidates for one board, and the one to take."""

    target: str
    board: str
    """As ``toolchain targets`` names it."""
    core: str
    clock_hz: int
    wish: Wish
    rule: str
    """How the one was chosen, in words."""
    candidates: tuple[Candidate, ...]
    chosen: str | None
    """The name of the one to take; None where too little is known to choose."""
    notes: tuple[str, ...]
    """What is measured, what is estimated, and what is not known."""
