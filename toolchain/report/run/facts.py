"""What both pages say, worked out once from the records: verdict, comparisons, parity, sources.

All of it is plain text from untrusted names; a page cleans and escapes it where it writes it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from toolchain.records.parity import Parity, ParityCase
from toolchain.records.run_folder import ONNX
from toolchain.records.stages import Artifact, Latency, PhotoComparison, Report
from toolchain.report import wording
from toolchain.report.members import accuracy_words


@dataclass(frozen=True)
class Comparison:
    """One measure before and after: numbers for bars, words for tables."""

    measure: str
    before: float
    after: float
    before_words: str
    after_words: str
    change_words: str
    headline: str
    """What to say first, in large type."""
    detail: str
    quartiles: tuple[float, float] | None = None
    """Quartiles of ``after``, when it is a measurement."""


def deployed_onnx(report: Report) -> Artifact | None:
    """Return the ONNX file to deploy: ``model.onnx``, or the first there is."""
    files = [artifact for artifact in report.artifacts if artifact.name.endswith(".onnx")]
    named = [artifact for artifact in files if artifact.name.split("/")[-1] == ONNX]
    return next(iter(named or files), None)


def comparisons(report: Report) -> tuple[Comparison, ...]:
    """Return parameters, MACs, ONNX bytes and time, as far as the report has them."""
    before, after = report.cost_before, report.cost_after
    rows = [
        _counts(
            "Deployed parameters",
            before.deployed_parameters,
            after.deployed_parameters,
            "after batch norm is folded",
        ),
        _counts("MACs", before.macs, after.macs, f"one image of {wording.shape(after.size)}"),
    ]
    onnx = deployed_onnx(report)
    if onnx is not None:
        rows.append(_counts("ONNX bytes", report.onnx_before_bytes, onnx.size_bytes, onnx.name))
    if report.latency is not None:
        rows.append(_time(report.latency))
    return tuple(rows)


def _counts(measure: str, before: int, after: int, detail: str) -> Comparison:
    return Comparison(
        measure=measure,
        before=before,
        after=after,
        before_words=wording.count(before),
        after_words=wording.count(after),
        change_words=wording.change(before, after),
        headline=wording.count(after),
        detail=detail,
    )


def _time(latency: Latency) -> Comparison:
    return Comparison(
        measure="Time per image",
        before=1.0,
        after=latency.ratio,
        before_words=f"{wording.decimal(latency.before_ms)} ms",
        after_words=f"{wording.decimal(latency.after_ms)} ms",
        change_words=latency_words(latency),
        headline=f"{wording.TIMES}{wording.decimal(latency.ratio)}",
        detail=latency_conditions(latency),
        quartiles=(latency.ratio_low, latency.ratio_high),
    )


def latency_words(latency: Latency) -> str:
    """Return the ratio with its quartiles, and what they allow to say."""
    low, high = latency.ratio_low, latency.ratio_high
    if high < 1:
        meaning = "faster"
    elif low > 1:
        meaning = "slower"
    else:
        meaning = "no clear difference"
    quartiles = f"quartiles {wording.decimal(low)} to {wording.decimal(high)}"
    return f"ratio {wording.decimal(latency.ratio)}, {meaning} ({quartiles})"


def latency_conditions(latency: Latency) -> str:
    """Return under which conditions the ratio holds."""
    return (
        f"median of {wording.plural(latency.rounds, 'interleaved round')}, "
        f"{wording.plural(latency.threads, 'thread')}, image {wording.shape(latency.size)}, "
        f"{latency.runtime} on {latency.machine}"
    )


def links(report: Report) -> tuple[Parity, ...]:
    """Return what was proved of the main file, in order."""
    exact = report.parity_exact
    return (*(() if exact is None else (exact,)), report.parity_surgery, report.parity_onnx)


def case_words(parity: Parity, case: ParityCase) -> str:
    """Return ``within``, ``over the limit`` or ``not finite``."""
    if case.spot(parity.figure).difference is None:
        return wording.NOT_FINITE
    share = parity.share(case)
    return "within" if share is not None and share <= parity.limit else "over the limit"


def case_figure(parity: Parity, case: ParityCase) -> float:
    """Return the case's share of its channels' scale; NaN where there is none."""
    share = parity.share(case)
    return math.nan if share is None else share


PARITY_HEAD = ("input", "shape", "worst in", "difference", "its range", "share", "verdict")
PARITY_NUMERIC = (3, 4, 5)


def parity_row(parity: Parity, case: ParityCase) -> tuple[str, ...]:
    """Return a case in words, as :data:`PARITY_HEAD` names them; the last is the verdict."""
    spot = case.spot(parity.figure)
    return (
        case.input,
        wording.shape(case.shape),
        spot.place,
        wording.difference(spot.difference),
        wording.significant(spot.output_range),
        wording.difference(case_figure(parity, case)),
        case_words(parity, case),
    )


def limit_words(parity: Parity) -> str:
    """Return the limit and its unit."""
    return f"{wording.difference(parity.limit)} of the range"


def parity_words(parity: Parity) -> str:
    """Return one sentence: what was compared, how far apart, where, and what is allowed."""
    case = parity.worst_case
    if case is None:
        return f"{parity.link}: nothing was compared"
    spot = case.spot(parity.figure)
    share = case_figure(parity, case)
    return (
        f"{parity.link}: at most {wording.difference(share)} of the range, in {spot.place} on "
        f"{case.input}, of {wording.plural(len(parity.cases), 'input')}; limit "
        f"{limit_words(parity)}"
    )


def proved(report: Report) -> bool:
    """Return whether all links of the main file hold."""
    return all(parity.passed for parity in links(report))


def verdict_words(report: Report) -> str:
    """Return the verdict in one sentence."""
    if proved(report):
        return "The shrunk network and its ONNX file give the same output as the network before."
    failed = [parity.link for parity in links(report) if not parity.passed]
    return f"Do not deploy: parity does not hold for {' and '.join(failed)}."


def untrained_words(report: Report) -> str:
    """Return the warning of a network that was not trained."""
    return (
        f"The weights come from seed {report.source.seed}, not from training, so the detections "
        "mean nothing. Sizes, costs and parity are measured all the same."
    )


def source_words(report: Report) -> str:
    """Return where the weights came from."""
    source = report.source
    if source.path is None:
        return f"made from seed {source.seed}"
    digest = f", SHA-256 {wording.short_hash(source.sha256)}" if source.sha256 else ""
    words = f"{source.path} ({source.layout} layout{digest})"
    if source.accuracy is None:
        return words
    return f"{words}, shipped with the toolchain; as shipped {accuracy_words(source.accuracy)}"


def pruning_words(report: Report) -> str:
    """Return how the filters were chosen."""
    if report.rate is None and report.criterion is None:
        return "pruned before this run"
    choice = ["a width for each group"]
    if report.rate is not None:
        choice = [f"pruning rate {wording.percentage(report.rate)}"]
    choice += [f"criterion {report.criterion}"] if report.criterion else []
    choice += [f"scope {report.scope}"] if report.scope else []
    return ", ".join(choice)


def box_words(photo: PhotoComparison) -> str:
    """Return how far apart the boxes before and after are."""
    if photo.max_box_diff_px is None:
        return "boxes cannot be paired"
    return f"{wording.difference(photo.max_box_diff_px)} px"


def uncounted_words(report: Report) -> str:
    """Return which operators the MACs leave out, or nothing."""
    before, after = report.cost_before, report.cost_after
    operators = sorted({*before.uncounted_operators, *after.uncounted_operators})
    return f"The MACs leave out operators without a rule: {', '.join(operators)}" * bool(operators)


@dataclass(frozen=True)
class Step:
    """One thing to do; each ``{}`` in ``words`` stands for one of ``names``, which are code."""

    words: str
    names: tuple[str, ...] = ()


def next_steps(report: Report) -> tuple[Step, ...]:
    """Return what to do now, in order."""
    if not proved(report):
        return (
            Step("Copy nothing to the board: look under Parity for the input that failed."),
            Step("Run the command again; if it fails again, keep the network before."),
        )
    onnx = deployed_onnx(report)
    steps = (
        Step(
            "Copy {} and {} to the board; there it needs numpy, OpenCV and one runtime, "
            "never torch.",
            (onnx.name if onnx else ONNX, "detect.py"),
        ),
        Step("Measure on the board: a time ratio from another machine does not carry over."),
    )
    train = Step("Run this on a trained checkpoint first: these weights detect nothing.")
    return steps if report.source.trained else (train, *steps)
