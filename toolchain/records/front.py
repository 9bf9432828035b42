"""The frozen records of what networks find and cost side by side, at sizes of input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from toolchain.records.recommendation import CandidateAccuracy


@dataclass(frozen=True)
class FrontPoint:
    """One network at one size of input."""

    name: str
    """Of a shipped network its file's without the suffix, of a peer its file's."""
    kind: Literal["shipped", "peer"]
    model: str
    size: tuple[int, int]
    """(height, width) of the input that photos were fitted into."""
    sha256: str
    """Of the file that was looked with."""
    accuracy: CandidateAccuracy
    instructions: int | None
    """Of one inference by the front's runtime, one thread; None where a layer is not known."""
    beaten_by: str | None = None
    """Another point that takes no more and finds at least as much at every level: its name and
    size; None for those on the front."""

    @property
    def label(self) -> str:
        """The name, and the size: ``eresfd-0 320x320``."""
        return f"{self.name} {self.size[0]}x{self.size[1]}"


@dataclass(frozen=True)
class Front:
    """Average precision against cost, of all that ships and of peers beside it."""

    board: str
    """As ``toolchain targets`` names it."""
    core: str
    runtime: str
    """With its version."""
    photos: int
    sample_sha256: str
    """Of the names and the ground truth of the photos."""
    points: tuple[FrontPoint, ...]
    """By size, then by rising cost."""
