"""The last stage: one report of all records, and the pages that show it."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import toolchain
from toolchain.arm.layer_costs import costs_of_core
from toolchain.arm.targets import estimate, find_target, read_targets
from toolchain.checking.fitting import measure_fitting
from toolchain.checking.pictures import takes_photos
from toolchain.deploy import packing
from toolchain.records.certificate import to_json
from toolchain.records.members import MemberAccuracy
from toolchain.records.reasons import Removal
from toolchain.records.run_folder import (
    CERTIFICATE,
    MANIFEST,
    NCNN,
    ONNX,
    REPORT,
    REPORT_HTML,
    REPORT_MD,
)
from toolchain.records.stages import Artifact, OnBoard, Report, Stage
from toolchain.report.document.html import html
from toolchain.report.document.markdown import markdown
from toolchain.report.run.notes import (
    assumed_input,
    decision_notes,
    one_shot_note,
    run_notes,
    zoo_notes,
)
from toolchain.report.run.removal import removal_note
from toolchain.report.run.report import run_report
from toolchain.report.run.summary import summary
from toolchain.system.files import as_json, sha256_of, write_bytes
from toolchain.workflows.stages.certifying import Certified
from toolchain.workflows.stages.job import Job
from toolchain.workflows.stages.measuring import Measured
from toolchain.workflows.stages.origin import provenance_of
from toolchain.workflows.stages.starting import Start
from toolchain.zoo.sources import Loaded

BOARD = "rpi4"
"""The board that is told of where none is named."""
SURGERY = "surgery.json"
"""What became of every filter."""


def make_report(
    job: Job, started: Start, certified: Certified, stages: tuple[Stage, ...]
) -> Report:
    """Put all records together, with notes on what the reader must know."""
    measured = certified.measured
    exported, shrunk = measured.exported, measured.exported.shrunk
    loaded, pair = shrunk.loaded, shrunk.pair
    provenance = provenance_of(loaded)
    write_bytes(exported.folder / SURGERY, as_json(dataclasses.asdict(pair.surgery)))
    return Report(
        model=loaded.recipe.model.name,
        source=loaded.source,
        rate=provenance.rate,
        criterion=provenance.criterion,
        scope=provenance.scope,
        stages=stages,
        surgery=pair.surgery,
        cost_before=measured.before,
        cost_after=measured.after,
        parity_exact=shrunk.proof.exact,
        parity_surgery=shrunk.proof.rounded,
        parity_onnx=measured.parity,
        latency=measured.latency,
        artifacts=_artifacts(exported.folder),
        onnx_before_bytes=exported.before.size_bytes,
        photos=measured.photos,
        notes=(
            *source_notes(job, loaded, pair.surgery.removal),
            *_notes(job, started, measured),
            *decision_notes(certified.certificate),
        ),
        versions=versions(),
        command=job.command,
        accuracy=accuracy_of(loaded),
        certificate=certified.certificate,
        rewrites=(*exported.rewritten, *certified.rewritten),
        board=_on_board(certified),
    )


def _on_board(certified: Certified) -> OnBoard | None:
    """Return what the ncnn file is estimated to take on the board; None where there is none."""
    exported = certified.measured.exported
    target, made = find_target(BOARD), {file.name for file in certified.certificate.files}
    table = costs_of_core(target.core)
    if exported.foreseen is None or table is None or NCNN not in made:
        return None
    keys = [[layer.key for layer in each.layers] for each in exported.foreseen]
    before, after = map(table.total, keys)
    tables = {board.core: costs_of_core(board.core) for board in read_targets().values()}
    size = exported.shrunk.loaded.recipe.input
    return OnBoard(
        target.name,
        table.runtime,
        (size.height, size.width),
        before,
        after,
        estimate(after, target),
        exported.foreseen[1].unknown,
        {core: known.total(keys[1]) for core, known in tables.items() if known is not None},
    )


def accuracy_of(loaded: Loaded) -> MemberAccuracy | None:
    """Return what was measured of a shipped network, if it is taken as it was measured."""
    anchors, member = loaded.recipe.anchors, loaded.member
    if member is None or anchors is None or loaded.recipe.prune.zeroes:
        return None
    return member["accuracy"] if anchors.aspect_ratio == member["aspect_ratio"] else None


def source_notes(job: Job, loaded: Loaded, removal: Removal | None) -> Iterator[str]:
    """Yield notes on the weights, on what zeroed filters, and on what did not go."""
    yield from loaded.notes
    asked, zeroed_now = job.recipe.prune, loaded.recipe.prune
    if loaded.member is not None:
        name = Path(str(loaded.source.path)).stem
        one_shot = removal if zeroed_now.zeroes else None
        yield from zoo_notes(name, loaded.member, asked, one_shot)
    elif removal is not None and zeroed_now.zeroes:
        yield one_shot_note(removal)
    if removal is not None and (note := removal_note(removal, zeroed_now)):
        yield note


def _notes(job: Job, started: Start, measured: Measured) -> Iterator[str]:
    """Yield notes on the run, on formats and photos, and on what the network is given."""
    shrunk = measured.exported.shrunk
    loaded, pair = shrunk.loaded, shrunk.pair
    yield from run_notes(pair.surgery, measured.latency)
    if shrunk.proof.left_out:
        yield f"The surgery is not proved at {', '.join(shrunk.proof.left_out)}."
    if started.formats_note:
        yield started.formats_note
    if started.photos and loaded.recipe.anchors is None and not takes_photos(pair.example):
        shapes = ", ".join(str(tuple(each.shape)) for each in pair.example)
        yield f"--photo was not used, for the network takes {shapes}."
    if started.calibration is not None:
        yield from started.calibration.notes
    if job.assumes_input:
        yield assumed_input(loaded.recipe.input)
    shown = [proof.tensors for proof in pair.pictures]
    if started.calibration is not None:
        shown = [(image,) for image in started.calibration.inputs]
    warning = measure_fitting(loaded.network, shown).warning
    if warning is not None:
        yield warning


def _artifacts(folder: Path) -> tuple[Artifact, ...]:
    """Return what lies in the folder so far, the main file first."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    order = sorted(paths, key=lambda path: (path.name != ONNX, path.parent != folder, path))
    return tuple(
        Artifact(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_of(path))
        for path in order
    )


def write_reports(folder: Path, report: Report) -> None:
    """Write the certificate, the report in three forms, the board's program, and the manifest."""
    assert report.certificate is not None
    document = run_report(report)
    pages = {
        CERTIFICATE: to_json(report.certificate),
        REPORT: as_json(summary(report)),
        REPORT_MD: markdown(document).encode(),
        REPORT_HTML: html(document).encode(),
        packing.NAME: packing.program(),
    }
    for name, data in pages.items():
        write_bytes(folder / name, data)
    files = [*report.artifacts, *(_artifact(name, data) for name, data in pages.items())]
    manifest = {
        "tool": f"toolchain {toolchain.__version__}",
        "command": report.command,
        "seed": report.source.seed,
        "versions": report.versions,
        "files": {
            file.name: {"size_bytes": file.size_bytes, "sha256": file.sha256}
            for file in sorted(files, key=lambda file: Path(file.name))
        },
    }
    write_bytes(folder / MANIFEST, as_json(manifest))


def _artifact(name: str, data: bytes) -> Artifact:
    return Artifact(name, len(data), hashlib.sha256(data).hexdigest())


PACKAGES = ("torch", "torch-pruning", "onnx", "onnxruntime", "onnxsim", "numpy", "safetensors")


def versions() -> dict[str, str]:
    """Return what was at work."""
    return {
        "toolchain": toolchain.__version__,
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in PACKAGES},
    }
