"""What int8 is calibrated on: photos of a folder, spread evenly, or synthetic shapes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from toolchain.checking.pictures import Photo, board_view, photo_input, smooth_input
from toolchain.deploy import detect
from toolchain.errors import InputError
from toolchain.recipe import Recipe
from toolchain.records.certificate import CalibrationFacts

MOST_PHOTOS, SYNTHETIC_INPUTS = 100, 32
SUFFIXES = detect.JPEG_SUFFIXES + detect.OTHER_SUFFIXES
HELD_OUT = 5
"""Every fifth photo is not calibrated on: boxes are compared on these."""
FEW_PHOTOS = 20
FLAT = 2.0
"""Standard deviation of the pixels' values under which a photo shows nothing."""


@dataclass(frozen=True)
class Calibration:
    """Inputs to calibrate on, and photos to compare boxes on."""

    facts: CalibrationFacts
    inputs: tuple[Tensor, ...] = field(repr=False)
    """float32 (1, C, H, W) each."""
    held_out: tuple[Photo, ...] = field(default=(), repr=False)
    """Photos that are not calibrated on."""
    held_out_inputs: tuple[Tensor, ...] = field(default=(), repr=False)
    """The same of inputs that were ready."""
    notes: tuple[str, ...] = ()


def given_calibration(inputs: Sequence[Tensor]) -> Calibration:
    """Return inputs that are ready for the network, float32 (1, C, H, W) each, as they are."""
    held_out = tuple(inputs[HELD_OUT - 1 :: HELD_OUT])
    learnt = tuple(each for index, each in enumerate(inputs) if (index + 1) % HELD_OUT)
    facts = CalibrationFacts("photos", len(learnt), _sha256(learnt))
    notes = []
    if len(inputs) < FEW_PHOTOS:
        count = f"{len(inputs)} input{'' if len(inputs) == 1 else 's'}"
        notes.append(f"int8 was calibrated on {count}; 100 that differ are better.")
    flat = sum(float(each.min()) == float(each.max()) for each in inputs)
    if flat:
        notes.append(f"{flat} of {len(inputs)} calibration inputs hold one value only.")
    return Calibration(facts, learnt, (), held_out, tuple(notes))


def read_calibration(
    folder: Path | Sequence[Path] | None, recipe: Recipe, example: Tensor
) -> Calibration:
    """Read photos under ``folder``, at most 100, spread; without one, make synthetic shapes.

    ``folder`` may be the photos' own paths; ``example`` (1, C, H, W) has the size of the network's
    input. Raises :class:`InputError` if no photo can be read.
    """
    if folder is None:
        return _synthetic(example, recipe)
    channels, order = recipe.input.channels, recipe.input.color_order
    if example.shape[1] != channels:
        raise InputError(
            f"--calibration: photos are fed as {order}, {channels} channel"
            f"{'' if channels == 1 else 's'}, and the network takes {example.shape[1]}; say the "
            f"color_order (RGB, BGR, GRAY) in [input] of a recipe, or leave the photos out"
        )
    if isinstance(folder, Path):
        photos, broken = _read(_spread(folder), str(folder))
    else:
        photos, broken = _read([*folder], f"{len(folder)} paths")
    held_out = tuple(photos[HELD_OUT - 1 :: HELD_OUT])
    learnt = [photo for index, photo in enumerate(photos) if (index + 1) % HELD_OUT]
    view = board_view(recipe)
    inputs = tuple(photo_input(photo, recipe, view).image for photo in learnt)
    facts = CalibrationFacts("photos", len(inputs), _sha256(inputs), broken)
    return Calibration(facts, inputs, held_out, (), tuple(_notes(photos, broken)))


def _synthetic(example: Tensor, recipe: Recipe) -> Calibration:
    first = 1000 * (recipe.model.seed + 1)
    inputs = tuple(
        smooth_input(example, first + index, recipe.input.given).image
        for index in range(SYNTHETIC_INPUTS)
    )
    note = (
        "SYNTHETIC CALIBRATION: int8 was calibrated on random shapes, not on photos, which costs "
        "accuracy; give a folder of about 100 photos by --calibration."
    )
    facts = CalibrationFacts("synthetic", len(inputs), _sha256(inputs))
    return Calibration(facts, inputs, notes=(note,))


def _spread(folder: Path) -> list[Path]:
    try:
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise InputError(f"--calibration {folder}: {error.strerror or error}") from error
    if not found:
        reason = "holds no photos" if folder.is_dir() else "is no folder"
        raise InputError(f"--calibration {folder}: {reason}; give a folder of about 100 photos")
    chosen = np.linspace(0, len(found) - 1, min(MOST_PHOTOS, len(found))).round().astype(int)
    return [found[index] for index in chosen]


def _read(paths: list[Path], where: str) -> tuple[list[Photo], int]:
    photos, broken, reason = [], 0, ""
    for path in paths:
        try:
            photos.append(Photo(path.name, detect.read_image(path)))
        except detect.DetectError as error:
            broken, reason = broken + 1, str(error)
    if not photos:
        raise InputError(f"--calibration {where}: no photo can be read ({reason})")
    return photos, broken


def _notes(photos: list[Photo], broken: int) -> list[str]:
    notes = []
    if broken:
        notes.append(f"{broken} calibration photos cannot be read and were left out.")
    if len(photos) < FEW_PHOTOS:
        count = f"{len(photos)} photo{'' if len(photos) == 1 else 's'}"
        notes.append(f"int8 was calibrated on {count}; 100 that differ are better.")
    flat = sum(float(photo.pixels.std()) < FLAT for photo in photos)
    if flat:
        notes.append(f"{flat} of {len(photos)} calibration photos show one colour only.")
    return notes


def _sha256(inputs: tuple[Tensor, ...]) -> str:
    digest = hashlib.sha256()
    for image in inputs:
        digest.update(image.numpy().tobytes())
    return digest.hexdigest()
