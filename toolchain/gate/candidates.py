"""An output folder of ``shrink`` in, a record of what it costs and gives on a board out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import toolchain
from toolchain.arm.checking import HALF, check_folder
from toolchain.arm.sysroot import Sysroot
from toolchain.arm.targets import Target
from toolchain.bench.feeds import NOTHING, Told
from toolchain.checking.pictures import Photo
from toolchain.errors import InputError
from toolchain.recipe import EvaluateSection, GateSection, Recipe
from toolchain.records.certificate import Certificate
from toolchain.records.figures import Accuracy, Figures, MeasureAccuracy
from toolchain.records.run_folder import (
    NCNN,
    NCNN_FOLDER,
    ONNX,
    RunFolder,
    RunReport,
    model_file,
    name_of,
)
from toolchain.records.timings import Check, FileCheck
from toolchain.records.verdicts import FileRecord, Record

LEVELS = ("easy", "medium", "hard")
ALONE = "a file on its own"
"""The model of its baselines."""
NAMES = {".onnx": ONNX, ".tflite": "model.tflite", ".param": NCNN}
"""What a file on its own is called in baselines, by its suffix."""


def measure(
    folder: Path,
    name: str,
    target: Target,
    sysroot: Sysroot,
    photos: Sequence[Photo],
    accuracy_of: MeasureAccuracy | None,
    cache: Path,
    on_stage: Callable[[str], None],
    files: Sequence[str] | None = None,
    told: Told = NOTHING,
    recipe: Recipe | None = None,
) -> Record:
    """Measure files of a folder (None: all) on an emulated board, or a file on its own.

    ``told`` and ``recipe`` are of a file on its own: what it is fed, and how it is evaluated.
    Raises :class:`InputError` for a folder that is none, is incomplete, was changed, or whose proof
    fails, and for a file that cannot be run.
    """
    if model_file(folder).is_file():
        alone = model_file(folder)
        _demand_known(alone, photos, accuracy_of, recipe)
        run_alone = check_folder(alone, None, target, sysroot, (), cache, on_stage, told)
        _demand_parity(run_alone, alone.parent)
        good = accuracy_of(alone, recipe) if accuracy_of is not None and recipe else None
        return _record_alone(name, alone, run_alone, good, recipe)
    run = _opened(folder)
    certificate, report = run.certificate, run.report
    found = check_folder(folder, _asked(files), target, sysroot, photos, cache, on_stage)
    _demand_parity(found, folder)
    accuracy = None if accuracy_of is None else accuracy_of(folder / ONNX, certificate.recipe)
    return Record(
        name,
        certificate.recipe.model.name,
        target.key,
        _conditions(found, accuracy),
        dict(_metrics(found, certificate, report, accuracy)),
        dict(report.widths),
        dict(report.versions),
        {
            gate_name(file.file): FileRecord(file.sha256, file.operators, file.outputs)
            for file in found.files
        },
        certificate.recipe.gate,
        (),
        (),
    )  # fmt: skip


def _demand_known(
    path: Path,
    photos: Sequence[Photo],
    accuracy_of: MeasureAccuracy | None,
    recipe: Recipe | None,
) -> None:
    """Raise :class:`InputError` where something is asked that a file on its own does not tell."""
    if photos:
        raise InputError(f"{path.name}: --photo is for output folders; leave it out")
    if accuracy_of is not None and recipe is None:
        raise InputError(
            f"{path.name}: how it is evaluated is not known; give a recipe with [evaluate] by "
            f"--recipe, or a figure that you measured by --score NAME=VALUE in place of --data"
        )


def _record_alone(
    name: str, path: Path, found: Check, accuracy: Accuracy | None, recipe: Recipe | None
) -> Record:
    """Return the record of a file of any origin; it has the name that a folder's file would have,
    so that the next version may be called something else."""
    files = tuple(_renamed(file, path) for file in found.files)
    metrics = {metric: value for file in files for metric, value in _of_file(file)}
    if recipe is not None:
        metrics |= dict(_of_accuracy(accuracy, recipe))
    records = {
        gate_name(file.file): FileRecord(file.sha256, file.operators, file.outputs)
        for file in files
    }
    conditions = _conditions(dataclasses.replace(found, files=files), accuracy)
    limits = recipe.gate if recipe else GateSection()
    return Record(
        name, ALONE, found.target, conditions, metrics, {}, {}, records, limits, (), ()
    )  # fmt: skip


def _renamed(file: FileCheck, path: Path) -> FileCheck:
    called = file.file.replace(name_of(path), NAMES[path.suffix])
    return dataclasses.replace(file, file=called)


def gate_name(file: str) -> str:
    """Return what a file is called in baselines: an ncnn file by its folder, for / parts metrics.

    What a board computed in half precision is a file of its own.
    """
    return file.replace(NCNN, NCNN_FOLDER)


def _asked(names: Sequence[str] | None) -> list[str] | None:
    """Return the files to be run for those of a baseline."""
    return None if names is None else list(dict.fromkeys(name.removesuffix(HALF) for name in names))


def file_of(folder: Path, name: str) -> Path:
    """Return a baseline's file in an output folder, or the file on its own that is given."""
    alone = model_file(folder)
    return alone if alone.is_file() else model_file(folder / name.removesuffix(HALF))


def _opened(folder: Path) -> RunFolder:
    """Return the folder, after looking whether it is whole."""
    run = RunFolder.open(folder)
    certificate = run.certificate
    if not certificate.is_complete:
        broken = [failure.file for failure in certificate.failures]
        broken += [link.name for link in certificate.links if not link.passed]
        raise InputError(f"{folder}: is incomplete ({', '.join(broken)}); mend that first")
    run.demand_unchanged()
    _ = run.report  # refused here, before anything is measured
    return run


def _demand_parity(found: Check, folder: Path) -> None:
    for file in found.files:
        if not file.parity:
            raise InputError(
                f"{folder / file.file}: gives other outputs on {found.name} than here "
                f"({file.apart.problem or 'other boxes'}); toolchain check tells more"
            )


def _conditions(found: Check, accuracy: Accuracy | None) -> Mapping[str, str]:
    """Return all that figures depend on beside the model."""
    conditions = {
        "board": f"{found.target}, {found.core}, emulated by QEMU",
        "input": found.main.input_words,
        "threads": "1",
        "toolchain": toolchain.__version__,
        **{f"runtime of {gate_name(file.file)}": file.runtime for file in found.files},
    }
    if isinstance(accuracy, Figures):
        conditions["data"] = f"{accuracy.data.words} by {accuracy.function}"
    elif accuracy is not None:
        conditions["photos"] = f"{accuracy['photos']} by protocol {accuracy['protocol']}"
    return conditions


def _metrics(
    found: Check,
    certificate: Certificate,
    report: RunReport,
    accuracy: Accuracy | None,
) -> Iterator[tuple[str, float]]:
    for file in found.files:
        yield from _of_file(file)
    yield "network/parameters", report.deployed_parameters_after
    for link in certificate.links:
        share = (link.parity.worst or 0.0) / link.parity.limit
        yield f"network/parity/{link.after}", _rounded(share)
    yield from _of_accuracy(accuracy, certificate.recipe)


def _of_accuracy(accuracy: Accuracy | None, recipe: Recipe) -> Iterator[tuple[str, float]]:
    if isinstance(accuracy, Figures):
        yield from of_figures(accuracy, recipe.evaluate)
    elif accuracy is not None:
        for level in LEVELS:
            yield f"network/average_precision/{level}", _rounded(float(accuracy[level]))  # type: ignore[literal-required]


def of_figures(found: Figures, asked: EvaluateSection) -> Iterator[tuple[str, float]]:
    """Yield the figures that decide; those of which less is better are errors."""
    for name, value in found.values.items():
        if asked.is_judged(name):
            kind = "error" if asked.is_lower(name) else "score"
            yield f"network/{kind}/{name}", _rounded(value)


def _of_file(file: FileCheck) -> Iterator[tuple[str, float]]:
    name = gate_name(file.file)
    yield f"{name}/instructions", file.instructions_per_inference
    yield f"{name}/multiply_adds", file.instructions.multiply_add
    yield f"{name}/size_bytes", file.size_bytes
    yield f"{name}/peak_memory_bytes", file.peak_memory_bytes
    yield f"{name}/parity/board", _rounded((file.apart.worst or 0.0) / file.apart.limit)
    for kind, (count, _) in sorted(file.operator_types.items()):
        yield f"{name}/operators/{kind}", count


def _rounded(figure: float) -> float:
    return float(f"{figure:.4g}")
