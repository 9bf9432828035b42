"""Files of many networks side by side: instructions on an emulated board, time on this machine."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.arm.checking import HALF, check_folder
from toolchain.arm.comparing import subject_of
from toolchain.arm.sysroot import Sysroot
from toolchain.arm.targets import Target
from toolchain.bench.interleaving import busy_notes, interleaved, machine_name, processor_name
from toolchain.bench.runs import Picture, open_run
from toolchain.errors import InputError
from toolchain.records.run_folder import model_file, name_of
from toolchain.records.timings import ComparedCandidate, Comparison, FileCheck


@dataclass(frozen=True)
class Entry:
    """A file, what it is fed, and what it took on the board."""

    label: str
    path: Path
    image: Picture
    """(1, C, H, W)."""
    check: FileCheck


def compare_files(
    places: Sequence[Path],
    target: Target,
    sysroot: Sysroot,
    cache: Path,
    threads: int,
    seconds: float,
    on_stage: Callable[[str], None],
) -> Comparison:
    """Measure output folders of ``shrink``, or files of any kind; the first file is the measure.

    All run here in turn for about ``seconds``. Raises :class:`InputError` where there is nothing to
    run, and where two files have one name.
    """
    entries = [
        entry for place in places for entry in _entries(place, target, sysroot, cache, on_stage)
    ]
    labels = [entry.label for entry in entries]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise InputError(f"{twice[0]}: is there twice; give folders that have names of their own")
    load, start = os.getloadavg()[0], time.perf_counter()
    on_stage(f"time {len(entries)} files in turn for {seconds:g} s")
    runs = {entry.label: open_run(entry.path, entry.image, threads) for entry in entries}
    times = interleaved(runs, seconds)
    first = entries[0]
    return Comparison(
        target.key,
        target.name,
        target.core,
        threads,
        len(times[first.label]),
        round(time.perf_counter() - start, 1),
        machine_name(),
        processor_name(),
        round(load, 2),
        tuple(
            _candidate(entry, first, times[entry.label], times[first.label]) for entry in entries
        ),
        (*busy_notes(load), *_half_notes(labels)),
    )


def _entries(
    place: Path, target: Target, sysroot: Sysroot, cache: Path, on_stage: Callable[[str], None]
) -> list[Entry]:
    found = check_folder(
        place, None, target, sysroot, (), cache, lambda name: on_stage(f"{place.name}: {name}")
    )
    subject = subject_of(place, None, ())
    paths = {name_of(path): path for path in subject.paths}
    label = "{file}" if model_file(place).is_file() else f"{subject.name}/{{file}}"
    entries = []
    for check in found.files:
        path = paths[check.file.removesuffix(HALF)]
        image = next(iter(subject.for_file(path).inputs.values()))
        entries.append(Entry(label.format(file=check.file), path, image, check))
    return entries


def _half_notes(labels: Sequence[str]) -> list[str]:
    if not any(label.endswith(HALF) for label in labels):
        return []
    return ["Half precision is the board's; times here are of single precision."]


def _candidate(
    entry: Entry, first: Entry, own: Sequence[float], reference: Sequence[float]
) -> ComparedCandidate:
    ratios = [mine / other for mine, other in zip(own, reference, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    check = entry.check
    return ComparedCandidate(
        entry.label,
        check.runtime,
        check.size,
        check.size_bytes,
        check.instructions_per_inference,
        check.instructions.multiply_add,
        check.instructions_per_inference / first.check.instructions_per_inference,
        1e3 * statistics.median(own),
        middle,
        low,
        high,
        check.parity,
    )
