"""Baselines over time: from the commits of a git repository, or from a folder of copies."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from toolchain.errors import InputError
from toolchain.gate.baselines import parse, read_baseline
from toolchain.gate.comparing import rows_of
from toolchain.records.verdicts import HistoryPoint, Record

SEPARATOR = "\x1f"
Version = tuple[str, str, str, Record]
"""Commit, date, subject, and what the file held."""


def read_history(place: Path) -> Mapping[str, tuple[HistoryPoint, ...]]:
    """Return every baseline below ``place``, by its path, oldest first.

    In a git repository a point is a commit that changed the file; elsewhere a folder of copies is
    one history, in the order of their names. Raises :class:`InputError` if there is none.
    """
    if not place.exists():
        raise InputError(f"{place}: is not there; give a baseline or a folder of them")
    files = sorted(place.rglob("*.json")) if place.is_dir() else [place]
    if _in_git(place):
        found = {str(file): tuple(_points(_commits(file))) for file in files}
    else:
        copies = ((file.name, "", "", read_baseline(file)) for file in files)
        found = {str(place): tuple(_points(copies))}
    kept = {name: points for name, points in found.items() if points}
    if not kept:
        raise InputError(f"{place}: has no baseline (make one by toolchain gate --update)")
    return kept


def _points(versions: Iterable[Version]) -> Iterator[HistoryPoint]:
    """Yield points with what moved since the one before, by the limits of the later one."""
    last: Record | None = None
    for commit, date, subject, record in versions:
        rows = () if last is None else rows_of(last, record, record.limits)
        yield HistoryPoint(commit, date, subject, record, rows)
        last = record


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=False)
    except FileNotFoundError as error:
        raise InputError("history needs git (Debian: apt install git)") from error


def _in_git(place: Path) -> bool:
    folder = place if place.is_dir() else place.parent
    return _git(folder, "rev-parse", "--is-inside-work-tree").returncode == 0


def _commits(file: Path) -> Iterator[Version]:
    """Yield each committed version of a file, then that of the working tree if it is another."""
    form = SEPARATOR.join(("%h", "%cs", "%s"))
    log = _git(file.parent, "log", "--reverse", f"--format={form}", "--", file.name)
    last = b""
    for line in log.stdout.decode(errors="replace").splitlines():
        commit, date, subject = line.split(SEPARATOR, 2)
        shown = _git(file.parent, "show", f"{commit}:./{file.name}")
        if shown.returncode == 0:
            last = shown.stdout
            yield commit, date, subject, parse(last, f"{file} at {commit}")
    if file.read_bytes() != last:
        yield "now", "", "not committed", read_baseline(file)
