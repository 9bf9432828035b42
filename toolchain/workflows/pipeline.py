"""The order of the stages, which only this room knows.

    load -> zero -> shrink -> prove -> export -> prove the file -> measure -> lineage -> report

A failed proof raises and leaves what is needed to look into it beside the output folder, whose
name then ends in ``.failed``; the output folder itself appears only when everything is done. Of the
formats beside ONNX those whose links hold are kept; the certificate tells what is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from toolchain.checking.proofs import keeping_evidence
from toolchain.records.stages import Report, Stage
from toolchain.system.files import output_folder
from toolchain.workflows.shortfall import demand_removal
from toolchain.workflows.stages.certifying import certify
from toolchain.workflows.stages.clock import Clock, say_nothing
from toolchain.workflows.stages.exporting import export, prove_export
from toolchain.workflows.stages.job import Job
from toolchain.workflows.stages.measuring import measure
from toolchain.workflows.stages.reporting import make_report, write_reports
from toolchain.workflows.stages.shrinking import Shrunk, make_pair, prove
from toolchain.workflows.stages.starting import Start, start
from toolchain.workflows.stages.zeroing import zero

__all__ = ["Job", "run_shrink"]


def run_shrink(
    job: Job, on_stage: Callable[[str], None] = say_nothing, before: tuple[Stage, ...] = ()
) -> Report:
    """Run all stages and fill ``job.out``; raise a ToolchainError and leave no half folder.

    ``on_stage`` is told of stages as they begin, ``before`` are those that the caller has timed.
    """
    clock = Clock(on_stage, before)
    clock.begin("load")
    started = start(job)
    with output_folder(job.out) as folder:
        return fill(job, started, shrink(job, started, clock), folder, clock)


def shrink(job: Job, started: Start, clock: Clock) -> Shrunk:
    """Zero, cut and prove."""
    if started.loaded.recipe.prune.zeroes:
        clock.begin("zero filters")
    zeroed = zero(started)
    clock.begin("shrink")
    pair = make_pair(zeroed, started.look, started.photos)
    prune = zeroed.loaded.recipe.prune
    demand_removal(pair.surgery, prune, job.out, partial=job.accept_partial)
    clock.begin("prove the surgery")
    with keeping_evidence(job.out, pair):
        return prove(zeroed, pair)


def fill(job: Job, started: Start, shrunk: Shrunk, folder: Path, clock: Clock) -> Report:
    """Export, prove, measure and certify what was shrunk, and write the report, into ``folder``."""
    clock.begin("export")
    exported = export(shrunk, folder, dynamic=job.dynamic)
    clock.begin("prove the file")
    with keeping_evidence(job.out, shrunk.pair):
        parity = prove_export(exported)
    clock.begin("measure")
    measured = measure(exported, parity)
    clock.begin("other formats and their proof")
    certified = certify(
        measured, started.formats, started.calibration, job.accuracy_of, clock.on_stage
    )
    report = make_report(job, started, certified, clock.stages)
    write_reports(folder, report)
    return report
