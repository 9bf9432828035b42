"""The records of a training, and of a sweep of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from toolchain.records.accuracy import LEVELS


@dataclass(frozen=True)
class TrainingProgress:
    """How far a training is, for the page that is looked at while it runs."""

    settings: dict[str, object]
    """What it was asked for, as its state has it."""
    phases: tuple[tuple[str, int], ...]
    """Name and last step of each phase, in order."""
    step: int
    losses: tuple[float, ...]
    """Means over ``steps_per_loss`` steps each."""
    steps_per_loss: int
    samples: tuple[Mapping[str, float], ...]
    """``step``, and average precision by level after it, on a small sample of other photos."""
    sample_photos: int
    zero_filters: Mapping[str, Sequence[int]]
    """By layer, which filters are zeroed."""
    zeroed_share: float
    """Share of all parameters that is held at zero."""
    photos: int
    faces: int
    broken: tuple[tuple[str, str], ...]
    """Name and reason of photos that were left out."""
    images_per_second: float | None
    """Of this run so far; None before the first step."""
    filters: Mapping[str, int] = field(default_factory=dict)
    """By layer, how many filters it has; a layer may be missing."""

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.phases[-1][1]

    @property
    def is_done(self) -> bool:
        """True when all steps are taken."""
        return self.step >= self.steps


@dataclass(frozen=True)
class RecoveryProgress:
    """How far a recovery is, for the page that is looked at while it runs."""

    training: TrainingProgress
    """Its ``samples`` are ``step`` and figures of agreement by name; there are no faces."""
    blocks: Mapping[str, tuple[float, float]]
    """By block, its loss at first and of late, in this run."""


MemberState = Literal["waiting", "running", "done", "failed"]


@dataclass(frozen=True)
class SweepMember:
    """One pruned network of a sweep; a figure is None until it is measured."""

    rate: float
    """Share of each layer's or group's filters that training held at zero, from 0 to below 1."""
    state: MemberState
    reason: str | None = None
    """One line for a person: why it failed; None otherwise."""
    deployed_parameters: int | None = None
    """After its zero filters are removed; see :class:`Cost`."""
    macs: int | None = None
    """Multiply-accumulates of one image; see :class:`Cost`."""
    onnx_bytes: int | None = None
    """Size of the file for the board."""
    accuracy: Mapping[str, float] | None = None
    """Average precision from 0 to 1 by level: ``easy``, ``medium``, ``hard``; of a recovery, the
    agreement with the network before by output, 1 at most."""
    hours: float | None = None
    """Hours of learning."""
    folder: str | None = None
    """Where its report lies, relative to the sweep's page and with ``/`` between names."""


@dataclass(frozen=True)
class Sweep:
    """Networks of one model, pruned at several rates and measured in the same way."""

    model: str
    criterion: str
    scope: str
    protocol: str
    """Of the evaluation: ``single`` or ``paper``; empty for an agreement."""
    photos: int
    """Photos on which every member is scored; 0 where that is not known yet."""
    members: tuple[SweepMember, ...]
    """The members, by rising rate."""
    measure: str = "average precision"
    """What the members' ``accuracy`` is; ``agreement`` of recoveries."""

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures of ``accuracy``: levels, or outputs."""
        if self.measure == "average precision":
            return LEVELS
        return tuple(dict.fromkeys(name for each in self.members for name in each.accuracy or {}))

    @property
    def is_finished(self) -> bool:
        """True when no member is waiting or running."""
        return all(member.state in ("done", "failed") for member in self.members)
