"""Everything that is measured of one network, in this process."""

from __future__ import annotations

import contextlib
import copy
import resource
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

import toolchain as tc
from tests.benchmarks.public.catalogue import Entry
from tests.benchmarks.public.comparing import differences, noise
from tests.benchmarks.public.peer import removed
from tests.benchmarks.public.records import Measured, Shrunk, state
from toolchain.library.shrinking import ShrinkReport
from toolchain.pruning.asked import asked_by_group
from toolchain.pruning.prunable import Prunable
from toolchain.recipe import PruneSection
from toolchain.records.reasons import Reason
from toolchain.records.stages import Surgery
from toolchain.surgery.channels import Flow
from toolchain.surgery.flow import trace_flow
from toolchain.workflows.stages import shrinking

RATE = 0.3
STAGES = ("layer", "group", "peer", "files")
"""In this order: what ``group`` gives is kept for the files, and would be counted as memory of
another."""


@dataclass
class Work:
    """A network under measurement."""

    entry: Entry
    network: nn.Module
    example: Tensor
    inputs: list[Tensor]
    small: tc.Shrunk | None = None
    flow: Flow | None = None
    errors: dict[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note what goes wrong, and go on."""
        try:
            yield
        except Exception as error:  # a finding of the benchmark
            self.errors[name] = f"{type(error).__name__}: {error}"[:600]
            if not isinstance(error, tc.ToolchainError):
                traceback.print_exc()


def measure(
    entry: Entry, stages: Sequence[str] = STAGES, known: Measured | None = None
) -> Iterator[Measured]:
    """Yield what is known of a network after each stage that is not in ``known``, which it adds to.

    Whatever fails is told in ``errors``.
    """
    torch.set_num_threads(1)
    work = Work(entry, entry.build(), entry.example, noise(entry.shape, entry.other))
    found = known or _begun(work)
    work.errors.update(found.errors)
    for stage in (stage for stage in STAGES if stage in stages and stage not in found.done):
        with work.stage(stage):
            found = MEASURE[stage](work, found)
        found = replace(found, done=(*found.done, stage), errors=dict(work.errors))
        yield found


def _begun(work: Work) -> Measured:
    entry = work.entry
    sizes = tuple((int(x.shape[2]), int(x.shape[3])) for x in work.inputs)
    parameters = sum(parameter.numel() for parameter in work.network.parameters())
    return Measured(entry.name, state(), entry.shape, sizes, parameters, entry.published)


def _group(work: Work, found: Measured) -> Measured:
    work.small, group = shrink(work, "group")
    return replace(found, group=group, memory_mb=_memory_mb(found))


def _layer(work: Work, found: Measured) -> Measured:
    return replace(found, layer=shrink(work, "layer")[1], memory_mb=_memory_mb(found))


def _memory_mb(found: Measured) -> int:
    return max(found.memory_mb, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)


def _peer(work: Work, found: Measured) -> Measured:
    flow = work.flow or trace_flow(work.network, work.example)
    outputs = sorted(flow.output_layers)
    peer, peer_floor = (
        removed(work.network, work.example, work.inputs, RATE, outputs, floor=floor)
        for floor in (False, True)
    )
    return replace(found, peer=peer, peer_floor=peer_floor)


def _files(work: Work, found: Measured) -> Measured:
    small = work.small or shrink(work, "group")[0]
    return replace(found, files=exported(work, small))


MEASURE: Mapping[str, Callable[[Work, Measured], Measured]] = {
    "group": _group,
    "layer": _layer,
    "peer": _peer,
    "files": _files,
}


def shrink(work: Work, scope: Any) -> tuple[tc.Shrunk, Shrunk]:
    """Zero filters and shrink, with the CPU seconds of each step."""
    seconds: Counter[str] = Counter()
    soft = copy.deepcopy(work.network)
    pruner = _timed(seconds, "choose", _pruned)(soft, work.example, scope)
    with (
        patch.object(shrinking, "make_pair", _timed(seconds, "cut", shrinking.make_pair)),
        patch.object(shrinking, "prove", _timed(seconds, "prove", shrinking.prove)),
    ):
        small = tc.shrink(soft, work.example)
    work.flow = pruner._prunable.flow
    exact = small._made.pair.exact or small.network
    proof = small.proof.exact or small.proof.rounded
    report = small.report
    return small, Shrunk(
        report.parameters_before,
        report.parameters_after,
        len(report.removed) + len(report.kept),
        len(report.kept),
        _kept_by(report),
        _not_asked(soft, pruner._prunable) if scope == "group" else {},
        differences(soft, exact, work.inputs),
        proof.worst,
        _ways(report.surgery),
        bool(report.surgery.without_torch_pruning),
        *(round(seconds[name], 2) for name in ("choose", "cut", "prove")),
    )


def _pruned(network: nn.Module, example: Tensor, scope: Any) -> tc.SoftPruner:
    """What ``tc.prune`` does, in place."""
    pruner = tc.SoftPruner(network, example, rate=RATE, scope=scope)
    pruner.step()
    return pruner


def _timed(seconds: Counter[str], name: str, what: Any) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        try:
            return what(*args, **kwargs)
        finally:
            seconds[name] += time.process_time() - start

    return run


def _kept_by(report: ShrinkReport) -> dict[str, int]:
    return dict(Counter(_key(item.reason) for item in report.kept).most_common())


def _not_asked(network: nn.Module, prunable: Prunable) -> dict[str, int]:
    asked = asked_by_group(network, prunable.flow, prunable.groups, PruneSection(rate=RATE))
    counts: Counter[str] = Counter()
    for held in asked.left_out:
        counts[_key(held.reason)] += held.filters
    return dict(counts.most_common())


def _key(reason: Reason) -> str:
    return f"{reason.code} {reason.operator}".strip()


def _ways(surgery: Surgery) -> tuple[str, ...]:
    found = ["arithmetic"] if surgery.by_arithmetic else []
    found += ["attribute"] if any(not each.in_code for each in surgery.numbers) else []
    return tuple(found + (["rewritten"] if any(each.in_code for each in surgery.numbers) else []))


def exported(work: Work, small: tc.Shrunk) -> dict[str, float | None]:
    """By file, its largest difference; what could not be made is noted with its reason."""
    with tempfile.TemporaryDirectory() as folder:
        files = tc.export(small, Path(folder) / "out", formats=["onnx", "ncnn"])
        for failure in files.certificate.failures:
            work.errors[failure.file] = failure.reason
        return {link.name: link.worst for link in files.certificate.links}
