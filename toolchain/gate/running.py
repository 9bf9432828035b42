"""One candidate through the gate: measured, compared, timed if asked, and the baseline moved."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from toolchain.arm.remote import Board
from toolchain.arm.sysroot import prepare
from toolchain.arm.targets import Target
from toolchain.bench.feeds import NOTHING, Told
from toolchain.checking.pictures import Photo
from toolchain.errors import InputError
from toolchain.gate.baselines import (
    keep_model,
    merged,
    model_of,
    read_baseline,
    with_accepted,
    write_baseline,
)
from toolchain.gate.candidates import ALONE, file_of, measure
from toolchain.gate.comparing import accepted_of, compare, let_through, unjudged
from toolchain.gate.retraining import as_retrained
from toolchain.gate.times import MoreBlocks, blocks_here, blocks_there, decide
from toolchain.recipe import GateSection, Recipe
from toolchain.records.figures import MeasureAccuracy
from toolchain.records.run_folder import ONNX
from toolchain.records.verdicts import Record, Verdict

SCORE = "network/score/"


@dataclass(frozen=True)
class Timed:
    """How wall-clock is measured."""

    seconds: float
    threads: int = 1
    board: Board | None = None
    """None: on this machine."""


@dataclass(frozen=True)
class Request:
    """What the gate is asked."""

    candidate: Path
    baseline: Path
    target: Target
    cache: Path
    photos: tuple[Photo, ...] = ()
    accuracy_of: MeasureAccuracy | None = None
    limits: GateSection | None = None
    """In place of those of the candidate's recipe."""
    made: tuple[str, ...] = ()
    update: bool = False
    accept: tuple[str, ...] = ()
    why: str = ""
    rebase: bool = False
    model: Path | None = None
    """Output folder of the baseline's model; None: what is kept beside it."""
    keep: bool = False
    timed: Timed | None = None
    retrained: bool = False
    """True if the candidate is the same network, trained again."""
    told: Told = NOTHING
    """What a candidate that is a file on its own is fed."""
    recipe: Recipe | None = None
    """How such a candidate is evaluated."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Figures of accuracy that somebody measured of the candidate, by name; higher is better."""


def run_gate(request: Request, on_stage: Callable[[str], None]) -> Verdict:
    """Return the verdict; write the baseline where that is asked for and nothing stops it.

    Raises :class:`InputError` where nothing can be compared.
    """
    if bool(request.accept) != bool(request.why.strip()):
        raise InputError(
            "--accept and --why belong together: say what may move, and for what reason"
        )
    old = read_baseline(request.baseline) if _wants_old(request) else None
    new = _measured(request, request.candidate, old, on_stage)
    twice = sorted(scores_of(new).keys() & request.scores.keys())
    if twice:
        raise InputError(f"--score {twice[0]} is measured by --data, too; leave one of them out")
    new = _with_scores(new, request.scores)
    limits = request.limits or new.limits
    if old is None:
        _write(request, new, None)
        return _with_note(compare(new, new, limits), f"{request.baseline}: written, the first one")
    reference = _rebased(request, old, on_stage) if request.rebase else old
    verdict = compare(reference, new, limits)
    if request.rebase:
        again = "the baseline's model was measured again, under these conditions"
        verdict = _with_note(verdict, again)
    if request.timed is not None:
        verdict = _with_time(verdict, request, old, request.timed, limits, on_stage)
    if request.retrained:
        verdict = as_retrained(verdict)
    verdict = let_through(verdict, request.accept, request.why)
    _move(request, old, reference, new, verdict)
    return verdict


def _wants_old(request: Request) -> bool:
    """Tell whether there must be a baseline: all but a first update compares with one."""
    return request.baseline.exists() or not request.update


def _rebased(request: Request, old: Record, on_stage: Callable[[str], None]) -> Record:
    """Return the baseline's model as it is under these conditions."""
    folder = model_of(request.baseline, old, request.model)
    if old.model == ALONE:
        folder = file_of(folder, min(old.files))
    found = _with_scores(_measured(request, folder, old, on_stage), scores_of(old))
    return dataclasses.replace(found, made=old.made, accepted=old.accepted)


def scores_of(record: Record) -> Mapping[str, float]:
    """Return the figures of accuracy that were given, by name."""
    return {
        name.removeprefix(SCORE): value
        for name, value in record.metrics.items()
        if name.startswith(SCORE)
    }


def _with_scores(record: Record, scores: Mapping[str, float]) -> Record:
    """Return a record with figures that were given, besides those that were measured now."""
    given = {f"{SCORE}{name}": value for name, value in scores.items()}
    return dataclasses.replace(record, metrics={**given, **record.metrics})


def _measured(
    request: Request, folder: Path, old: Record | None, on_stage: Callable[[str], None]
) -> Record:
    sysroot = prepare(request.target, request.cache, on_stage)
    wanted = sorted(old.files) if old is not None and not request.update else None
    if wanted is not None:
        absent = [name for name in wanted if not file_of(folder, name).is_file()]
        if absent and folder.is_dir():
            raise InputError(f"{folder}: has no {absent[0]}, which the baseline has")
    found = measure(
        folder,
        request.baseline.stem,
        request.target,
        sysroot,
        request.photos,
        request.accuracy_of,
        request.cache,
        on_stage,
        wanted,
        request.told,
        request.recipe,
    )
    return dataclasses.replace(found, made=request.made)


def _with_note(verdict: Verdict, note: str) -> Verdict:
    return dataclasses.replace(verdict, notes=(*verdict.notes, note))


def _move(request: Request, old: Record, reference: Record, new: Record, verdict: Verdict) -> None:
    """Write the baseline: all of it by --update, what was accepted alone by --accept."""
    if not verdict.passed:
        return
    accepted = accepted_of(verdict)
    if request.update:
        _write(request, merged(reference, new, verdict), old)
    elif accepted:
        write_baseline(request.baseline, with_accepted(reference, new, accepted), old)


def _write(request: Request, record: Record, expected: Record | None) -> None:
    write_baseline(request.baseline, record, expected)
    if request.keep:
        keep_model(request.baseline, request.candidate)


# Wall-clock ---------------------------------------------------------------------------------------


def _with_time(
    verdict: Verdict,
    request: Request,
    old: Record,
    timed: Timed,
    limits: GateSection,
    on_stage: Callable[[str], None],
) -> Verdict:
    name = ONNX if ONNX in old.files else min(old.files)
    before = file_of(model_of(request.baseline, old, request.model), name)
    on_stage(f"{name} timed beside the baseline's")
    after = file_of(request.candidate, name)
    with _blocks(before, after, timed, request.told) as more:
        where = timed.board.host if timed.board else "this machine"
        found = decide(more, limits.time.relative, timed.seconds, where)
    row = unjudged(f"{name}/time", 1.0, found.ratio, limits)
    if found.outcome == "slower":
        row = dataclasses.replace(row, status="worse")
    note = (
        f"{name} took {found.ratio:.3f} times as long on {found.where} ({found.low:.3f} to "
        f"{found.high:.3f} in 95 of 100; {found.blocks} blocks in {found.seconds:.0f} s): "
        f"{found.outcome} by more than {limits.time.relative:.0%}"
    )
    return _with_note(dataclasses.replace(verdict, rows=(*verdict.rows, row)), note)


@contextlib.contextmanager
def _blocks(before: Path, after: Path, timed: Timed, told: Told) -> Iterator[MoreBlocks]:
    if timed.board is None:
        yield blocks_here(before, after, timed.threads, told)
        return
    with blocks_there(timed.board, before, after, timed.threads, told) as more:
        yield more
