"""What the teacher finds on photos: crops show it, large ones too, though nobody labelled it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import nn

from toolchain.checking.boxes import find_boxes, reads_boxes
from toolchain.checking.parity import run_network
from toolchain.checking.pictures import Photo, find_faces
from toolchain.recipe import Recipe
from toolchain.train.crops import Faces, Image

Find = Callable[[Image], Faces]
"""A photo (H, W, 3), blue first -> boxes (K, 4): left, top, right, bottom in its pixels."""


def has_boxes(recipe: Recipe) -> bool:
    """Tell whether the recipe says how outputs become boxes."""
    return recipe.anchors is not None or reads_boxes(recipe)


def finder(network: nn.Module, recipe: Recipe, outputs: Sequence[str]) -> Find | None:
    """Return what finds boxes by ``network``, on the CPU, on a photo fitted to the recipe's size.

    None where the recipe does not say how outputs, called so, become boxes.
    """
    if not has_boxes(recipe):
        return None
    run = run_network(network)

    def find(image: Image) -> Faces:
        photo = Photo("", np.asarray(image))
        if recipe.anchors is not None:
            return np.asarray(find_faces(photo, run, recipe)[0], np.float32)
        return np.asarray(find_boxes(photo, run, recipe, outputs).boxes, np.float32)

    return find
