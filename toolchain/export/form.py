"""The form of a file: what it takes and gives, where that is not what the network does.

Pixels as a camera has them instead of floats, boxes or faces instead of raw outputs. A form is put
on a finished file, so that what is quantised is the network alone, and all around it stays in
float. The numbers are the recipe's.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from toolchain.errors import InputError
from toolchain.export.metadata import KEY
from toolchain.recipe import Recipe

SCHEMA = 2
"""Of the metadata of files that have a form: programs that know 1 alone refuse them."""
OUTPUTS = {
    "none": ("loc", "logits"),
    "decode": ("boxes", "probabilities"),
    "nms": ("boxes", "scores"),
}


def has_form(recipe: Recipe) -> bool:
    """Tell whether files get a form."""
    return recipe != without_form(recipe)


def without_form(recipe: Recipe) -> Recipe:
    """Return the recipe of the bare files."""
    return dataclasses.replace(
        recipe,
        input=dataclasses.replace(recipe.input, dtype="float32"),
        decode=dataclasses.replace(recipe.decode, postprocess="none"),
    )


def check_form(recipe: Recipe, *, dynamic: bool) -> None:
    """Raise :class:`InputError` if the form that the recipe asks for cannot be had."""
    if not has_form(recipe):
        return
    asked = "--input uint8" if recipe.input.dtype == "uint8" else "--postprocess"
    if recipe.anchors is None:
        raise InputError(
            f"{asked} is for face detectors; the recipe of {recipe.model.name} has no [anchors]"
        )
    if dynamic:
        raise InputError(f"{asked} needs files of one size; leave out --dynamic")
    if recipe.input.dtype == "uint8" and not all(mean in range(256) for mean in recipe.input.mean):
        raise InputError(
            "--input uint8: input.mean must be whole numbers from 0 to 255, for pixels beyond the "
            f"picture have that colour (got {list(recipe.input.mean)})"
        )


def bgr_mean(recipe: Recipe) -> list[float]:
    """Return the mean, blue first."""
    mean = list(recipe.input.mean)
    return mean[::-1] if recipe.input.color_order == "RGB" else mean


def formed_metadata(bare: Mapping[str, str], recipe: Recipe) -> dict[str, str]:
    """Return the metadata of a file, given those of the bare one."""
    detector = json.loads(bare[KEY])
    detector |= {
        "schema": SCHEMA,
        "postprocess": recipe.decode.postprocess,
        "outputs": OUTPUTS[recipe.decode.postprocess],
    }
    detector["input"] |= {"dtype": recipe.input.dtype}
    if recipe.input.dtype == "uint8":
        pixels = {"layout": "NHWC", "color_order": "BGR", "mean": bgr_mean(recipe)}
        detector["input"] |= pixels
    return {**bare, KEY: json.dumps(detector, sort_keys=True)}
