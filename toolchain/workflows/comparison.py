"""Files of many networks side by side: instructions on an emulated board, time on this machine."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.arm.checking import HALF, check_folder
from toolchain.arm.comparing import Subject, subject_of
from toolchain.arm.peers import PEERS, PeerRuntime, check_peer, open_peer, prepare_peer
from toolchain.arm.sysroot import Sysroot
from toolchain.arm.targets import Target
from toolchain.bench.feeds import NOTHING, Told
from toolchain.bench.interleaving import busy_notes, interleaved, machine_name, processor_name
from toolchain.bench.runs import Given, open_run
from toolchain.bundle.choosing import SUFFIXES
from toolchain.errors import InputError
from toolchain.records.run_folder import model_file, name_of
from toolchain.records.timings import ComparedCandidate, Comparison, FileCheck

RUNTIMES = (*SUFFIXES, *PEERS)
"""As the command line calls them: those that files are made for, and peers that run ONNX files."""


@dataclass(frozen=True)
class Entry:
    """A file, what it is fed, and what it took on the board."""

    label: str
    path: Path
    image: Given
    check: FileCheck
    peer: PeerRuntime | None = None
    """What runs it in place of its own runtime."""

    def open(self, threads: int) -> Callable[[], object]:
        """Return a function that runs it here."""
        if self.peer is None:
            return open_run(self.path, self.image, threads)
        return open_peer(self.path, self.peer, self.image, threads)


@dataclass(frozen=True)
class Contest:
    """Where, and by which runtimes, files are run."""

    target: Target
    sysroot: Sysroot
    cache: Path
    suffixes: frozenset[str]
    """Of the files that their own runtimes run."""
    peers: tuple[PeerRuntime, ...]
    on_stage: Callable[[str], None]
    problems: list[str]
    """What a peer could not run, a sentence each; grows."""
    told: Told
    """Of files on their own."""


def compare_files(
    places: Sequence[Path],
    target: Target,
    sysroot: Sysroot,
    cache: Path,
    threads: int,
    seconds: float,
    on_stage: Callable[[str], None],
    runtimes: Sequence[str] = (),
    told: Told = NOTHING,
) -> Comparison:
    """Measure output folders of ``shrink``, or files of any kind; the first file is the measure.

    ``told`` is of files on their own that take pictures of any size.

    All run here in turn for about ``seconds``. Of ``runtimes`` (see :data:`RUNTIMES`) peers run
    every ONNX file too, and any other leaves out the files of those that are not named. Raises
    :class:`InputError` where there is nothing to run, and where two files have one name.
    """
    own = [SUFFIXES[name] for name in runtimes if name in SUFFIXES] or SUFFIXES.values()
    peers = [
        prepare_peer(name, target, sysroot, cache, on_stage) for name in PEERS if name in runtimes
    ]
    contest = Contest(target, sysroot, cache, frozenset(own), tuple(peers), on_stage, [], told)
    entries = [entry for place in places for entry in _entries(place, contest)]
    if not entries:
        why = contest.problems[0] if contest.problems else "give other files, or fewer runtimes"
        raise InputError(f"there is nothing to run by {', '.join(runtimes)}: {why}")
    labels = [entry.label for entry in entries]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise InputError(f"{twice[0]}: is there twice; give folders that have names of their own")
    load, start = os.getloadavg()[0], time.perf_counter()
    on_stage(f"time {len(entries)} files in turn for {seconds:g} s")
    runs = {entry.label: entry.open(threads) for entry in entries}
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
        (*busy_notes(load), *_half_notes(labels), *contest.problems),
    )


def _entries(place: Path, contest: Contest) -> list[Entry]:
    """Return the rows of one place: files by their own runtimes, then ONNX files by peers."""
    told = contest.told if model_file(place).is_file() else NOTHING
    subject = subject_of(place, None, (), told)
    label = "{file}" if model_file(place).is_file() else f"{subject.name}/{{file}}"
    paths = {name_of(path): path for path in subject.paths}

    def entry(check: FileCheck, path: Path, peer: PeerRuntime | None) -> Entry:
        image = next(iter(subject.for_file(path).inputs.values()))
        return Entry(label.format(file=check.file), path, image, check, peer)

    own = [
        entry(check, paths[check.file.removesuffix(HALF)], None)
        for check in _own_checks(place, subject, contest, told)
    ]
    onnx = [path for path in subject.paths if path.suffix == ".onnx"]
    beside = [
        entry(check, path, peer)
        for path in onnx
        for peer in contest.peers
        for check in _peer_checks(path, subject, peer, contest)
    ]
    return own + beside


def _own_checks(place: Path, subject: Subject, contest: Contest, told: Told) -> Sequence[FileCheck]:
    names: list[str] | None = None
    if any(path.suffix not in contest.suffixes for path in subject.paths):
        names = [name_of(path) for path in subject.paths if path.suffix in contest.suffixes]
    if names == []:
        return ()
    target, sysroot, cache = contest.target, contest.sysroot, contest.cache
    found = check_folder(
        place,
        names,
        target,
        sysroot,
        (),
        cache,
        lambda name: contest.on_stage(f"{place.name}: {name}"),
        told,
    )
    return found.files


def _peer_checks(
    path: Path, subject: Subject, peer: PeerRuntime, contest: Contest
) -> list[FileCheck]:
    """Return the check of a file by a peer; none, with a note, where it cannot run the file."""
    contest.on_stage(f"{subject.name}: {name_of(path)} by {peer.name}")
    try:
        return [check_peer(path, subject, peer, contest.target, contest.sysroot, contest.cache)]
    except InputError as error:
        contest.problems.append(f"Left out: {error}.")
        return []


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
        check.apart.worst_share("largest"),
    )
