"""A user's output folders as candidates: what was measured of them, counted, or can be told."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolchain.arm.kept import earlier_checks
from toolchain.arm.sysroot import runtime_of
from toolchain.arm.targets import Target, estimate
from toolchain.errors import InputError
from toolchain.records.certificate import NAME as CERTIFICATE
from toolchain.records.recommendation import (
    ORIGINAL,
    Candidate,
    CandidateAccuracy,
    CandidateCost,
)
from toolchain.records.run_folder import NCNN, NCNN_FOLDER, RunFolder, name_of, size_of
from toolchain.records.timings import Estimate
from toolchain.system.files import sha256_of
from toolchain.workflows.recommending.commands import lines_of_folder

EVALUATIONS = ("{run}/eval.json", "{run}/eval/eval.json", "{beside}/eval/{name}/eval.json",
               "{beside}/eval/eval.json")  # fmt: skip
"""Where an evaluation of a run is looked for: in it, or beside it."""
BOARD = "{beside}/check/{name}-{target}/board.json"
"""Where ``check --ssh`` leaves what it measured."""


def folder_candidate(path: Path, target: Target, cache: Path) -> Candidate:
    """Return an output folder of ``shrink``; raise :class:`InputError` for any other."""
    run = _opened(path)
    fit = [file for file in run.files if file.suffix in target.runtimes]
    exact = [file for file in fit if "int8" not in file.name]
    known = _costs(run, exact, target, cache)
    best = min(known, key=lambda name: known[name].milliseconds.mid, default=None)
    unknown = [_shown(name_of(file)) for file in exact if name_of(file) not in known]
    return Candidate(
        name=str(path),
        kind="folder",
        model=run.report.model,
        size=run.report.size,
        accuracy=_accuracy(run),
        parameters=run.report.deployed_parameters_after,
        cost=None if best is None else known[best],
        next=lines_of_folder(run, None if best is None else run.path / best, target),
        notes=tuple(_notes(path, fit, unknown, target)),
    )


def _opened(path: Path) -> RunFolder:
    if path.is_dir() and not (path / CERTIFICATE).is_file():
        inside = sorted(each.parent for each in path.glob(f"*/{CERTIFICATE}"))[:3]
        hint = f" (it holds some: {' '.join(map(str, inside))})" if inside else ""
        raise InputError(
            f"{path}: is no output folder of toolchain shrink, for it has no {CERTIFICATE}{hint}"
        )
    return RunFolder.open(path)


def _shown(name: str) -> str:
    """Return a file's name as a user says it: of an ncnn file its folder."""
    return NCNN_FOLDER if name == NCNN else name


def _costs(
    run: RunFolder, files: list[Path], target: Target, cache: Path
) -> Mapping[str, CandidateCost]:
    """Return what is known of each file on the board, by its name: a real board's word goes first.

    Where nothing was counted, an ncnn file's layers were looked up when it was made.
    """
    counted = earlier_checks(files, target, cache)
    timed = _timed_on_a_board(run, files, target)
    told = run.report.ncnn_instructions.get(target.core)
    found = {}
    for file in files:
        name = name_of(file)
        instructions = told if name == NCNN else None
        how, runtime = "estimated", runtime_of(file.suffix, target)
        if name in counted:
            how, instructions = "counted", counted[name].instructions_per_inference
        if name not in timed and instructions is None:
            continue
        time = timed.get(name) or estimate(instructions or 0, target)
        found[name] = CandidateCost(
            file=_shown(name),
            runtime=runtime,
            how="measured" if name in timed else how,  # type: ignore[arg-type]
            milliseconds=time,
            instructions=instructions,
            size_bytes=size_of(file),
        )
    return found


def _timed_on_a_board(run: RunFolder, files: list[Path], target: Target) -> Mapping[str, Estimate]:
    """Return the times that a real board had, by the file's name, where the files are the same."""
    place = Path(_placed(BOARD, run.path, target.key))
    try:
        content = json.loads(place.read_bytes())
        times = {
            str(each["sha256"]): Estimate(
                float(each["low_ms"]), float(each["median_ms"]), float(each["high_ms"])
            )
            for each in content["files"]
            if each["parity"] and each["threads"] == 1
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    digests = {name_of(file): sha256_of(file) for file in files} if times else {}
    return {name: times[digest] for name, digest in digests.items() if digest in times}


def _placed(pattern: str, run: Path, target: str = "") -> str:
    run = run.absolute()
    return pattern.format(run=run, beside=run.parent, name=run.name, target=target)


def _accuracy(run: RunFolder) -> CandidateAccuracy | None:
    """Return what was measured of these very weights: before they shipped, or in an eval.json."""
    told = run.report.accuracy
    if told is not None:
        return _read_accuracy(told, str(told["protocol"]), told["photos"])
    files = run.certificate.files
    own = {file.sha256 for file in files if "int8" not in file.name}
    if not run.certificate.recipe.prune.zeroes:  # else they are not these weights
        own.add(run.report.source_sha256 or "")
    for pattern in EVALUATIONS:
        for result in _results(Path(_placed(pattern, run.path))):
            try:
                if result["subject"]["sha256"] in own:
                    found = _read_accuracy(
                        result["ap"], str(result["protocol"]["name"]), result["sample"]["images"]
                    )
                    seen = result["subject"]["settings"].get("input", ORIGINAL)
                    return replace(found, input=str(seen))
            except (KeyError, TypeError, ValueError, AttributeError):
                continue
    return None


def _results(place: Path) -> Iterator[Any]:
    try:
        content = json.loads(place.read_bytes())
        yield from [content, *content.get("others", [])]
    except (OSError, ValueError, AttributeError, TypeError):
        return


def _read_accuracy(levels: Mapping[str, Any], protocol: str, photos: object) -> CandidateAccuracy:
    easy, medium, hard = (float(levels[level]) for level in ("easy", "medium", "hard"))
    return CandidateAccuracy(easy, medium, hard, protocol, int(str(photos)))


def _notes(path: Path, fit: list[Path], unknown: list[str], target: Target) -> Iterator[str]:
    if not fit:
        runtimes = " and ".join(target.runtimes)
        yield f"{path}: has no file for this board, where {runtimes} files run."
    elif unknown:
        yield (
            f"{path}: {', '.join(unknown)} never counted on this board; toolchain check {path} "
            f"--target {target.key} does."
        )
    if any("int8" in file.name for file in fit):
        yield f"{path}: its int8 files are left out, for what they find differs."
