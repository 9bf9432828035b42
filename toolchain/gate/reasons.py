"""Why figures moved: what of two records differs beneath them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from toolchain.recipe import GateSection
from toolchain.records.timings import OperatorCount
from toolchain.records.verdicts import MetricRow, OperatorChange, Reasons, Record

Value = TypeVar("Value", int, str)
TOLD = 12
"""Operators that are told, at most."""
UNTOLD, UNTOLD_SHARE = 10_000, 0.01
"""Instructions, and share of them, by which an operator may differ without being told: single ones
are not exact."""


def reasons_of(
    before: Record, after: Record, limits: GateSection, rows: Sequence[MetricRow]
) -> Reasons:
    """Return what moved beneath the figures; operators where their file's instructions did."""
    moved = {row.metric for row in rows if row.status != "same"}
    changes = [
        change
        for name in sorted(set(before.files) & set(after.files))
        if f"{name}/instructions" in moved
        for change in operator_changes(
            name, before.files[name].operators, after.files[name].operators
        )
    ]
    changes.sort(key=lambda change: (-abs(change.after - change.before), change.name))
    return Reasons(
        tuple(changes[:TOLD]),
        _moved(before.widths, after.widths, 0),
        _moved(before.versions, after.versions, "not there"),
        tuple(_moved_limits(before.limits, limits)),
    )


def operator_changes(
    file: str, before: Sequence[OperatorCount], after: Sequence[OperatorCount]
) -> list[OperatorChange]:
    """Join two profiles by name and type; return what differs."""
    old, new = _by_name(before), _by_name(after)
    return [
        OperatorChange(file, name, kind, old.get((name, kind), 0), new.get((name, kind), 0))
        for name, kind in sorted(old.keys() | new.keys())
        if _is_told(old.get((name, kind), 0), new.get((name, kind), 0))
    ]


def _is_told(before: int, after: int) -> bool:
    return abs(after - before) > max(UNTOLD, UNTOLD_SHARE * before)


def _by_name(operators: Sequence[OperatorCount]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for operator in operators:
        key = (operator.name, operator.type)
        found[key] = found.get(key, 0) + operator.instructions
    return found


def _moved(
    before: Mapping[str, Value], after: Mapping[str, Value], absent: Value
) -> dict[str, tuple[Value, Value]]:
    return {
        name: (before.get(name, absent), after.get(name, absent))
        for name in sorted(before.keys() | after.keys())
        if before.get(name, absent) != after.get(name, absent)
    }


def _moved_limits(before: GateSection, after: GateSection) -> Iterator[str]:
    for field in dataclasses.fields(GateSection):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if old != new:
            yield (
                f"{field.name}: from {old.relative:.2%} or {old.absolute:g} to "
                f"{new.relative:.2%} or {new.absolute:g}"
            )
