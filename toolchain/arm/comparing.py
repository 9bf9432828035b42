"""What a board is given, and whether it gives what this machine gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from toolchain.bench.feeds import NOTHING, Told, given_alone
from toolchain.bench.runs import Given, Picture, run_once
from toolchain.checking.inputs import noise_inputs
from toolchain.checking.parity import ProofInput, compare_outputs
from toolchain.checking.pictures import (
    Photo,
    as_fed,
    board_view,
    file_view,
    floats_for,
    photo_input,
    smooth_input,
)
from toolchain.deploy import detect
from toolchain.errors import InputError
from toolchain.exporting.probabilities import probabilities_in
from toolchain.lineage.links import LEAST_OF_INT8, pair_boxes
from toolchain.recipe import ProofSection, Recipe
from toolchain.records.certificate import BoxAgreement
from toolchain.records.parity import Parity
from toolchain.records.run_folder import (
    NCNN,
    NCNN_FOLDER,
    ONNX,
    WEIGHTS,
    RunFolder,
    model_file,
    name_of,
)
from toolchain.records.timings import ChannelSample, OutputSample
from toolchain.zoo.sources import example_of, image_of

Arrays = tuple[NDArray[np.floating], ...]
SAMPLED, SAMPLED_OF_CHANNEL, MOST_CHANNELS = 64, 24, 32
"""Values that are kept of an output, or of each of its channels where these are few."""
Inputs = Mapping[str, Given]
"""By name: pictures (1, C, H, W), or all inputs of a file on its own."""


@dataclass(frozen=True)
class Subject:
    """What is run: an output folder of ``shrink``, or a model file of any kind."""

    name: str
    paths: tuple[Path, ...]
    inputs: Inputs
    """Photos come first, for the first one is counted."""
    recipe: Recipe | None
    """None for a file on its own: nothing is known of it but its input."""
    fed: str = ""
    """Names, shapes and types of all inputs; empty for one picture, whose size tells all."""

    @property
    def finds_boxes(self) -> bool:
        """True if its outputs can be read as faces."""
        return self.recipe is not None and self.recipe.anchors is not None

    @property
    def gives_faces(self) -> bool:
        """True if its files suppress by themselves, so that outputs are as many as faces."""
        return self.recipe is not None and self.recipe.decode.postprocess == "nms"

    def for_file(self, path: Path) -> Subject:
        """Return what one of its files is fed and gives: ncnn's takes floats and decodes nothing,
        whatever form the others have."""
        if path.suffix != ".param" or self.recipe is None:
            return self
        recipe = dataclasses.replace(
            self.recipe,
            input=dataclasses.replace(self.recipe.input, dtype="float32"),
            decode=self.recipe.decode.bare,
        )
        inputs = {
            name: floats_for(image, self.recipe)
            for name, image in self.inputs.items()
            if not isinstance(image, tuple)
        }
        return dataclasses.replace(self, recipe=recipe, inputs=inputs)


@dataclass(frozen=True)
class Sameness:
    """A board's outputs beside this machine's."""

    apart: Parity
    """Of the largest difference; for int8 of the mean one."""
    boxes: BoxAgreement | None
    """On the photos; None without photos."""
    holds: bool
    """True within the limit, with the same boxes: all, but for int8."""


def paths_of(folder: Path, names: Sequence[str] | None) -> list[Path]:
    """Return the model files of a folder, or those that are asked for."""
    found = [*RunFolder(folder).files]
    if names is not None:
        names = [NCNN if name.rstrip("/") == NCNN_FOLDER else name for name in names]
        absent = [name for name in names if folder / name not in found]
        if absent:
            there = ", ".join(map(name_of, found)) or "none"
            raise InputError(f"{folder}: has no model file {absent[0]} (there: {there})")
        found = [folder / name for name in names]
    if not found:
        raise InputError(f"{folder}: has no model file; give an output folder of toolchain shrink")
    return found


def recipe_of(folder: Path) -> Recipe:
    """Return the recipe that a folder was made by, as its certificate has it."""
    return RunFolder.open(folder).certificate.recipe


def subject_of(
    place: Path, names: Sequence[str] | None, photos: Sequence[Photo], told: Told = NOTHING
) -> Subject:
    """Return the files of an output folder (None: all), or a file on its own, with inputs.

    ``told`` is of a file on its own. Raises :class:`InputError` where there is nothing to run.
    """
    place = model_file(place)
    if place.is_file():
        return _file_alone(place, told)
    paths, run = paths_of(place, names), RunFolder.open(place)
    run.demand_unchanged([*map(name_of, paths), WEIGHTS])
    recipe = run.certificate.recipe
    return Subject(place.resolve().name, tuple(paths), inputs_of(place, recipe, photos), recipe)


def _file_alone(path: Path, told: Told) -> Subject:
    """Return a file of any origin, fed what it says that it takes."""
    name, given, words = given_alone(path, told)
    return Subject(path.name.partition(".")[0], (path,), {name: given}, None, words)


def inputs_of(folder: Path, recipe: Recipe, photos: Sequence[Photo]) -> dict[str, Picture]:
    """Return the inputs (1, C, H, W) by name; photos come first, for the first one is counted."""
    example = image_of(example_of(recipe, folder / WEIGHTS), recipe.model.name)
    view = board_view(recipe)
    proofs = [photo_input(photo, recipe, view) for photo in photos]
    seed, given = recipe.model.seed, recipe.input.given
    proofs.append(smooth_input(example, seed, given))
    channels, height, width = (int(side) for side in example.shape[1:])
    proofs += noise_inputs([(1, channels, height, width)], seed, given)
    return {proof.name: as_fed(proof.image.numpy(), recipe) for proof in proofs}


def compare_with_here(
    path: Path, subject: Subject, there: Mapping[str, Arrays], *, half: bool = False
) -> Sameness:
    """Run a file here too, and compare; half precision is judged as int8 is."""
    here = {name: _run_here(path, image) for name, image in subject.inputs.items()}
    proof = subject.recipe.proof if subject.recipe else ProofSection()
    is_int8 = half or "int8" in path.name
    names = list(subject.inputs)
    if is_int8 and subject.gives_faces:  # those at the threshold come and go; boxes decide
        names = [name for name in names if _shapes(here[name]) == _shapes(there[name])]
    limit = proof.int8_limit if is_int8 else proof.onnx_limit
    probabilities = probabilities_in(_graph_beside(path))
    cases = [
        compare_outputs(
            ProofInput(name, _tensors(subject.inputs[name])),
            list(here[name]),
            list(there[name]),
            limit=limit,
            least_range=LEAST_OF_INT8 if is_int8 else 0.0,
            probabilities=probabilities,
        )
        for name in names
        if _shapes(here[name]) == _shapes(there[name])
    ]
    apart = Parity(
        f"{name_of(path)}, here -> there", "mean" if is_int8 else "largest", limit, (*cases,)
    )
    boxes = _agreement(here, there, subject)
    alike = boxes is None or boxes.share == 1
    if boxes is not None and is_int8:
        alike = boxes.agrees(proof.int8_boxes)
    within = len(cases) == len(names) and (apart.passed or not names)
    return Sameness(apart, boxes, within and alike)


def _graph_beside(path: Path) -> Path:
    """Return the ONNX file that gives what a file of an output folder gives."""
    if path.suffix == ".onnx":
        return path
    return (path.parent.parent if name_of(path) == NCNN else path.parent) / ONNX


def _tensors(given: Given) -> tuple[torch.Tensor, ...]:
    arrays = given if isinstance(given, tuple) else (given,)
    return tuple(torch.from_numpy(array) for array in arrays)


def _run_here(path: Path, given: Given) -> Arrays:
    return tuple(run_once(path, given))


def _shapes(outputs: Arrays) -> list[tuple[int, ...]]:
    return [output.shape for output in outputs]


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
    boxes = boxes_of(name, outputs, subject)
    return OutputSample(
        name,
        tuple(sample for index, output in enumerate(outputs) for sample in _samples(index, output)),
        None
        if boxes is None
        else tuple(tuple(round(float(side), 2) for side in box) for box in boxes),
    )


def _samples(index: int, output: NDArray[np.floating]) -> Iterator[ChannelSample]:
    """Yield what is kept of an output: each channel's own values where channels are few."""
    values = output.astype(np.float64)
    axis = None
    if values.ndim > 2:
        axis = 1 if values.shape[1] <= values.shape[-1] else values.ndim - 1
    if axis is None or not 1 < values.shape[axis] <= MOST_CHANNELS:
        yield _sample(index, None, values, SAMPLED)
        return
    for channel, part in enumerate(np.moveaxis(values, axis, 0)):
        yield _sample(index, channel, part, SAMPLED_OF_CHANNEL)


def _sample(
    index: int, channel: int | None, values: NDArray[np.float64], most: int
) -> ChannelSample:
    flat = values.ravel()
    chosen = flat[np.linspace(0, len(flat) - 1, min(most, len(flat))).astype(int)]
    return ChannelSample(
        index,
        channel,
        tuple(float(f"{value:.6g}") for value in chosen),
        float(f"{flat.min():.6g}") if flat.size else 0.0,
        float(f"{flat.max():.6g}") if flat.size else 0.0,
    )
