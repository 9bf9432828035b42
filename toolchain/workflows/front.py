"""Average precision against cost: everything that ships, at sizes of input, and peers beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from toolchain.arm.layer_costs import LayerCosts, costs_of_core
from toolchain.arm.targets import Target
from toolchain.data.wider import Split
from toolchain.detection.opening import FinderPlan, plan_for
from toolchain.detection.protocols import PROTOCOLS
from toolchain.errors import InputError
from toolchain.exporting.ncnn.foreseen import foreseen_layers
from toolchain.records.accuracy import LEVELS, Evaluation
from toolchain.records.front import Front, FrontPoint
from toolchain.records.recommendation import CandidateAccuracy
from toolchain.workflows.evaluation import OnPhoto, Settings, evaluate
from toolchain.workflows.member_costs import layers_of
from toolchain.zoo.costs import SIZE
from toolchain.zoo.reading import Member, members

Size = tuple[int, int]


@dataclass(frozen=True)
class FrontJob:
    """What is looked at, and where."""

    models: tuple[str, ...]
    peers: tuple[Path, ...]
    """ONNX files that ``cv2.FaceDetectorYN`` runs."""
    sizes: tuple[Size, ...]
    target: Target
    settings: Settings


def measure_front(
    job: FrontJob, split: Split, on_photo: OnPhoto, on_stage: Callable[[str], None]
) -> Front:
    """Look with every network at every size, and tell what it would take on the board.

    Photos are looked at with the weights, by PyTorch: the files differ from them by rounding. Costs
    are told from the layers that ncnn would run. What an earlier run of the same ``settings.out``
    found is taken from there.

    Raises :class:`InputError` for a board whose layers of ncnn are not known.
    """
    table = costs_of_core(job.target.core)
    if table is None or "ncnn" not in job.target.runtimes.values():
        raise InputError(
            f"{job.target.name}: there is no table of ncnn's layers on a {job.target.core}; take "
            f"rpi3, rpi4 or rpi5"
        )
    points: list[FrontPoint] = []
    found: Evaluation | None = None
    for size in job.sizes:
        settings = replace(job.settings, out=job.settings.out / f"{size[0]}x{size[1]}")
        for plan, cost in _plans(job, size, table, on_stage):
            found = evaluate(plan, split, settings, on_photo).evaluation
            points.append(_point(plan, size, found, cost()))
    if found is None:
        raise InputError("there is nothing to look with: name a model, or give --peer")
    ordered = sorted(points, key=lambda each: (each.size, each.instructions or 0))
    return Front(
        board=job.target.name,
        core=job.target.core,
        runtime=table.runtime,
        photos=found.sample.images,
        sample_sha256=found.sample.sha256,
        points=judged(ordered),
    )


def _plans(
    job: FrontJob, size: Size, table: LayerCosts, on_stage: Callable[[str], None]
) -> Iterator[tuple[FinderPlan, Callable[[], int | None]]]:
    """Yield what is looked with, and how its cost is told."""
    protocol = replace(PROTOCOLS["single"], size=size)
    for member in (each for model in job.models for each in members(model)):

        def of_member(member: Member = member) -> int | None:
            known = member.instructions.get(job.target.core)
            if size == SIZE and known is not None:
                return known
            on_stage(f"layers of {member.path.stem} at {size[0]}x{size[1]}")
            return table.total([layer.key for layer in layers_of(member, size).layers])

        yield plan_for(member.path, protocol, model=member.model), of_member
    for path in job.peers:
        yield (
            plan_for(path, protocol, peer=True),
            lambda path=path: peer_instructions(path, size, table),  # type: ignore[misc]
        )


def peer_instructions(path: Path, size: Size, table: LayerCosts) -> int | None:
    """Return what ncnn would take for an ONNX file at a size, without its permutations.

    None where its graph cannot be followed.
    """
    import onnxsim  # takes a second

    try:
        model = onnx.load(path)
        del model.graph.value_info[:]
        shape = [1, 3, *size]
        model, _ = onnxsim.simplify(
            model, overwrite_input_shapes={model.graph.input[0].name: shape}
        )
    except Exception:  # what others wrote may be anything
        return None
    found = foreseen_layers(model, for_detect=False)
    return None if found is None else table.total([layer.key for layer in found.layers])


def _point(plan: FinderPlan, size: Size, found: Evaluation, cost: int | None) -> FrontPoint:
    aps = {level: found.ap(level) for level in LEVELS}
    if None in aps.values():
        raise InputError("the photos have no faces of every level to score; give WIDER FACE's val")
    easy, medium, hard = (float(aps[level] or 0.0) for level in LEVELS)
    words = f"{size[0]}x{size[1]}"
    return FrontPoint(
        name=plan.path.stem,
        kind="peer" if plan.kind == "peer" else "shipped",
        model=plan.model or "peer",
        size=size,
        sha256=found.subject.sha256 or "",
        accuracy=CandidateAccuracy(easy, medium, hard, "single", found.sample.images, words),
        instructions=cost,
    )


def judged(points: Sequence[FrontPoint]) -> tuple[FrontPoint, ...]:
    """Return the points, each with the most accurate of those that beat it."""
    return tuple(replace(each, beaten_by=_better(each, points)) for each in points)


def _better(point: FrontPoint, others: Iterable[FrontPoint]) -> str | None:
    better = [other for other in others if _beats(other, point)]
    best = max(better, key=lambda other: other.accuracy.mean, default=None)
    return None if best is None else best.label


def _beats(one: FrontPoint, other: FrontPoint) -> bool:
    if one.instructions is None or other.instructions is None:
        return False
    ours = (*_levels(one), -one.instructions)
    theirs = (*_levels(other), -other.instructions)
    return ours != theirs and all(a >= b for a, b in zip(ours, theirs, strict=True))


def _levels(point: FrontPoint) -> tuple[float, float, float]:
    accuracy = point.accuracy
    return accuracy.easy, accuracy.medium, accuracy.hard
