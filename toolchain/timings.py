"""The frozen records of a benchmark of files; nothing here computes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OperatorCost:
    """All operators of one type in a file."""

    type: str
    """As the file calls it: ``Conv``, ``CONV_2D``."""
    count: int
    ms: float | None
    """Of one inference; None where the runtime does not tell."""


@dataclass(frozen=True)
class FileTiming:
    """One file, measured in turn with the others."""

    name: str
    runtime: str
    size_bytes: int
    peak_bytes: int
    """Largest resident memory of a fresh process that opens the file and runs it once."""
    median_ms: float
    low_ms: float
    high_ms: float
    """Quartiles."""
    ratio: float
    """Median over rounds of this file's time over the reference's in the same round."""
    ratio_low: float
    ratio_high: float
    mean_share: float | None
    """Mean difference of its outputs from the file it was made of, of their range, as its
    certificate says; None if it says nothing."""
    operators: tuple[OperatorCost, ...]
    """Dearest first; by count where times are not told."""


@dataclass(frozen=True)
class Bench:
    """All files of a folder, with the conditions."""

    folder: str
    reference: str
    """The file that ratios speak of."""
    input: str
    """What was fed, in words."""
    size: tuple[int, int]
    """(height, width)."""
    threads: int
    rounds: int
    seconds: float
    """Of measuring."""
    machine: str
    processor: str
    load: float
    """Mean number of processes that wanted to run in the minute before."""
    files: tuple[FileTiming, ...]
    notes: tuple[str, ...] = ()
