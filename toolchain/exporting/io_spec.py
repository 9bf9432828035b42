"""The I/O spec of a file: what it takes and gives, where that is not what the network does.

Pixels as a camera has them instead of floats, boxes or faces instead of raw outputs. It is put
on a finished file, so that what is quantised is the network alone, and all around it stays in
float. The numbers are the recipe's.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import InputError
from toolchain.exporting.metadata import KEY
from toolchain.recipe import InputSection, Recipe

SCHEMA = 2
"""Of the metadata of files that have one: programs that know 1 alone refuse them. Those that
take pixels scale them themselves, and are read by programs that know nothing of scales."""
OUTPUTS = {
    "none": ("loc", "logits"),
    "decode": ("boxes", "probabilities"),
    "nms": ("boxes", "scores"),
}


def has_io_spec(recipe: Recipe) -> bool:
    """Tell whether files get an I/O spec of their own."""
    return recipe != without_io_spec(recipe)


def without_io_spec(recipe: Recipe) -> Recipe:
    """Return the recipe of the bare files."""
    return dataclasses.replace(
        recipe,
        input=dataclasses.replace(recipe.input, dtype="float32"),
        decode=recipe.decode.bare,
    )


def check_io_spec(recipe: Recipe, *, dynamic: bool) -> None:
    """Raise :class:`InputError` if the I/O spec that the recipe asks for cannot be had."""
    if not has_io_spec(recipe):
        return
    asked = "--input uint8" if recipe.input.dtype == "uint8" else "--postprocess"
    if recipe.anchors is None:
        raise InputError(
            f"{asked} is for face detectors; the recipe of {recipe.model.name} has no [anchors]"
        )
    if dynamic:
        raise InputError(f"{asked} needs files of one size; leave out --dynamic")
    if recipe.input.dtype == "uint8" and recipe.input.channels != 3:
        raise InputError(
            f"--input uint8 is for pictures of three channels, and input.color_order is "
            f"{recipe.input.color_order}; leave it out"
        )


WHOLE = 2**-16
"""Of a pixel: float32 resolves pixels up to 255 as finely."""


def blue_first(values: Iterable[float], shape: InputSection) -> NDArray[np.float64]:
    """Return an entry per colour, given in the recipe's order, blue first."""
    array = np.array(list(values))
    return array[::-1] if shape.color_order == "RGB" else array


def border_colour(shape: InputSection) -> NDArray[np.uint8]:
    """Return the pixel that is nearest to what the network sees as zero, blue first: uint8 (3,)."""
    means = blue_first(shape.means, shape).astype(np.float32)  # as inputs become pixels
    zero = means / np.float32(shape.scale)
    return np.asarray(np.clip(np.rint(zero), 0, 255), np.uint8)


def border_is_exact(shape: InputSection) -> bool:
    """Tell whether there is a pixel that the network sees as zero."""
    zero = blue_first(shape.means, shape) / shape.scale
    return bool(np.abs(zero - border_colour(shape)).max() <= WHOLE)


def metadata_with_io(bare: Mapping[str, str], recipe: Recipe) -> dict[str, str]:
    """Return the metadata of a file, given those of the bare one."""
    detector = json.loads(bare[KEY])
    takes_pixels = recipe.input.dtype == "uint8"
    detector |= {
        "schema": SCHEMA if takes_pixels else max(SCHEMA, detector["schema"]),
        "postprocess": recipe.decode.postprocess,
        "outputs": OUTPUTS[recipe.decode.postprocess],
    }
    detector["input"] |= {"dtype": recipe.input.dtype}
    if takes_pixels:
        colour = [float(value) for value in border_colour(recipe.input)]
        detector["input"] |= {"layout": "NHWC", "color_order": "BGR", "mean": colour}
        for field in ("scale", "std"):
            detector["input"].pop(field, None)
    return {**bare, KEY: json.dumps(detector, sort_keys=True)}
