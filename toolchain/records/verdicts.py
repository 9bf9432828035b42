"""The frozen records of the gate: what a model costs and gives, and what became of it.

Nothing here measures or compares. A :class:`Record` is what a baseline file holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from toolchain.recipe import GateSection
from toolchain.records.timings import OperatorCount, OutputSample

Status = Literal["same", "worse", "better", "moved"]
"""*same*: within the limit, whichever way. *moved*: beyond it, as a network that was trained again
may."""


@dataclass(frozen=True)
class Accepted:
    """A figure that was let through, with the reason."""

    metric: str
    before: float
    after: float
    why: str


@dataclass(frozen=True)
class FileRecord:
    """One file of a model, as it was on the board."""

    sha256: str
    operators: tuple[OperatorCount, ...]
    """As the runtime ran them; empty where it does not tell."""
    outputs: tuple[OutputSample, ...]


@dataclass(frozen=True)
class Record:
    """A model as it was measured on a board; a baseline file holds one."""

    name: str
    model: str
    """The model's name in the recipe."""
    target: str
    conditions: Mapping[str, str]
    """All that figures depend on beside the model; they are compared only if these are equal."""
    metrics: Mapping[str, float]
    """By name: ``PLACE/KIND``, as ``model.onnx/instructions`` or ``network/parameters``; see
    :mod:`toolchain.gate.metrics`."""
    widths: Mapping[str, int]
    """Filters of each layer."""
    versions: Mapping[str, str]
    """Of what made the files; told, not compared."""
    files: Mapping[str, FileRecord]
    limits: GateSection
    """Of the recipe that the model was made by."""
    made: tuple[str, ...]
    """Words after ``toolchain shrink`` that make the model again; empty if nobody said."""
    accepted: tuple[Accepted, ...]


@dataclass(frozen=True)
class MetricRow:
    """One figure, before and after."""

    metric: str
    before: float
    after: float
    allowed: float
    """How much worse it may get, in its own unit."""
    unit: str
    """``count``, ``bytes``, ``share``, ``ratio``."""
    noise_free: bool
    """True if it repeats; instructions to a tenth of a percent, all others to the last digit."""
    higher_is_better: bool
    status: Status
    why_accepted: str | None = None
    """The reason if it is worse and was let through."""
    of_weights: bool = False
    """True if it moves when the same network is trained again."""
    is_accuracy: bool = False
    """True if it tells how good the network is."""

    @property
    def kind(self) -> str:
        """What it is a figure of: ``instructions``."""
        return self.metric.split("/")[1]

    @property
    def change(self) -> float:
        """After less before."""
        return self.after - self.before

    @property
    def relative(self) -> float | None:
        """The change as a share of the figure before; None if that is zero."""
        return self.change / abs(self.before) if self.before else None

    @property
    def worsening(self) -> float:
        """The change, positive where it is for the worse."""
        return -self.change if self.higher_is_better else self.change

    @property
    def stops(self) -> bool:
        """True if it fails the gate."""
        return self.status == "worse" and self.why_accepted is None


@dataclass(frozen=True)
class OperatorChange:
    """What the operators of one name and type cost before and after; 0: they are not there."""

    file: str
    name: str
    type: str
    before: int
    after: int


@dataclass(frozen=True)
class Reasons:
    """Why figures moved, as far as the records tell."""

    operators: tuple[OperatorChange, ...] = ()
    """Those that changed most, first."""
    widths: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Layers whose filters changed in number; 0: not there."""
    versions: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    """Limits that the candidate's recipe moved, in words."""


@dataclass(frozen=True)
class Verdict:
    """What the gate says."""

    name: str
    target: str
    conditions: Mapping[str, str]
    rows: tuple[MetricRow, ...]
    reasons: Reasons
    notes: tuple[str, ...] = ()
    retrained: bool = False
    """True if the candidate is the same network, trained again: its outputs may be others."""

    @property
    def passed(self) -> bool:
        """True if nothing got worse by more than its limit."""
        return not any(row.stops for row in self.rows)

    @property
    def improved(self) -> bool:
        """True if something got better by more than its limit: a new baseline would hold it."""
        return any(row.status == "better" for row in self.rows)


@dataclass(frozen=True)
class HistoryPoint:
    """A baseline as it was at some time."""

    commit: str
    """Short hash, or the name of a copy."""
    date: str
    subject: str
    record: Record
    rows: tuple[MetricRow, ...]
    """Against the point before."""
