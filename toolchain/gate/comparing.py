"""Two records and limits in, a verdict out: pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from toolchain.errors import InputError
from toolchain.gate.metrics import allowed, fits, kind_of
from toolchain.gate.reasons import reasons_of
from toolchain.lineage.links import pair_boxes
from toolchain.recipe import GateSection
from toolchain.records.timings import ChannelSample, OutputSample
from toolchain.records.verdicts import (
    Accepted,
    FileRecord,
    MetricRow,
    Record,
    Status,
    Verdict,
)

DIGITS = 0.05
"""Least range of a channel, as a share of its largest value: six digits of it are then five
thousandths of the limit on outputs."""


def compare(before: Record, after: Record, limits: GateSection) -> Verdict:
    """Compare two records of one model.

    Raises :class:`InputError`, naming what differs, if they cannot be compared: measured under
    other conditions, of another model, or with figures that only one side has.
    """
    problems = list(_incomparable(before, after))
    if problems:
        raise InputError(
            f"{before.name}: cannot be compared: {'; '.join(problems)}{_way_out(before, after)}"
        )
    rows = rows_of(before, after, limits)
    notes = tuple(
        f"{name} is not in the baseline, so it is not gated (--update takes it in)"
        for name in sorted(set(after.files) - set(before.files))
    )
    return Verdict(
        before.name,
        before.target,
        dict(after.conditions),
        rows,
        reasons_of(before, after, limits, rows),
        notes,
    )


def rows_of(before: Record, after: Record, limits: GateSection) -> tuple[MetricRow, ...]:
    """Return every figure that both records have, whatever they were measured under."""
    figures = dict(_figures(before, after))
    return tuple(_row(metric, *pair, limits) for metric, pair in sorted(figures.items()))


def let_through(verdict: Verdict, metrics: Sequence[str], why: str) -> Verdict:
    """Return the verdict with figures that got worse let through.

    Raises :class:`InputError` for a name that fits no such figure.
    """
    for wanted in metrics:
        if not any(row.status == "worse" and fits(row.metric, wanted) for row in verdict.rows):
            worse = ", ".join(row.metric for row in verdict.rows if row.status == "worse")
            raise InputError(
                f"--accept {wanted}: is nothing that got worse (worse: {worse or 'nothing'})"
            )
    rows = tuple(
        dataclasses.replace(row, why_accepted=why)
        if row.status == "worse" and any(fits(row.metric, wanted) for wanted in metrics)
        else row
        for row in verdict.rows
    )
    return dataclasses.replace(verdict, rows=rows)


def accepted_of(verdict: Verdict) -> tuple[Accepted, ...]:
    """Return what was let through."""
    return tuple(
        Accepted(row.metric, row.before, row.after, row.why_accepted)
        for row in verdict.rows
        if row.why_accepted is not None
    )


# What cannot be compared --------------------------------------------------------------------------


def _incomparable(before: Record, after: Record) -> Iterator[str]:
    if before.model != after.model:
        yield (
            f"the baseline is of {before.model}, the candidate of {after.model} (give another "
            f"--baseline, or make one by --update)"
        )
    for name in sorted(before.conditions.keys() | after.conditions.keys()):
        old, new = before.conditions.get(name), after.conditions.get(name)
        if old != new and not (old is None and name.removeprefix("runtime of ") in after.files):
            yield f"{name} was {old or 'not told'} and is {new or 'not told'}"
    for name in sorted(set(before.files) - set(after.files)):
        yield f"the candidate has no {name} (make it by shrink --formats)"
    for name in sorted(set(before.files) & set(after.files)):
        yield from _inputs_apart(name, before.files[name], after.files[name])
    gated = [metric for metric in before.metrics if not kind_of(metric).starts_at_zero]
    for metric in sorted(set(gated) - set(after.metrics)):
        if metric.split("/")[0] not in set(before.files) - set(after.files):
            yield f"the candidate has no {metric}{_help(metric)}"


def _way_out(before: Record, after: Record) -> str:
    """Return what is to be done where the same model was measured under other conditions."""
    shared = before.conditions.keys() & after.conditions.keys()
    if all(before.conditions[name] == after.conditions[name] for name in shared):
        return ""
    return "; --rebase measures the baseline's model again under today's conditions"


def _help(metric: str) -> str:
    _, kind, *rest = metric.split("/")
    score = f"--data, or --score {'/'.join(rest)}=VALUE"
    helps = {"average_precision": "--data", "error": "--data", "score": score}
    return f" (give {helps[kind]})" if kind in helps else ""


def _inputs_apart(name: str, before: FileRecord, after: FileRecord) -> Iterator[str]:
    old, new = ({sample.input for sample in side.outputs} for side in (before, after))
    for lost in sorted(old - new):
        yield f"the baseline saw {lost}, the candidate's {name} did not (give it by --photo)"
    for extra in sorted(new - old):
        yield (
            f"the candidate's {name} saw {extra}, the baseline did not (leave it out, or --rebase)"
        )


# Figures ------------------------------------------------------------------------------------------


def _figures(before: Record, after: Record) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield every metric with both its figures."""
    places = before.files.keys() & after.files.keys() | {"network"}
    for metric in before.metrics.keys() | after.metrics.keys():
        if metric.split("/")[0] not in places:
            continue
        old, new = before.metrics.get(metric), after.metrics.get(metric)
        if kind_of(metric).starts_at_zero:
            yield metric, (old or 0.0, new or 0.0)
        elif old is not None and new is not None:
            yield metric, (old, new)
    for name in before.files.keys() & after.files.keys():
        yield from _agreement(name, before.files[name], after.files[name])


def _agreement(
    name: str, before: FileRecord, after: FileRecord
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield how far a file's outputs and boxes are from the baseline's."""
    samples = {sample.input: sample for sample in after.outputs}
    pairs = [(old, samples[old.input]) for old in before.outputs if old.input in samples]
    if pairs:
        yield f"{name}/outputs", (0.0, max(difference(old, new) for old, new in pairs))
    boxes = [
        (_boxes(old), _boxes(new))
        for old, new in pairs
        if old.boxes is not None and new.boxes is not None
    ]
    if boxes:
        yield f"{name}/boxes", (0.0, 1 - pair_boxes(boxes).share)


def difference(before: OutputSample, after: OutputSample) -> float:
    """Return the largest difference of what is kept, as a share of its channel's range before.

    Outputs of another shape, or that are no numbers, differ wholly: infinity is no figure of JSON.
    """
    places = [(each.output, each.channel) for each in before.channels]
    if places != [(each.output, each.channel) for each in after.channels]:
        return 1.0
    pairs = zip(before.channels, after.channels, strict=True)
    return max((_channel_difference(old, new) for old, new in pairs), default=0.0)


def _channel_difference(before: ChannelSample, after: ChannelSample) -> float:
    if len(before.values) != len(after.values):
        return 1.0
    # Values are kept to six digits, so a channel that hardly varies has no finer scale.
    span = max(before.high - before.low, DIGITS * max(abs(before.low), abs(before.high))) or 1.0
    ends = [abs(before.low - after.low), abs(before.high - after.high)]
    gaps = np.abs(np.subtract(before.values, after.values)) if before.values else np.zeros(1)
    largest = max(float(gaps.max()), *ends) / span
    return largest if np.isfinite(largest) else 1.0


def _boxes(sample: OutputSample) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(sample.boxes or (), np.float32).reshape(-1, 4)


def _row(metric: str, before: float, after: float, limits: GateSection) -> MetricRow:
    row = unjudged(metric, before, after, limits)
    return dataclasses.replace(row, status=_status(row))


def unjudged(metric: str, before: float, after: float, limits: GateSection) -> MetricRow:
    """Return a figure's row, as if it had not moved."""
    kind, most = kind_of(metric), allowed(metric, before, limits)
    return MetricRow(
        metric,
        float(before),
        float(after),
        most,
        kind.unit,
        kind.noise_free,
        kind.higher_is_better,
        "same",
        of_weights=kind.of_weights,
        is_accuracy=kind.is_accuracy,
    )


def _status(row: MetricRow) -> Status:
    slack = 1e-9 * abs(row.allowed)
    if row.worsening > row.allowed + slack:
        return "worse"
    return "better" if -row.worsening > row.allowed + slack else "same"
