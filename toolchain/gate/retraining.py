"""The same network, trained again: outputs may be others, cost may not, and accuracy decides."""

from __future__ import annotations

import dataclasses

from toolchain.errors import InputError
from toolchain.records.verdicts import MetricRow, Verdict


def as_retrained(verdict: Verdict) -> Verdict:
    """Return the verdict with all let move that comes of the weights alone: outputs, boxes, parity.

    Every proof of the candidate holds within its own limit, or it would not have been measured.
    Raises :class:`InputError` where no figure tells whether the candidate is as good: then a
    network that was trained to nothing would pass.
    """
    if not any(row.is_accuracy for row in verdict.rows):
        raise InputError(
            f"{verdict.name}: --retrained needs a figure of accuracy in the baseline, too: measure "
            f"both by --rebase --data DATA, or put one that you measured into the baseline "
            f"by --update --score NAME=VALUE, with the model that it is of"
        )
    rows = tuple(map(_moved, verdict.rows))
    return dataclasses.replace(verdict, rows=rows, retrained=True)


def _moved(row: MetricRow) -> MetricRow:
    if row.of_weights and row.status != "same":
        return dataclasses.replace(row, status="moved")
    return row
