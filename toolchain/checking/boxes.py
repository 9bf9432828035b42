"""Boxes that a network of one's own finds on photos, read as the board reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import torch

from toolchain.checking.parity import Runner
from toolchain.checking.pictures import Photo, board_view
from toolchain.deploy import detect
from toolchain.deploy.detector.tasks.boxes import Boxes, read_boxes
from toolchain.deploy.detector.tasks.outputs import Given
from toolchain.deploy.detector.tasks.specification import TaskSpecification
from toolchain.exporting import task_metadata
from toolchain.exporting.task_metadata import Ends, task_entry
from toolchain.recipe import Recipe


def reads_boxes(recipe: Recipe) -> bool:
    """Tell whether the recipe says how boxes lie in the outputs, without code of a user's own."""
    return recipe.task_kind == "boxes" and recipe.task.decoder is None


def task_view(recipe: Recipe, outputs: Sequence[str], kind: str | None = None) -> TaskSpecification:
    """Return what a file of the recipe, which is given one picture, would say of itself.

    ``kind`` is the task that is read, whatever the recipe says.
    """
    size = recipe.input.height, recipe.input.width
    ends = Ends((("image", (1, recipe.input.channels, *size), "float32"),), tuple(outputs))
    entry = task_entry(recipe, ends, dynamic=False, layout="NCHW")
    entry["task"]["kind"] = kind or entry["task"]["kind"]
    facts = {"schema": task_metadata.SCHEMA, "model": recipe.model.name, "trained": True}
    return TaskSpecification.from_json(json.dumps({**facts, **entry}))


def find_boxes(photo: Photo, run: Runner, recipe: Recipe, outputs: Sequence[str]) -> Boxes:
    """Return the boxes on a photo at the recipe's size, above its threshold.

    Raises :class:`DetectError` where the outputs are not what the task says.
    """
    size = recipe.input.height, recipe.input.width
    tensor, placement = detect.letterbox(photo.pixels, board_view(recipe), *size)
    found = dict(zip(outputs, run(torch.from_numpy(tensor)), strict=True))
    given = {name: np.asarray(array) for name, array in found.items()}
    return read_boxes(Given(given, task_view(recipe, outputs), size, placement), None)
