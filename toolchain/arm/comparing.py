"""What a board is given, and whether it gives what this machine gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy import detect
from toolchain.bench.runs import Picture, input_of, open_run
from toolchain.certificate import NAME, BoxAgreement, read_certificate
from toolchain.chain.links import pair_boxes
from toolchain.check.parity import random_inputs
from toolchain.errors import DataError, InputError
from toolchain.pictures import Photo, as_fed, board_view, file_view, photo_input, smooth_input
from toolchain.recipe import ProofSection, Recipe
from toolchain.sources import example_input, load_network
from toolchain.timings import OutputSample

Arrays = tuple[NDArray[np.floating], ...]
SAMPLED = 64
"""Values of an input's outputs that are kept."""
Inputs = Mapping[str, Picture]
"""By name, (1, C, H, W)."""


@dataclass(frozen=True)
class Subject:
    """What is run: an output folder of ``shrink``, or a model file of any kind."""

    name: str
    paths: tuple[Path, ...]
    inputs: Inputs
    """Photos come first, for the first one is counted."""
    recipe: Recipe | None
    """None for a file on its own: nothing is known of it but its input."""

    @property
    def finds_boxes(self) -> bool:
        """True if its outputs can be read as faces."""
        return self.recipe is not None and self.recipe.anchors is not None

    @property
    def gives_faces(self) -> bool:
        """True if its files suppress by themselves, so that outputs are as many as faces."""
        return self.recipe is not None and self.recipe.decode.postprocess == "nms"


@dataclass(frozen=True)
class Sameness:
    """A board's outputs beside this machine's."""

    max_abs_diff: float
    """Largest difference of an output, over all inputs."""
    mean_share: float
    """Mean difference as a share of the output's range, the worst input's."""
    limit: float
    """Of the largest difference as a share of the range; of the mean one for int8."""
    boxes: BoxAgreement | None
    """On the photos; None without photos."""
    holds: bool
    """True within the limit, with the same boxes: all, but for int8."""


def paths_of(folder: Path, names: Sequence[str] | None) -> list[Path]:
    """Return the model files of a folder, or those that are asked for."""
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


def subject_of(place: Path, names: Sequence[str] | None, photos: Sequence[Photo]) -> Subject:
    """Return the files of an output folder (None: all), or a file on its own, with inputs.

    Raises :class:`InputError` where there is nothing to run.
    """
    if place.is_file():
        shape, takes_pixels = input_of(place)
        (noise,) = random_inputs([(1, *shape)], seed=0)
        image: Picture = np.ascontiguousarray(noise.image.numpy())
        if takes_pixels:
            image = np.clip(image + 128, 0, 255).astype(np.uint8)
        inputs = {noise.name: image}
        return Subject(place.stem, (place,), inputs, None)
    paths, recipe = paths_of(place, names), recipe_of(place)
    return Subject(place.resolve().name, tuple(paths), inputs_of(place, recipe, photos), recipe)


def inputs_of(folder: Path, recipe: Recipe, photos: Sequence[Photo]) -> dict[str, Picture]:
    """Return the inputs (1, C, H, W) by name; photos come first, for the first one is counted."""
    network = load_network(recipe, folder / "model.safetensors").network
    example = example_input(network, recipe.input.height, recipe.input.width)
    view = board_view(recipe)
    proofs = [photo_input(photo, recipe, view) for photo in photos]
    proofs.append(smooth_input(example, recipe.model.seed))
    channels, height, width = (int(side) for side in example.shape[1:])
    proofs += random_inputs([(1, channels, height, width)], recipe.model.seed)
    return {proof.name: as_fed(proof.image.numpy(), recipe) for proof in proofs}


def compare_with_here(path: Path, subject: Subject, there: Mapping[str, Arrays]) -> Sameness:
    """Run a file here too, and compare."""
    here = {name: _run_here(path, image) for name, image in subject.inputs.items()}
    proof = subject.recipe.proof if subject.recipe else ProofSection()
    is_int8 = "int8" in path.name
    names = list(subject.inputs)
    if is_int8 and subject.gives_faces:  # those at the threshold come and go; boxes decide
        names = [name for name in names if _shapes(here[name]) == _shapes(there[name])]
    differences = [differences_of(here[name], there[name]) for name in names] or [(0.0, 0.0, 1.0)]
    shares = [(largest / span, mean / span) for largest, mean, span in differences]
    limit = proof.int8_limit if is_int8 else proof.onnx_limit
    within = all((mean if is_int8 else worst) <= limit for worst, mean in shares)
    boxes = _agreement(here, there, subject)
    alike = boxes is None or boxes.share == 1
    if boxes is not None and is_int8:
        alike = boxes.agrees(proof.int8_boxes)
    largest = max(each[0] for each in differences)
    return Sameness(largest, max(mean for _, mean in shares), limit, boxes, within and alike)


def _run_here(path: Path, image: Picture) -> Arrays:
    outputs = open_run(path, image, 1)()
    assert isinstance(outputs, list)
    return tuple(outputs)


def _shapes(outputs: Arrays) -> list[tuple[int, ...]]:
    return [output.shape for output in outputs]


def differences_of(here: Arrays, there: Arrays) -> tuple[float, float, float]:
    """Return the largest and the mean difference, and the output's range; NaN is infinite."""
    if _shapes(here) != _shapes(there):
        return np.inf, np.inf, 1.0
    gaps = [np.abs(a.astype(np.float64) - b) for a, b in zip(here, there, strict=True)]
    largest = max(float(gap.max(initial=0.0)) for gap in gaps)
    mean = max((float(gap.mean()) for gap in gaps if gap.size), default=0.0)
    span = max((float(np.ptp(a)) for a in here if a.size), default=0.0) or 1.0
    return (largest, mean, span) if np.isfinite(largest) else (np.inf, np.inf, span)


def _agreement(
    here: Mapping[str, Arrays], there: Mapping[str, Arrays], subject: Subject
) -> BoxAgreement | None:
    """Compare the boxes on photos; None if there are none."""
    sides = [
        (boxes_of(name, here[name], subject), boxes_of(name, there[name], subject))
        for name in subject.inputs
    ]
    found = [(ours, theirs) for ours, theirs in sides if ours is not None and theirs is not None]
    return pair_boxes(found) if found else None


def boxes_of(name: str, outputs: Arrays, subject: Subject) -> detect.Floats | None:
    """Return the boxes (K, 4) that outputs say, in pixels of the input; None but for photos."""
    recipe = subject.recipe
    if recipe is None or not subject.finds_boxes or not name.startswith("photo "):
        return None
    view, size = file_view(recipe), (recipe.input.height, recipe.input.width)
    place = detect.Placement(1.0, 1.0, 0, 0, size[1], size[0])
    first, second = outputs
    return detect.decode(first[0], second[0], view, *size, place)[0]


def sample_of(name: str, outputs: Arrays, subject: Subject) -> OutputSample:
    """Return what is kept of outputs."""
    flat = np.concatenate([output.ravel() for output in outputs]).astype(np.float64)
    chosen = flat[np.linspace(0, len(flat) - 1, min(SAMPLED, len(flat))).astype(int)]
    boxes = boxes_of(name, outputs, subject)
    return OutputSample(
        name,
        tuple(float(f"{value:.6g}") for value in chosen),
        float(f"{flat.min():.6g}") if flat.size else 0.0,
        float(f"{flat.max():.6g}") if flat.size else 0.0,
        None
        if boxes is None
        else tuple(tuple(round(float(side), 2) for side in box) for box in boxes),
    )
