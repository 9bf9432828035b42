"""A sweep of recoveries: one network pruned at several rates, each recovered and shrunk.

OUT/rate-0.1/recovered/    state, page and weights of the recovery
OUT/rate-0.1/shrunk/       what ``shrink`` makes of it
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import InputError, ToolchainError
from toolchain.library.recovery_runs import RecoveryJob, recover_from_photos
from toolchain.recipe import override
from toolchain.records.training import Sweep, SweepMember
from toolchain.workflows.stages.job import Job
from toolchain.workflows.sweep.members import Listeners, done_member, shrink_member


@dataclass(frozen=True)
class RecoverySweep:
    """Rates, and what all members share."""

    recovery: RecoveryJob
    """How every member is recovered; its ``out`` is the sweep's folder."""
    rates: tuple[float, ...]
    """Share of filters zeroed in each member, rising."""
    command: str = ""

    @property
    def out(self) -> Path:
        """The sweep's folder."""
        return self.recovery.out

    @property
    def threads(self) -> int:
        """That recovering a member takes."""
        return self.recovery.threads

    def before(self, rate: float) -> None:
        """No member waits for another."""

    def begun(self) -> Sweep:
        """Return the sweep before any member is made; raise :class:`InputError` for a rate of 0."""
        if not all(self.rates):
            raise InputError("--rates: at a rate of 0 there is nothing to recover; give others")
        recipe = self.recovery.recipe
        waiting = tuple(SweepMember(rate, "waiting") for rate in self.rates)
        criterion = recipe.prune.criterion
        return Sweep(recipe.model.name, criterion, "group", "", 0, waiting, "agreement")

    def make(self, rate: float, listeners: Listeners) -> SweepMember:
        """Make a member, or what is missing of it; a failure is a record too."""
        try:
            return self._make(rate, listeners)
        except ToolchainError as error:
            return SweepMember(rate, "failed", " ".join(str(error).split()))

    def _make(self, rate: float, listeners: Listeners) -> SweepMember:
        name, folder, recipe = f"rate {rate:g}", self.out / f"rate-{rate:g}", self.recovery.recipe
        job = dataclasses.replace(
            self.recovery, recipe=override(recipe, {"prune.rate": rate}), out=folder / "recovered"
        )
        listeners.on_stage(f"{name}: recover")
        recover_from_photos(job, listeners.on_photo, listeners.on_step, listeners.on_stage)
        plain = override(recipe, {"prune.rate": None})  # what the recovery zeroed is zero
        weights = job.out / "model.safetensors"
        shrink_member(Job(plain, folder / "shrunk", weights, command=self.command), name, listeners)
        record = json.loads((job.out / "recover.json").read_bytes())
        return done_member(rate, folder, record["recovered"], record["seconds"])
