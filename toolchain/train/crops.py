"""Square training crops of photos, with their faces: scaled, mirrored, recoloured.

A crop is a function of the photo and of a random generator alone. Whoever makes that generator
from the seed and the crop's number gets the same crop in every process, in any order.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from toolchain.exporting.io_spec import border_colour
from toolchain.recipe import CropSection, InputSection, Recipe

Image = NDArray[np.uint8]
Faces = NDArray[np.float32]
"""(F, 4): left, top, right, bottom in pixels."""
SMALLEST_SCALE, LARGEST_SCALE = 0.05, 4.0
"""By which a photo is scaled at most to bring a face to the side that was drawn."""


@dataclass(frozen=True)
class CropSettings(CropSection):
    """The recipe's crops, and what they are for."""

    fed: InputSection = field(default_factory=InputSection)
    """What the network is given of them. Outside of the photo lies the colour that becomes zero."""

    @classmethod
    def of(cls, recipe: Recipe) -> CropSettings:
        """Return the settings of a recipe."""
        return cls(**asdict(recipe.crops), fed=recipe.input)


@dataclass(frozen=True)
class Crop:
    """A crop and its faces."""

    image: Image
    """uint8 (side, side, 3), BGR."""
    faces: Faces


def draw_crop(
    image: Image, faces: Faces, generator: np.random.Generator, settings: CropSettings
) -> Crop:
    """Draw a crop of ``image`` (H, W, 3); faces whose centre lies in it come along."""
    scale, left, top = _draw_place(image.shape[:2], faces, generator, settings)
    pixels = _cut(image, scale, left, top, settings)
    moved = (faces - np.array([left, top, left, top], np.float32)) * np.float32(scale)
    if generator.random() < 0.5:
        pixels = np.asarray(cv2.flip(pixels, 1), np.uint8)
        moved = moved[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [settings.side, 0, settings.side, 0]
    pixels = recolour(pixels, generator, settings)
    return Crop(pixels, _inside(moved.astype(np.float32), settings))


def _draw_place(
    size: tuple[int, int],
    faces: Faces,
    generator: np.random.Generator,
    settings: CropSettings,
) -> tuple[float, float, float]:
    """Return the scale, and the crop's left and top edge in pixels of the photo."""
    height, width = size
    if len(faces) and generator.random() < settings.near_face:
        face = faces[generator.integers(len(faces))]
        low, high = np.log(settings.face_sides)
        side = math.sqrt(max(1.0, float((face[2] - face[0]) * (face[3] - face[1]))))
        wanted = np.exp(generator.uniform(low, high)) / side
        scale = float(np.clip(wanted, SMALLEST_SCALE, LARGEST_SCALE))
        extent = settings.side / scale
        centre = (face[:2] + face[2:]) / 2 - generator.uniform(0.15, 0.85, 2) * extent
        return scale, float(centre[0]), float(centre[1])
    scale = 1.0
    if generator.random() >= settings.own_scale:
        scale = float(generator.uniform(*settings.scales))
    extent = settings.side / scale
    return scale, _edge(width, extent, generator), _edge(height, extent, generator)


def _edge(length: int, extent: float, generator: np.random.Generator) -> float:
    """Draw where a crop begins: inside the photo, or around it if the photo is smaller."""
    low, high = sorted((0.0, length - extent))
    return float(generator.uniform(low, high))


def _cut(image: Image, scale: float, left: float, top: float, settings: CropSettings) -> Image:
    """Resize the part of the photo that the crop sees, and lay it on the mean colour."""
    side, extent = settings.side, settings.side / scale
    canvas = np.empty((side, side, 3), np.uint8)
    canvas[:] = border_colour(settings.fed)
    x0, y0 = max(0, math.floor(left)), max(0, math.floor(top))
    x1 = min(image.shape[1], math.ceil(left + extent))
    y1 = min(image.shape[0], math.ceil(top + extent))
    if x1 <= x0 or y1 <= y0:
        return canvas
    seen = image[y0:y1, x0:x1]
    if scale < 0.6:  # a linear kernel would skip pixels
        columns, rows = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
        seen = np.asarray(cv2.resize(seen, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
    stretch_x, stretch_y = seen.shape[1] / (x1 - x0), seen.shape[0] / (y1 - y0)
    # Pixel centres lie at halves, hence the shifts.
    matrix = np.array(
        [
            [scale / stretch_x, 0, (x0 - left) * scale + 0.5 * scale / stretch_x - 0.5],
            [0, scale / stretch_y, (y0 - top) * scale + 0.5 * scale / stretch_y - 0.5],
        ]
    )
    cv2.warpAffine(
        seen,
        matrix,
        (side, side),
        dst=canvas,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_TRANSPARENT,
    )
    return canvas


def recolour(pixels: Image, generator: np.random.Generator, settings: CropSettings) -> Image:
    """Change brightness, contrast and saturation a little, by one matrix over the channels."""
    shift = generator.uniform(-settings.brightness, settings.brightness)
    gain = generator.uniform(1 - settings.contrast, 1 + settings.contrast)
    colour = generator.uniform(1 - settings.saturation, 1 + settings.saturation)
    grey = np.full((3, 1), 1.0) * np.array([0.114, 0.587, 0.299])
    matrix = gain * (colour * np.eye(3) + (1 - colour) * grey)
    constant = shift + 128 * (1 - gain)
    affine = np.concatenate([matrix, np.full((3, 1), constant)], axis=1)
    return np.asarray(cv2.transform(pixels, affine.astype(np.float32)), np.uint8)


def _inside(faces: Faces, settings: CropSettings) -> Faces:
    """Keep faces whose centre lies in the crop and that are not too small; clip none."""
    centre = (faces[:, :2] + faces[:, 2:]) / 2
    sides = faces[:, 2:] - faces[:, :2]
    kept = ((centre >= 0) & (centre < settings.side)).all(axis=1)
    kept &= sides.min(axis=1, initial=np.inf) >= settings.smallest_face
    return np.asarray(faces[kept], np.float32)
