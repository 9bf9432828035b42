"""Photos and the boxes that networks find on them, by the very code that runs on the board."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from toolchain.checking.parity import ProofInput, Runner
from toolchain.deploy import detect
from toolchain.errors import PhotoError
from toolchain.exporting.io_spec import OUTPUTS, border_colour
from toolchain.recipe import AnchorSection, Recipe
from toolchain.records.stages import Detections, PhotoComparison


@dataclass(frozen=True)
class Photo:
    """A picture as it was read."""

    name: str
    pixels: NDArray[np.uint8]
    """(H, W, 3), blue green red."""


def read_photos(paths: Sequence[Path]) -> tuple[Photo, ...]:
    """Read pictures; raise :class:`PhotoError` naming the first that cannot be."""
    photos = []
    for path in paths:
        try:
            photos.append(Photo(path.name, detect.read_image(path)))
        except detect.DetectError as error:
            raise PhotoError(str(error)) from error
    return tuple(photos)


def photo_input(photo: Photo, recipe: Recipe, specification: detect.Specification) -> ProofInput:
    """Return a photo as the network's input at the recipe's size."""
    size = recipe.input.height, recipe.input.width
    tensor, _ = detect.letterbox(photo.pixels, specification, *size)
    return ProofInput(f"photo {photo.name}", (torch.from_numpy(tensor),))


def takes_photos(example: Sequence[Tensor]) -> bool:
    """Tell whether a network's only input is an image of three channels."""
    return len(example) == 1 and example[0].ndim == 4 and tuple(example[0].shape[:2]) == (1, 3)


def board_view(recipe: Recipe) -> detect.Specification:
    """Return how the board feeds and reads the recipe's network, at the recipe's own size.

    Of a network without anchors only what feeds it means something.
    """
    shape, decode = recipe.input, recipe.decode
    anchors = recipe.anchors or AnchorSection((1.0,), (1,), 1.0)
    return detect.Specification(
        schema=detect.SCHEMA,
        model=recipe.model.name,
        trained=True,
        input_name="image",
        layout="NCHW",
        height=shape.height,
        width=shape.width,
        color_order=shape.color_order,
        mean=shape.means,
        scale=shape.scale,
        std=shape.stds,
        fit=shape.fit,
        outputs=("loc", "logits"),
        anchor_sizes=anchors.sizes,
        anchor_strides=anchors.strides,
        aspect_ratio=anchors.aspect_ratio,
        variances=decode.variances,
        score_threshold=decode.score_threshold,
        nms_iou=decode.nms_iou,
        max_detections=decode.max_detections,
        support=decode.board_support,
    )


def file_view(recipe: Recipe) -> detect.Specification:
    """Return how the board feeds and reads the recipe's finished ONNX file, by its I/O spec."""
    kind = recipe.decode.postprocess
    view = dataclasses.replace(board_view(recipe), postprocess=kind, outputs=OUTPUTS[kind])
    if recipe.input.dtype == "float32":
        return view
    return dataclasses.replace(
        view,
        dtype="uint8",
        layout="NHWC",
        color_order="BGR",
        mean=tuple(float(value) for value in border_colour(recipe.input)),
        scale=1.0,
        std=(1.0, 1.0, 1.0),
    )


def as_pixels(image: NDArray[np.float32], recipe: Recipe) -> NDArray[np.uint8]:
    """Return the pixels uint8 (1, 3, H, W), blue first, that are nearest to an input's floats."""
    mean, std = _columns(recipe.input.means), _columns(recipe.input.stds)
    exact = (image * std + mean) / np.float32(recipe.input.scale)
    pixels = np.clip(np.rint(exact), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels[:, ::-1] if recipe.input.color_order == "RGB" else pixels)


def as_fed(image: NDArray[np.float32], recipe: Recipe) -> NDArray[np.float32] | NDArray[np.uint8]:
    """Return an input (1, 3, H, W) as finished files take it: as it is, or as pixels."""
    return (
        as_pixels(image, recipe) if recipe.input.dtype == "uint8" else np.ascontiguousarray(image)
    )


def as_floats(pixels: NDArray[np.uint8], recipe: Recipe) -> NDArray[np.float32]:
    """Return pixels (1, 3, H, W), blue first, as the network's input."""
    ordered = pixels[:, ::-1] if recipe.input.color_order == "RGB" else pixels
    factors, offsets = detect.affine(board_view(recipe))
    return np.ascontiguousarray(ordered * _columns(factors) - _columns(offsets))


def floats_for(
    image: NDArray[np.float32] | NDArray[np.uint8], recipe: Recipe
) -> NDArray[np.float32]:
    """Return an input of a finished file, floats or pixels, as the network itself takes it."""
    if image.dtype == np.uint8:
        return as_floats(cast("NDArray[np.uint8]", image), recipe)
    return cast("NDArray[np.float32]", image)


def _columns(values: Iterable[float]) -> NDArray[np.float32]:
    """Return an entry per channel as float32 (1, C, 1, 1)."""
    return np.array(list(values), np.float32).reshape(1, -1, 1, 1)


def find_faces(photo: Photo, run: Runner, recipe: Recipe) -> tuple[detect.Floats, detect.Floats]:
    """Find faces on a photo at the recipe's size: boxes (K, 4) and scores (K,), best first."""
    return _find(photo, run, recipe, board_view(recipe))


def smooth_input(example: Tensor, seed: int, given: tuple[float, float]) -> ProofInput:
    """Return smooth random shapes: nearer to a photo than noise is, and there without any file.

    ``given`` is the lowest and the highest value that the network is given.
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = example.shape[2:]
    middle, half = (given[1] + given[0]) / 2, (given[1] - given[0]) / 2
    coarse = torch.randn(1, example.shape[1], 6, 8, generator=generator) * (0.625 * half)
    image = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")
    image = image.clamp(-half, half) + middle
    return ProofInput(f"smooth shapes 1x{height}x{width}", (image,))


def compare_on_photo(
    photo: Photo,
    before: Runner,
    after: Runner,
    recipe: Recipe,
    specification: detect.Specification,
) -> PhotoComparison:
    """Find faces with both sides and draw them."""
    found = [_find(photo, side, recipe, specification) for side in (before, after)]
    return PhotoComparison(
        name=photo.name,
        before=_record(*found[0]),
        after=_record(*found[1]),
        max_box_diff_px=_largest_shift(found[0][0], found[1][0]),
        before_png=_drawn(photo, *found[0]),
        after_png=_drawn(photo, *found[1]),
    )


def _find(
    photo: Photo, run: Runner, recipe: Recipe, specification: detect.Specification
) -> tuple[detect.Floats, detect.Floats]:
    height, width = recipe.input.height, recipe.input.width
    tensor, placement = detect.letterbox(photo.pixels, specification, height, width)
    loc, logits = run(torch.from_numpy(tensor))
    return detect.decode(loc[0], logits[0], specification, height, width, placement)


def _record(boxes: detect.Floats, scores: detect.Floats) -> Detections:
    return Detections(
        boxes=tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in boxes),
        scores=tuple(float(score) for score in scores),
    )


def _largest_shift(before: detect.Floats, after: detect.Floats) -> float | None:
    """Return the largest difference of a coordinate in pixels; None if the counts differ."""
    if before.shape != after.shape:
        return None
    return float(np.abs(before - after).max(initial=0.0))


def _drawn(photo: Photo, boxes: detect.Floats, scores: detect.Floats, longest: int = 1024) -> bytes:
    picture: cv2.typing.MatLike = detect.draw(photo.pixels, boxes, scores)
    scale = min(1.0, longest / max(picture.shape[:2]))
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".png", picture)[1])
