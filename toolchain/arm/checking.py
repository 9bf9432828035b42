"""Checking a folder's files on an emulated board: do they run there, alike, and at what cost?"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import toolchain
from deploy import detect
from toolchain.arm import guest
from toolchain.arm.emulation import emulate, run_program
from toolchain.arm.sysroot import Sysroot
from toolchain.arm.targets import Target, estimate
from toolchain.bench.runs import open_run, runtime_of
from toolchain.certificate import NAME, BoxAgreement, read_certificate
from toolchain.chain.links import pair_boxes
from toolchain.check.parity import random_inputs
from toolchain.errors import DataError, InputError
from toolchain.files import as_json, sha256_of, write_bytes
from toolchain.pictures import Photo, board_view, photo_input, smooth_input
from toolchain.recipe import Recipe
from toolchain.sources import example_input, load_network
from toolchain.timings import MAIN, Check, Estimate, FileCheck, Instructions

Arrays = tuple[NDArray[np.floating], ...]


def check_folder(
    folder: Path,
    names: Sequence[str] | None,
    target: Target,
    sysroot: Sysroot,
    photos: Sequence[Photo],
    cache: Path,
    on_stage: Callable[[str], None],
) -> Check:
    """Run files of an output folder of ``shrink`` (None: all) on a board.

    Raises :class:`InputError` where there is nothing to run.
    """
    paths = _paths(folder, names)
    recipe = recipe_of(folder)
    inputs = _inputs(folder, recipe, photos)
    files = []
    for path in paths:
        on_stage(f"{path.name} on {target.name}")
        files.append(_cached(path, recipe, inputs, target, sysroot, cache))
    program = None
    if photos and recipe.anchors is not None:
        on_stage(f"detect.py on {target.name}")
        program = _program(_main(paths), photos, target, sysroot)
    return Check(
        folder.resolve().name,
        target.key,
        target.name,
        target.core,
        target.clock_hz,
        target.fitted_on,
        tuple(files),
        program,
    )


def _main(paths: Sequence[Path]) -> Path:
    return next((path for path in paths if path.name == MAIN), paths[0])


def _program(path: Path, photos: Sequence[Photo], target: Target, sysroot: Sysroot) -> BoxAgreement:
    """Run the board's program on the photos, there and here."""
    detector, sides = detect.Detector(path, threads=1), []
    with tempfile.TemporaryDirectory() as folder:
        for index, photo in enumerate(photos):
            picture = Path(folder) / f"{index}.png"
            cv2.imwrite(str(picture), photo.pixels)
            here, _ = detector.detect(photo.pixels)
            sides.append((here, run_program(path, picture, target, sysroot)))
    return pair_boxes(sides)


def _paths(folder: Path, names: Sequence[str] | None) -> list[Path]:
    found = sorted(path for path in folder.glob("model*") if path.suffix in (".onnx", ".tflite"))
    if names is not None:
        absent = [name for name in names if folder / name not in found]
        if absent:
            there = ", ".join(path.name for path in found) or "none"
            raise InputError(f"{folder}: has no model file {absent[0]} (there: {there})")
        found = [folder / name for name in names]
    if not found:
        raise InputError(f"{folder}: has no model file; give an output folder of toolchain shrink")
    return found


def recipe_of(folder: Path) -> Recipe:
    """Return the recipe that a folder was made by, as its certificate has it."""
    try:
        return read_certificate(folder / NAME).recipe
    except DataError as error:
        raise InputError(f"{error}; give an output folder of toolchain shrink") from error


def _inputs(
    folder: Path, recipe: Recipe, photos: Sequence[Photo]
) -> dict[str, NDArray[np.float32]]:
    """Return the inputs (1, C, H, W) by name; photos come first, for the first one is counted."""
    network = load_network(recipe, folder / "model.safetensors").network
    example = example_input(network, recipe.input.height, recipe.input.width)
    view = board_view(recipe)
    proofs = [photo_input(photo, recipe, view) for photo in photos]
    proofs.append(smooth_input(example, recipe.model.seed))
    channels, height, width = (int(side) for side in example.shape[1:])
    proofs += random_inputs([(1, channels, height, width)], recipe.model.seed)
    return {proof.name: np.ascontiguousarray(proof.image.numpy()) for proof in proofs}


def _cached(
    path: Path,
    recipe: Recipe,
    inputs: Mapping[str, NDArray[np.float32]],
    target: Target,
    sysroot: Sysroot,
    cache: Path,
) -> FileCheck:
    """Return a check that was made of the very same things, or make it."""
    digest = hashlib.sha256()
    for image in inputs.values():
        digest.update(image.tobytes())
    parts = (
        toolchain.__version__,
        sha256_of(Path(guest.__file__)),
        sha256_of(Path(__file__)),
        sha256_of(path),
        path.name,
        runtime_of(path),
        repr(target),
        repr(recipe),
        sysroot.root.name,
        sysroot.site.name,
        sysroot.plugin.name,
        digest.hexdigest(),
    )
    place = cache / "checks" / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:24]}.json"
    if place.is_file():
        return _read(json.loads(place.read_bytes()))
    made = _check(path, recipe, inputs, target, sysroot)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(place, as_json(asdict(made)))
    return made


def _read(content: dict[str, Any]) -> FileCheck:
    content["size"] = tuple(content["size"])
    content["instructions"] = Instructions(**content["instructions"])
    content["boxes"] = content["boxes"] and BoxAgreement(**content["boxes"])
    content["estimate_ms"] = Estimate(**content["estimate_ms"])
    return FileCheck(**content)


def _check(
    path: Path,
    recipe: Recipe,
    inputs: Mapping[str, NDArray[np.float32]],
    target: Target,
    sysroot: Sysroot,
) -> FileCheck:
    there = emulate(path, inputs, target, sysroot)
    here = {name: _run_here(path, image) for name, image in inputs.items()}
    differences = {name: _differences(here[name], there.outputs[name]) for name in inputs}
    largest = max(each[0] for each in differences.values())
    shares = [(each[0] / each[2], each[1] / each[2]) for each in differences.values()]
    is_int8 = "int8" in path.name
    limit = recipe.proof.int8_limit if is_int8 else recipe.proof.onnx_limit
    within = all((mean if is_int8 else worst) <= limit for worst, mean in shares)
    boxes = _agreement(here, there.outputs, inputs, recipe)
    least = recipe.proof.int8_boxes if is_int8 else 1.0
    first = next(iter(inputs.values()))
    total = there.instructions.total
    return FileCheck(
        target.key,
        runtime_of(path),
        path.name,
        sha256_of(path),
        (int(first.shape[2]), int(first.shape[3])),
        total,
        there.instructions,
        largest,
        max(mean for _, mean in shares),
        limit,
        boxes,
        path.stat().st_size,
        there.resident_bytes,
        estimate(total, target),
        {"median": target.median_error, "worst": target.worst_error},
        within and (boxes is None or boxes.share == 1 or (is_int8 and boxes.agrees(least))),
    )


def _run_here(path: Path, image: NDArray[np.float32]) -> Arrays:
    outputs = open_run(path, image, 1)()
    assert isinstance(outputs, list)
    return tuple(outputs)


def _differences(here: Arrays, there: Arrays) -> tuple[float, float, float]:
    """Return the largest and the mean difference, and the output's range; NaN is infinite."""
    if [a.shape for a in here] != [b.shape for b in there]:
        return np.inf, np.inf, 1.0
    gaps = [np.abs(a.astype(np.float64) - b) for a, b in zip(here, there, strict=True)]
    largest = max(float(gap.max(initial=0.0)) for gap in gaps)
    mean = max(float(gap.mean()) for gap in gaps)
    span = max(float(np.ptp(a)) for a in here) or 1.0
    return (largest, mean, span) if np.isfinite(largest) else (np.inf, np.inf, span)


def _agreement(
    here: Mapping[str, Arrays],
    there: Mapping[str, Arrays],
    inputs: Mapping[str, NDArray[np.float32]],
    recipe: Recipe,
) -> BoxAgreement | None:
    """Compare the boxes on photos; None if there are none."""
    photos = [name for name in inputs if name.startswith("photo ")]
    if not photos or recipe.anchors is None:
        return None
    view, size = board_view(recipe), (recipe.input.height, recipe.input.width)
    place = detect.Placement(1.0, 1.0, 0, 0, size[1], size[0])
    found = [
        [detect.decode(loc[0], logits[0], view, *size, place)[0] for loc, logits in sides]
        for sides in ((here[name], there[name]) for name in photos)
    ]
    return pair_boxes([(ours, theirs) for ours, theirs in found])
