"""The paper's tables and figures, measured again: every checkpoint soft and shrunk, and peers.

    OUT/shrunk/NAME/          what ``toolchain shrink`` makes of each checkpoint, proofs and all
    OUT/evaluations/...       detections, resumable photo by photo
    OUT/tables.md, tables.csv, tables.html

Everything that is there already and belongs to the same weights is taken as it is, so a run that
was stopped goes on where it was.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.data.published.reading import find_published
from toolchain.data.wider import Split
from toolchain.detection.gallery import compared_pictures
from toolchain.detection.opening import plan_for
from toolchain.errors import CheckpointError, InputError
from toolchain.models import detector
from toolchain.models.layouts import CLOVAAI_PARTS, read_checkpoint
from toolchain.recipe import default_recipe
from toolchain.records.accuracy import Evaluation, Member, PeerMember, Picture, Protocol
from toolchain.records.run_folder import ONNX, RunFolder, RunReport
from toolchain.report.accuracy.paper_csv import csv
from toolchain.report.accuracy.paper_tables import paper_document
from toolchain.report.document.html import html
from toolchain.report.document.markdown import markdown
from toolchain.system.files import write_bytes
from toolchain.workflows.evaluation import OnPhoto, Scored, Settings, evaluate
from toolchain.workflows.pipeline import Job, run_shrink
from toolchain.zoo.sources import load_network

SUFFIXES = (".pth", ".pt", ".safetensors")
PICTURES = 6
"""How many photos the paper's Figures 4 and 5 are made anew with."""


@dataclass(frozen=True)
class TablesJob:
    """What the tables are made of."""

    weights: Path
    protocol: Protocol
    settings: Settings
    peers: tuple[Path, ...] = ()
    models: tuple[str, ...] = ()
    """Only these networks; empty: all."""


def find_checkpoints(folder: Path) -> list[Path]:
    """Return the detectors' checkpoints below ``folder``; five-file ones by their prefix."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder of weights")
    paths = {_prefix(path) for path in folder.rglob("*") if path.suffix in SUFFIXES}
    known = [path for path in sorted(paths) if _model_of(path) in detector.names()]
    if not known:
        raise InputError(
            f"{folder} holds no checkpoint of {' or '.join(detector.names())} (.pth, .safetensors)"
        )
    return known


def _prefix(path: Path) -> Path:
    stem, _, part = path.stem.rpartition(".")
    return path.with_name(stem) if part in CLOVAAI_PARTS else path


def _model_of(path: Path) -> str | None:
    try:
        return read_checkpoint(path).model
    except CheckpointError:
        return None


def make_tables(
    job: TablesJob, split: Split, on_stage: Callable[[str], None], on_photo: OnPhoto
) -> Path:
    """Evaluate, shrink and evaluate again all checkpoints; write the tables; return the folder."""
    peers = [_peer(job, path, split, on_photo) for path in job.peers]
    found: list[tuple[Member, Scored]] = []
    for path in find_checkpoints(job.weights):
        if job.models and _model_of(path) not in job.models:
            continue
        found.append(_member(job, path, split, on_stage, on_photo))
        _write(job, split, found, [peer for peer, _ in peers])
    return job.settings.out


def _evaluation_settings(job: TablesJob) -> Settings:
    settings = job.settings
    return Settings(settings.out / "evaluations", settings.workers, settings.threads)


def _peer(job: TablesJob, path: Path, split: Split, on_photo: OnPhoto) -> tuple[PeerMember, Scored]:
    plan = plan_for(path, job.protocol, peer=True)
    scored = evaluate(plan, split, _evaluation_settings(job), on_photo)
    return PeerMember(scored.evaluation, count_weights(path), path.stat().st_size), scored


def count_weights(path: Path) -> int:
    """Return how many floating-point scalars the tensors of an ONNX file hold."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph  # a peer that ran can be loaded
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    sizes = [tensor.dims for tensor in graph.initializer if tensor.data_type in floats]
    return sum(_product(dims) for dims in sizes)


def _product(dims: Sequence[int]) -> int:
    result = 1
    for size in dims:
        result *= size
    return result


def _member(
    job: TablesJob,
    path: Path,
    split: Split,
    on_stage: Callable[[str], None],
    on_photo: OnPhoto,
) -> tuple[Member, Scored]:
    checkpoint = read_checkpoint(path)
    assert checkpoint.model is not None
    plan = plan_for(path, job.protocol)
    soft = evaluate(plan, split, _evaluation_settings(job), on_photo)
    folder = job.settings.out / "shrunk" / f"{path.stem}-{checkpoint.sha256[:8]}"
    report = _shrunk(path, checkpoint.model, checkpoint.sha256, folder, on_stage)
    shrunk = None
    if report.deployed_parameters_before != report.deployed_parameters_after:
        plan = plan_for(folder, job.protocol)
        shrunk = evaluate(plan, split, _evaluation_settings(job), on_photo).evaluation
    return _as_member(path, checkpoint.model, report, soft.evaluation, shrunk), soft


def _shrunk(
    path: Path, model: str, sha256: str, folder: Path, on_stage: Callable[[str], None]
) -> RunReport:
    """Shrink the checkpoint, or take the proved result that is there; return its report."""
    with contextlib.suppress(InputError):  # there is none yet, or one of another version
        report = RunFolder.open(folder).report
        if report.source_sha256 == sha256:
            return report
    run_shrink(
        Job(recipe=default_recipe(model), out=folder, checkpoint=path),
        lambda stage: on_stage(f"{path.name}: {stage}"),
    )
    return RunFolder.open(folder).report


def _as_member(
    path: Path,
    model: str,
    report: RunReport,
    soft: Evaluation,
    shrunk: Evaluation | None,
) -> Member:
    network = load_network(default_recipe(model), path).network
    parameters = [parameter.detach() for parameter in network.parameters()]
    variant, criterion, rate = variant_of(path.name)
    return Member(
        name=path.name,
        model=model,
        variant=variant,
        criterion=criterion,
        rate=rate,
        soft=soft,
        shrunk=shrunk,
        nothing_removed=shrunk is None,
        parameters=sum(parameter.numel() for parameter in parameters),
        nonzero_parameters=sum(int((parameter != 0).sum()) for parameter in parameters),
        deployed_before=report.deployed_parameters_before,
        deployed_after=report.deployed_parameters_after,
        macs_before=report.macs_before,
        macs_after=report.macs_after,
        size_of_macs=report.size,
        onnx_bytes=report.size_bytes[ONNX],
        published=find_published(model, variant, criterion, rate),
    )


def variant_of(name: str) -> tuple[str, str | None, float | None]:
    """Tell (variant, criterion, rate in percent) by the names of the published files.

    ``ERES10_FPGM.pth`` is (pruned, fpgm, 10), ``EXTD.pth`` reproduced; other names are original
    (upstream's ``EXTD_64.pth``, ``eresfd_16.pth``) or of one's own.
    """
    pruned = re.fullmatch(r"(?:ERES|EXTD)(\d+)_(FPGM|L1)\.pth", name)
    if pruned:
        return "pruned", pruned[2].lower(), float(pruned[1])
    if name in ("ERES.pth", "EXTD.pth"):
        return "reproduced", None, None
    if name in ("EXTD_64.pth", "eresfd_16.pth"):
        return "original", None, None
    return "own", None, None


def _write(
    job: TablesJob,
    split: Split,
    found: Sequence[tuple[Member, Scored]],
    peers: Sequence[PeerMember],
) -> None:
    """Write the tables of what is done so far."""
    members = [member for member, _ in found]
    out = job.settings.out
    document = paper_document(members, peers, _figures_4_and_5(split, found))
    for name, text in (
        ("tables.md", markdown(document)),
        ("tables.csv", csv(members, peers)),
        ("tables.html", html(document)),
    ):
        try:
            write_bytes(out / name, text.encode())
        except OSError as error:
            raise InputError(f"{out / name}: cannot be written ({error.strerror})") from error


def _figures_4_and_5(split: Split, found: Sequence[tuple[Member, Scored]]) -> tuple[Picture, ...]:
    """The same photos by the unpruned, the 10 % and the 50 % network, side by side."""
    pictures: list[Picture] = []
    for chosen in _chosen(found):
        names = [member.name for member, _ in chosen]
        boxes = [scored.detections for _, scored in chosen]
        pictures += compared_pictures(split, names, boxes, PICTURES)
    return tuple(pictures)


def _chosen(found: Sequence[tuple[Member, Scored]]) -> Iterator[list[tuple[Member, Scored]]]:
    for model in ("extd", "eresfd"):
        wanted = [("reproduced", None, None), ("pruned", "fpgm", 10.0), ("pruned", "fpgm", 50.0)]
        by_kind = {
            (member.variant, member.criterion, member.rate): (member, scored)
            for member, scored in found
            if member.model == model
        }
        chosen = [by_kind[kind] for kind in wanted if kind in by_kind]
        if len(chosen) > 1:
            yield chosen
