"""Evaluation: detectors over photos, scored; the order of the stages, and what is written.

OUT/NAME-PROTOCOL/detections/EVENT/IMAGE.txt    boxes, in the official text format
OUT/eval.json                                   average precision and all that it depends on
OUT/curves.csv, OUT/report.html                 the curves as figures and as pictures
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import toolchain
from toolchain.data.detections import read_folder
from toolchain.data.wider import Split
from toolchain.detection.gallery import compared_pictures, worst_pictures
from toolchain.detection.opening import FinderPlan, describe
from toolchain.detection.running import (
    Outcome,
    as_identity,
    best_parallelism,
    run_detector,
)
from toolchain.errors import InputError
from toolchain.records.accuracy import BrokenPhoto, Evaluation, Picture, Sample, Subject
from toolchain.report.accuracy.evaluation import evaluation_document
from toolchain.report.document.html import html
from toolchain.scoring.average_precision import score
from toolchain.system.files import sha256_of, write_bytes

COMPARED_PHOTOS = 10
"""How many photos are drawn where detectors are compared."""

OnPhoto = Callable[[str, int, int], None]
"""Called with what is evaluated, how many photos are done, and of how many."""


@dataclass(frozen=True)
class Settings:
    """How an evaluation is run, besides the detector and the photos."""

    out: Path
    workers: int | None = None
    threads: int | None = None
    worst: int = 0
    """Draw so many photos with the most missed faces."""
    compared: tuple[int, ...] = ()
    """Which of the detectors are drawn side by side, on the photos where they differ most."""
    command: str = ""


@dataclass(frozen=True, eq=False)
class Scored:
    """An evaluation with the boxes that it scored."""

    evaluation: Evaluation
    detections: Sequence[NDArray[np.float64]] = field(repr=False, default=())
    """Per photo (K, 5): left, top, width, height in pixels, and score."""


def evaluate(plan: FinderPlan, split: Split, settings: Settings, on_photo: OnPhoto) -> Scored:
    """Run one detector over the split's photos and score it; see :class:`Settings`."""
    described = describe(plan)
    subject = described.subject
    folder = settings.out / folder_name(subject, plan.protocol.name)
    parallelism = best_parallelism(len(split.images), settings.workers, settings.threads)
    identity = as_identity(plan, subject, split.name, toolchain.__version__)
    outcome = run_detector(
        plan,
        identity,
        split.images,
        folder,
        parallelism,
        lambda done, total: on_photo(subject.name, done, total),
    )
    found, _ = read_folder(outcome.folder, [image.name for image in split.images])
    return Scored(_result(plan, subject, described.notes, split, outcome, found, settings), found)


def _result(
    plan: FinderPlan,
    subject: Subject,
    notes: tuple[str, ...],
    split: Split,
    outcome: Outcome,
    found: Sequence[NDArray[np.float64]],
    settings: Settings,
) -> Evaluation:
    return Evaluation(
        subject=subject,
        protocol=plan.protocol,
        sample=sample_of(split),
        curves=_curves(found, split),
        broken=outcome.broken,
        notes=(*notes, *_notes(split, outcome.broken)),
        seconds=outcome.seconds,
        resumed_images=outcome.resumed_images,
        workers=outcome.parallelism.workers,
        threads=outcome.parallelism.threads,
        versions=versions(),
        command=settings.command,
    )


def folder_name(subject: Subject, protocol: str) -> str:
    """Return a name that two different files never share, nor one file run in two ways."""
    stem = subject.name.replace("/", "-").removesuffix(".pth")
    if subject.kind != "network":  # an ONNX file may be run as it is, or hold weights
        stem = stem.removesuffix(".onnx")
    return f"{stem}-{(subject.sha256 or '')[:8]}-{protocol}"


def _curves(found: Sequence[NDArray[np.float64]], split: Split) -> Any:
    counted = {level: [truth.counted[level] for truth in split.truths] for level in split.levels}
    return score(found, [truth.boxes for truth in split.truths], counted)


def evaluate_detections(folder: Path, split: Split, command: str) -> Scored:
    """Score boxes that were made elsewhere, in the official text format."""
    found, absent = read_folder(folder, [image.name for image in split.images])
    notes: tuple[str, ...] = ()
    if absent:
        notes = (
            f"{len(absent):,} of {len(found):,} photos have no file of detections in "
            f"{folder.name} (the first: {absent[0]}): they are scored as having none.",
        )
    evaluation = Evaluation(
        subject=Subject(folder.name, "detections", None, _sha256_of_detections(found)),
        protocol=None,
        sample=sample_of(split),
        curves=_curves(found, split),
        notes=(*notes, *_notes(split, ())),
        versions=versions(),
        command=command,
    )
    return Scored(evaluation, found)


def _sha256_of_detections(found: Sequence[NDArray[np.float64]]) -> str:
    digest = hashlib.sha256()
    for boxes in found:
        digest.update(len(boxes).to_bytes(8, "little") + boxes.tobytes())
    return digest.hexdigest()


def sample_of(split: Split) -> Sample:
    """Return what the photos are; its hash is over names, ground truth, and the photos' bytes."""
    digest = hashlib.sha256(split.sha256.encode())
    for image in split.images:
        if image.path.is_file():
            digest.update(sha256_of(image.path).encode())
    return Sample(
        split=split.name,
        listed=split.listed,
        missing=split.missing,
        images=len(split.images),
        limit=split.limit,
        sha256=digest.hexdigest(),
    )


def _notes(split: Split, broken: tuple[BrokenPhoto, ...]) -> tuple[str, ...]:
    notes = []
    if not split.levels:
        notes.append("This split has no ground truth here: detections only, no average precision.")
    if broken:
        photos = "photo" if len(broken) == 1 else "photos"
        notes.append(
            f"{len(broken)} broken {photos}, scored as having no detections "
            f"(the first: {broken[0].name}, {broken[0].reason})."
        )
    return tuple(notes)


def versions() -> dict[str, str]:
    """Return what was at work."""
    packages = ("torch", "onnxruntime", "opencv-python-headless", "numpy")
    return {
        "toolchain": toolchain.__version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
        "machine": f"{platform.system()} {platform.machine()}",
    }


def write_results(
    scored: Sequence[Scored], split: Split, settings: Settings
) -> tuple[Path, Mapping[str, Any]]:
    """Write eval.json, curves.csv and report.html; return the folder and what eval.json holds."""
    evaluations = [item.evaluation for item in scored]
    content = as_json_content(evaluations)
    try:
        settings.out.mkdir(parents=True, exist_ok=True)
        document = evaluation_document(evaluations, *_pictures(scored, split, settings))
        write_bytes(settings.out / "curves.csv", _curves_csv(evaluations).encode())
        write_bytes(settings.out / "report.html", html(document).encode())
        text = json.dumps(content, indent=2, ensure_ascii=False)
        write_bytes(settings.out / "eval.json", f"{text}\n".encode())
    except OSError as error:
        raise InputError(
            f"{settings.out}: cannot be written ({error.strerror or error}); detections are kept"
        ) from error
    return settings.out, content


def _pictures(
    scored: Sequence[Scored], split: Split, settings: Settings
) -> tuple[tuple[Picture, ...], tuple[Picture, ...]]:
    name = scored[0].evaluation.subject.name
    worst = worst_pictures(split, name, scored[0].detections, settings.worst)
    chosen = [scored[index] for index in settings.compared]
    names = [item.evaluation.subject.name for item in chosen]
    found = [item.detections for item in chosen]
    return worst, compared_pictures(split, names, found, COMPARED_PHOTOS) if chosen else ()


def as_json_content(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Return what eval.json holds: the first result, and the others under ``others``."""
    first, *others = [_one(evaluation) for evaluation in evaluations]
    return first | ({"others": others} if others else {})


def _one(evaluation: Evaluation) -> dict[str, Any]:
    content = asdict(evaluation)
    curves = content.pop("curves")
    return {
        "tool": f"toolchain {toolchain.__version__}",
        "ap": {curve["level"]: curve["ap"] for curve in curves},
        "faces": {curve["level"]: curve["faces"] for curve in curves},
        "images": evaluation.sample.images,
        "whole_set": evaluation.sample.is_whole,
        **content,
    }


def _curves_csv(evaluations: Sequence[Evaluation]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "level", "threshold", "precision", "recall"])
    for evaluation in evaluations:
        for curve in evaluation.curves:
            points = zip(curve.precision.tolist(), curve.recall.tolist(), strict=True)
            for index, (precision, recall) in enumerate(points, start=1):
                threshold = f"{1 - index / len(curve.precision):.3f}"
                writer.writerow(
                    [evaluation.subject.name, curve.level, threshold, precision, recall]
                )
    return text.getvalue()
