"""Making one member of a sweep: train, shrink, export, evaluate.

OUT/rate-0.1/train/     state, page and weights of the training
OUT/rate-0.1/shrunk/    what ``shrink`` makes of it
OUT/rate-0.1/eval/      average precision of the shrunk network

Every stage goes on where it was stopped, so making a member that is there already takes seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.data.wider import Split, read_split
from toolchain.detection.opening import plan_for
from toolchain.detection.protocols import PROTOCOLS
from toolchain.errors import InputError, ToolchainError
from toolchain.records.run_folder import RunFolder
from toolchain.records.training import SweepMember
from toolchain.system.files import sha256_of
from toolchain.train.training import train
from toolchain.workflows.evaluation import Settings, evaluate, write_results
from toolchain.workflows.pipeline import Job, run_shrink

if TYPE_CHECKING:
    from toolchain.workflows.sweep.job import SweepJob


def _nothing(*_: object) -> None:
    """The default for those who do not want to hear of progress."""


@dataclass(frozen=True)
class Listeners:
    """Who is told how far a member is."""

    on_stage: Callable[[str], None] = _nothing
    on_photo: Callable[[int, int], None] = _nothing
    on_step: Callable[[str, int, int, float], None] = _nothing


def photos_of(job: SweepJob) -> tuple[Split, Split, Split | None]:
    """Return the photos to learn from, those to score, and those to look at on the way."""
    scored = read_split(job.data, "val").spread(job.limit)
    looked = scored.spread(job.sample) if job.sample else None
    return read_split(job.data, "train"), scored, looked


def make_member(job: SweepJob, rate: float, listeners: Listeners) -> SweepMember:
    """Make the member of ``rate``, or what is missing of it; a failure is a record too."""
    try:
        return _make(job, rate, listeners)
    except ToolchainError as error:
        return SweepMember(rate, "failed", " ".join(str(error).split()))


def _make(job: SweepJob, rate: float, listeners: Listeners) -> SweepMember:
    learnt, scored, looked = photos_of(job)
    name, folder = f"rate {rate:g}", job.folder(rate)
    listeners.on_stage(f"{name}: train")
    trained = train(job.training_of(rate), learnt, looked, listeners.on_photo, listeners.on_step)
    shrunk = folder / "shrunk"
    recipe = job.training.recipe  # it zeroes nothing: what training zeroed is zero
    shrink_member(Job(recipe, shrunk, trained.weights, command=job.command), name, listeners)
    listeners.on_stage(f"{name}: evaluate")
    settings = Settings(folder / "eval", command=job.command)
    plan = plan_for(shrunk, PROTOCOLS[job.protocol])
    result = evaluate(
        plan, scored, settings, lambda _, done, total: listeners.on_photo(done, total)
    )
    _, content = write_results([result], scored, settings)
    return _record(rate, folder, content)


def shrink_member(job: Job, name: str, listeners: Listeners) -> None:
    """Shrink and export what a member has learnt, unless its folder is of just these weights."""
    assert job.checkpoint is not None
    if not _is_of(job.out, job.checkpoint):
        listeners.on_stage(f"{name}: shrink and export")
        run_shrink(job)


def _is_of(shrunk: Path, weights: Path) -> bool:
    """Tell whether ``shrunk`` was made of just these weights."""
    try:
        return RunFolder.open(shrunk).report.source_sha256 == sha256_of(weights)
    except (InputError, OSError):
        return False


def _record(rate: float, folder: Path, evaluated: dict[str, Any] | Any) -> SweepMember:
    training = json.loads((folder / "train" / "train.json").read_bytes())
    accuracy = {level: ap for level, ap in evaluated["ap"].items() if ap is not None}
    return done_member(rate, folder, accuracy, training["seconds"])


def done_member(
    rate: float, folder: Path, accuracy: Mapping[str, float], seconds: float
) -> SweepMember:
    """Return the record of a member that learnt for so long, and is shrunk in its folder."""
    run = RunFolder.open(folder / "shrunk")
    return SweepMember(
        rate,
        "done",
        deployed_parameters=run.report.deployed_parameters_after,
        macs=run.report.macs_after,
        onnx_bytes=run.onnx.stat().st_size,
        accuracy=accuracy,
        hours=seconds / 3600,
        folder=f"{folder.name}/shrunk",
    )
