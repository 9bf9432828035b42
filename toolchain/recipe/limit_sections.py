"""What a recipe allows: differences that a proof may find, costs, changes at the gate."""

from __future__ import annotations

import typing
from dataclasses import dataclass

from toolchain.recipe.checking import Range, Section
from toolchain.recipe.numbers import Positive, Share


@dataclass(frozen=True)
class ProofSection(Section, name="proof"):
    """How far two sides may differ before the export is stopped.

    Every difference is a share of the range of the channel that it is in, on the input where it is;
    the largest difference unless it says mean. Where the number type cannot resolve that, because a
    channel is constant or nearly so, what it can resolve is allowed: see
    :mod:`toolchain.records.spots`.
    """

    surgery_limit: typing.Annotated[float, Range(0, 1e-3)] = 1e-5
    """Soft against shrunk network in the network's own type, after both agreed in float64."""
    onnx_limit: typing.Annotated[float, Range(0, 1e-2)] = 1e-4
    """Shrunk network against the ONNX file, and against TFLite and ncnn."""
    rewrite_limit: typing.Annotated[float, Range(0, 1e-3)] = 1e-5
    """The ONNX file before and after a rewrite."""
    half_limit: Share = 1e-3
    """Half precision: mean difference."""
    half_boxes: Share = 0.98
    """Share of all boxes that it must find as the float file does, on photos that are held out, but
    for two standard deviations of such a share."""
    half_loss: Share = 0.001
    """Average precision that it may lose, from 0 to 1."""
    half_decisions: Share = 0.02
    """Of networks that find no boxes: share of an output's decisions (scores above
    ``decode.score_threshold``, leading classes) that may differ, but for chance as above."""
    int8_limit: Share = 0.05
    """int8: mean difference; the three below are to int8 what half precision's are to it."""
    int8_boxes: Share = 0.8
    int8_loss: Share = 0.01
    int8_decisions: Share = 0.02


Amount = typing.Annotated[int, Range(1, 1e18)]


@dataclass(frozen=True)
class BudgetSection(Section, name="budget"):
    """What the main file may cost on one board, as ``[budget.rpi4]``; None: no limit."""

    instructions: Amount | None = None
    """Of one inference on one thread."""
    latency_ms: Positive | None = None
    """The middle of the estimate."""
    size_bytes: Amount | None = None
    memory_bytes: Amount | None = None
    """Peak of the process."""
    parameters: Amount | None = None
    """Deployed ones."""


@dataclass(frozen=True)
class Limit(Section, name="limit"):
    """How much worse a figure may get: the larger of both holds."""

    relative: Share = 0.0
    """Share of the figure before."""
    absolute: typing.Annotated[float, Range(0, 1e18)] = 0.0
    """Difference in the figure's own unit."""


@dataclass(frozen=True)
class GateSection(Section, name="gate"):
    """What a change may make worse before the gate stops it."""

    instructions: Limit = Limit(relative=0.005)
    """Of one inference; they repeat to a few hundredths of a percent."""
    multiply_adds: Limit = Limit(relative=0.005)
    operators: Limit = Limit()
    """Number of operators of a type, as the runtime runs them."""
    parameters: Limit = Limit()
    """Deployed ones."""
    size_bytes: Limit = Limit(relative=0.01)
    peak_memory_bytes: Limit = Limit(relative=0.1)
    """One file takes up to 7 % more in one run than in another."""
    parity: Limit = Limit(absolute=0.1)
    """Of a link: its difference as a share of its own limit."""
    outputs: Limit = Limit(absolute=1e-4)
    """Largest difference from the baseline's outputs, as a share of their range."""
    boxes: Limit = Limit()
    """Share of the boxes on photos that only one side finds."""
    average_precision: Limit = Limit(absolute=0.001)
    """From 0 to 1; of figures of accuracy that are given to the gate (``--score``), too."""
    time: Limit = Limit(relative=0.03)
    """Measured, where it is asked for; what is surely above it is stopped."""
