"""Cycles per instruction of a board of one's own: times measured there over counts made here."""

from __future__ import annotations

import dataclasses
import datetime
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolchain.arm.targets import Target
from toolchain.errors import InputError
from toolchain.records.timings import BoardCheck, Check


@dataclass(frozen=True)
class CalibrationPoint:
    """One file, counted and timed."""

    file: str
    runtime: str
    instructions: int
    milliseconds: float

    def cycles(self, clock_hz: int) -> float:
        """Cycles per instruction of this file."""
        return self.milliseconds / 1e3 * clock_hz / self.instructions


def points_of(counted: Check, timed: BoardCheck) -> list[CalibrationPoint]:
    """Join a check under emulation with one on a board, file by file."""
    times = {file.sha256: file for file in timed.files}
    return [
        CalibrationPoint(
            f"{counted.folder}/{file.file}",
            file.runtime.partition(" ")[0],
            file.instructions_per_inference,
            times[file.sha256].median_ms,
        )
        for file in counted.files
        if file.sha256 in times
    ]


def fitted(
    target: Target, points: Sequence[CalibrationPoint], host: str, today: datetime.date
) -> Target:
    """Return the target with the points' median, and the errors that it makes on them.

    Raises :class:`InputError` for fewer than two points: one has no spread.
    """
    if len(points) < 2:
        raise InputError("calibration needs at least two files; give more folders")
    middle = statistics.median(point.cycles(target.clock_hz) for point in points)
    errors = [abs(middle / point.cycles(target.clock_hz) - 1) for point in points]
    runtimes = ", ".join(sorted({point.runtime for point in points}))
    return dataclasses.replace(
        target,
        cycles_per_instruction=round(middle, 4),
        median_error=round(statistics.median(errors), 4),
        worst_error=round(max(errors), 4),
        fitted_on=f"{host} on {today.isoformat()}, {len(points)} files, {runtimes}",
    )


def as_toml(target: Target, points: Sequence[CalibrationPoint]) -> str:
    """Return a table for ``--targets``, with what each file gave as comments."""
    fields = {field.name: getattr(target, field.name) for field in dataclasses.fields(target)}
    key = fields.pop("key")
    lines = ["# Measured; use it by --targets. Cycles per instruction of each file:"]
    lines += [
        f"#   {' '.join(point.file.split())}, {point.runtime}: {point.cycles(target.clock_hz):.3f}"
        for point in points
    ]
    # JSON writes texts and numbers as TOML does.
    lines += [f"[{json.dumps(key)}]", *(f"{name} = {_value(fields, name)}" for name in fields)]
    return "\n".join(lines) + "\n"


def _value(fields: Mapping[str, object], name: str) -> str:
    return json.dumps(fields[name], ensure_ascii=True)
