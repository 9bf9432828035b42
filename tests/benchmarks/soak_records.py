"""What the soak of the surgery has found: one line per network, and the counts of all."""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

FAILURES = ("wrong", "crashed", "timeout", "memory")
"""Kinds of an end that no network may have."""
SHARES = (0.5, 0.9, 0.99, 0.999, 1.0)


@dataclass(frozen=True)
class Entry:
    """How one network ended."""

    seed: int
    kind: str
    reason: str = ""
    seconds: float = 0.0
    exact: float | None = None
    soft: float | None = None
    shrunk: float | None = None

    @property
    def failed(self) -> bool:
        return self.kind in FAILURES


class OtherGeneratorError(Exception):
    """The file was begun with networks that the seeds no longer stand for."""


class InUseError(Exception):
    """Another soak writes to the file."""


class State:
    """The file of entries; a run that was stopped goes on from it.

    Every entry is one write of one line. A line that was cut off, by a full disk or a power cut,
    is dropped when the file is opened.
    """

    def __init__(self, path: Path, generator: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.entries: dict[int, Entry] = {}
        self._lock = path.with_suffix(".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InUseError from error
        lines = whole_lines(path)
        if lines and json.loads(lines[0])["generator"] != generator:
            raise OtherGeneratorError
        self.entries = {entry.seed: entry for entry in entries_of(lines)}
        rewrite(path, [json.dumps({"generator": generator}), *lines[1:]])
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)

    def enter(self, entry: Entry) -> None:
        os.write(self._file, (json.dumps(asdict(entry)) + "\n").encode())
        self.entries[entry.seed] = entry


def whole_lines(path: Path) -> list[str]:
    """The file's lines without one that was cut off."""
    return path.read_text().split("\n")[:-1] if path.exists() else []


def entries_of(lines: list[str]) -> Iterator[Entry]:
    """The entries below the first line; of a seed that was tried again, the last one counts."""
    for line in lines[1:]:
        yield Entry(**json.loads(line))


def rewrite(path: Path, lines: list[str]) -> None:
    beside = path.with_suffix(".part")
    beside.write_text("".join(f"{line}\n" for line in lines))
    beside.replace(path)


def counts(entries: Iterable[Entry]) -> Iterator[str]:
    """Lines that say how many networks ended how, for which reason, and how near they are."""
    entries = list(entries)
    kinds = Counter(entry.kind for entry in entries)
    reasons = Counter((entry.kind, entry.reason) for entry in entries if entry.reason)
    yield f"{len(entries):8,d}  networks"
    for kind, count in kinds.most_common():
        yield f"{count:8,d}  {kind}"
        for (of, reason), number in reasons.most_common():
            if of == kind:
                yield f"{number:16,d}  {reason}"
    yield from closeness(entries)
    failed = sorted(entry.seed for entry in entries if entry.failed)
    if failed:
        yield f"seeds of failures: {' '.join(map(str, failed))}"


def closeness(entries: list[Entry]) -> Iterator[str]:
    """Quantiles of the differences."""
    yield "largest difference, as a share of the channel's magnitude, at " + ", ".join(
        f"{share:.1%}" for share in SHARES
    )
    for name in ("exact", "soft", "shrunk"):
        values = sorted(v for entry in entries if (v := getattr(entry, name)) is not None)
        if values:
            chosen = [values[min(len(values) - 1, int(share * len(values)))] for share in SHARES]
            yield f"{name:>8s}  " + "  ".join(f"{value:.1e}" for value in chosen)


def short(entries: Iterable[Entry]) -> str:
    """The counts in a few words: "910 smaller, 80 refused"."""
    kinds = Counter(entry.kind for entry in entries)
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
