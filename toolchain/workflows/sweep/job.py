"""What a sweep is asked for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from toolchain.errors import InputError
from toolchain.recipe import override
from toolchain.records.training import Sweep, SweepMember
from toolchain.train.job import TrainingJob
from toolchain.workflows.sweep.members import Listeners, make_member, photos_of


class Making(Protocol):
    """Members that are to be made, one for each rate, in any order or in that of ``before``."""

    @property
    def rates(self) -> tuple[float, ...]:
        """Share of filters zeroed in each member, rising."""
        ...

    @property
    def out(self) -> Path:
        """The sweep's folder."""
        ...

    @property
    def threads(self) -> int:
        """That making a member takes."""
        ...

    def before(self, rate: float) -> float | None:
        """Return the rate of the member that is to be made before that of ``rate``; or None."""
        ...

    def begun(self) -> Sweep:
        """Return the sweep before any member is made; raise what is wrong for all at once."""
        ...

    def make(self, rate: float, listeners: Listeners) -> SweepMember:
        """Make a member, or what is missing of it; a failure is a record too."""
        ...


@dataclass(frozen=True)
class SweepJob:
    """Rates, and what all members share."""

    training: TrainingJob
    """How every member is trained; its ``out`` is the sweep's folder."""
    rates: tuple[float, ...]
    """Share of filters zeroed in each member, rising."""
    data: Path
    """WIDER FACE in its official layout."""
    protocol: Literal["single", "paper"] = "single"
    limit: int | None = None
    """Score a fixed sample of so many photos; None: all that are there."""
    chained: bool = False
    """Each member starts from the one before it, whose rate is lower; the first as ``training``
    says. Otherwise all start as ``training`` says."""
    sample: int = 0
    """Photos to look at while a member is trained."""
    command: str = ""

    @property
    def out(self) -> Path:
        """The sweep's folder."""
        return self.training.out

    @property
    def threads(self) -> int:
        """That training a member takes."""
        return self.training.threads

    def begun(self) -> Sweep:
        """Return the sweep before any member is made.

        Raises what is wrong for all of them at once: photos, or the recipe.
        """
        for rate in self.rates:
            self.training_of(rate)
        _, scored, _ = photos_of(self)
        prune = self.training.recipe.prune
        return Sweep(
            self.training.recipe.model.name,
            prune.criterion,
            prune.scope,
            self.protocol,
            len(scored.images),
            tuple(SweepMember(rate, "waiting") for rate in self.rates),
        )

    def make(self, rate: float, listeners: Listeners) -> SweepMember:
        """Make a member, or what is missing of it; a failure is a record too."""
        return make_member(self, rate, listeners)

    def folder(self, rate: float) -> Path:
        """Return the folder of a member."""
        return self.out / f"rate-{rate:g}"

    def before(self, rate: float) -> float | None:
        """Return the rate of the member from which that of ``rate`` starts; None if from none."""
        index = self.rates.index(rate)
        return self.rates[index - 1] if self.chained and index else None

    def training_of(self, rate: float) -> TrainingJob:
        """Return how the member of ``rate`` is trained; the recipe's ranges hold for it."""
        before = self.before(rate)
        start = self.training.start
        if before is not None:
            start = self.folder(before) / "train" / "model.safetensors"
        return dataclasses.replace(
            self.training,
            recipe=override(self.training.recipe, {"prune.rate": rate}),
            out=self.folder(rate) / "train",
            start=start,
        )


def parse_rates(text: str) -> tuple[float, ...]:
    """Read rates with commas between them; raises :class:`InputError` for what is none."""
    try:
        rates = sorted({float(word) for word in text.split(",")})
    except ValueError:
        raise InputError(f"--rates must be numbers such as 0,0.1,0.5 (got {text!r})") from None
    if not all(0 <= rate < 1 for rate in rates):
        raise InputError(f"--rates must all be >= 0 and < 1 (got {text!r})")
    return tuple(rates)
