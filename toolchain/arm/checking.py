"""Checking a folder's files on an emulated board: do they run there, alike, and at what cost?"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import toolchain
from toolchain.arm.comparing import Sameness, Subject, compare_with_here, sample_of, subject_of
from toolchain.arm.emulation import Emulated, count_stages, emulate, run_program
from toolchain.arm.kept import read_check
from toolchain.arm.sysroot import Sysroot, runtime_of
from toolchain.arm.targets import Target, estimate
from toolchain.bench.external import whole_sha256, whole_size
from toolchain.bench.feeds import NOTHING, Told, picture_size
from toolchain.bench.runs import arrays_of
from toolchain.checking.pictures import Photo
from toolchain.deploy import detect, packing
from toolchain.errors import InputError
from toolchain.lineage.links import pair_boxes
from toolchain.records.certificate import BoxAgreement
from toolchain.records.run_folder import ONNX, name_of
from toolchain.records.timings import Check, FileCheck, StageCounts
from toolchain.system.files import as_json, sha256_of, write_bytes

Arrays = tuple[NDArray[np.floating], ...]
HALF = ", half precision"
"""Of a file, and a runtime, that a board was let compute so."""


def check_folder(
    place: Path,
    names: Sequence[str] | None,
    target: Target,
    sysroot: Sysroot,
    photos: Sequence[Photo],
    cache: Path,
    on_stage: Callable[[str], None],
    told: Told = NOTHING,
) -> Check:
    """Run files of an output folder of ``shrink`` (None: all), or a file on its own, on a board.

    ``told`` is of a file on its own: what it is fed. Raises :class:`InputError` where there is
    nothing to run.
    """
    subject = subject_of(place, names, photos, told)
    paths = _runnable(subject.paths, names is not None, target)
    files = []
    for path in paths:
        on_stage(f"{name_of(path)} on {target.name}")
        own = subject.for_file(path)
        files.append(_cached(path, own, target, sysroot, cache))
        if path.suffix == ".param" and target.has_half:
            on_stage(f"{name_of(path)} in half precision")
            files.append(_cached(path, own, target, sysroot, cache, half=True))
    program = stages = None
    if photos and subject.finds_boxes and sysroot.has_opencv:
        on_stage(f"detect.py on {target.name}")
        program, stages = _program(_main(paths), photos, target, sysroot)
    return Check(
        subject.name,
        target.key,
        target.name,
        target.core,
        target.clock_hz,
        target.fitted_on,
        tuple(files),
        program,
        stages,
    )


def _runnable(paths: Sequence[Path], asked: bool, target: Target) -> list[Path]:
    """Return the files that the board has a runtime for; all must be that are asked for."""
    fit = [path for path in paths if path.suffix in target.runtimes]
    absent = [name_of(path) for path in paths if path not in fit]
    if absent and (asked or not fit):
        raise InputError(
            f"{absent[0]}: {target.name} has no runtime for it, but for "
            f"{' and '.join(target.runtimes)} files; make some by shrink --formats onnx,tflite"
        )
    return fit


def _main(paths: Sequence[Path]) -> Path:
    return next((path for path in paths if path.name == ONNX), paths[0])


def _program(
    path: Path, photos: Sequence[Photo], target: Target, sysroot: Sysroot
) -> tuple[BoxAgreement, StageCounts]:
    """Run the board's program on the photos, there and here; count its stages on the first."""
    detector, sides = detect.Detector(path, threads=1), []
    with tempfile.TemporaryDirectory() as folder:
        for index, photo in enumerate(photos):
            picture = Path(folder) / f"{index}.png"
            cv2.imwrite(str(picture), photo.pixels)
            here, _ = detector.detect(photo.pixels)
            sides.append((here, run_program(path, picture, target, sysroot)))
        stages = count_stages(path, Path(folder) / "0.png", target, sysroot)
    return pair_boxes(sides), stages


def _cached(
    path: Path,
    subject: Subject,
    target: Target,
    sysroot: Sysroot,
    cache: Path,
    *,
    half: bool = False,
) -> FileCheck:
    """Return a check that was made of the very same things, or make it."""
    parts = (
        *parts_of(path, subject, target, sysroot),
        runtime_of(path.suffix, target),
        *(("half",) if half else ()),
        *((sha256_of(packing.PACKAGE / "ncnn_file.py"),) if path.suffix == ".param" else ()),
    )
    return kept_check(parts, cache, lambda: _check(path, subject, target, sysroot, half=half))


def parts_of(path: Path, subject: Subject, target: Target, sysroot: Sysroot) -> tuple[str, ...]:
    """Return what a check depends on, but for the runtime."""
    digest = hashlib.sha256()
    for array in arrays_of(subject.inputs).values():
        digest.update(array.tobytes())
    return (
        toolchain.__version__,
        *(sha256_of(source) for source in sorted(Path(__file__).parent.glob("*.py"))),
        whole_sha256(path),
        name_of(path),
        repr(target),
        repr(subject.recipe),
        sysroot.root.name,
        sysroot.site.name,
        sysroot.plugin.name,
        digest.hexdigest(),
    )


def kept_check(parts: Sequence[str], cache: Path, make: Callable[[], FileCheck]) -> FileCheck:
    """Return a check that depends on these parts, or make it.

    One that fails is not kept, nor one whose operators a busy machine let nobody tell apart.
    """
    place = (
        cache / "checks" / f"{hashlib.sha256(repr(tuple(parts)).encode()).hexdigest()[:24]}.json"
    )
    if place.is_file():
        return read_check(json.loads(place.read_bytes()))
    made = make()
    told = made.operators or not made.runtime.startswith(("onnxruntime", "ncnn"))
    if made.parity and told:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(place, as_json(asdict(made)))
    return made


def _check(
    path: Path,
    subject: Subject,
    target: Target,
    sysroot: Sysroot,
    *,
    half: bool,
) -> FileCheck:
    there = emulate(path, subject.inputs, target, sysroot, half=half)
    same = compare_with_here(path, subject, there.outputs, half=half)
    found = file_check(path, subject, target, there, same)
    words = HALF if half else ""
    return dataclasses.replace(found, runtime=found.runtime + words, file=found.file + words)


def file_check(
    path: Path, subject: Subject, target: Target, there: Emulated, same: Sameness
) -> FileCheck:
    """Return what a run on the board told, beside what this machine gives."""
    total = there.counts.inference.total
    return FileCheck(
        target.key,
        runtime_of(path.suffix, target),
        name_of(path),
        whole_sha256(path),
        picture_size(next(iter(subject.inputs.values()))),
        total,
        there.counts.inference,
        same.apart,
        same.boxes,
        whole_size(path),
        there.resident_bytes,
        estimate(total, target),
        {"median": target.median_error, "worst": target.worst_error},
        same.holds,
        there.counts.opening.total,
        there.counts.operators,
        tuple(sample_of(name, outputs, subject) for name, outputs in there.outputs.items()),
        subject.fed,
    )
