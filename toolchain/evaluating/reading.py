"""What a model's outputs mean, read by the very code that reads them on the board."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.checking.boxes import task_view
from toolchain.checking.pictures import board_view
from toolchain.deploy import detect
from toolchain.deploy.detector.tasks.outputs import Given
from toolchain.errors import InputError
from toolchain.evaluating.model import Model


def given(model: Model, pixels: NDArray[np.uint8], kind: str, **changes: Any) -> Given:
    """Run a picture (H, W, 3), and return what the network gave, with what it means.

    ``kind`` is the task that is read, whatever the recipe says; ``changes`` are fields of its
    :class:`TaskSpecification`. Raises :class:`InputError` for what is no picture.
    """
    size = model.recipe.input.height, model.recipe.input.width
    try:
        tensor, placement = detect.letterbox(pixels, board_view(model.recipe), *size)
        found = model.run(tensor)
        names = model.outputs or tuple(f"output {index}" for index in range(len(found)))
        which = task_view(model.recipe, names, kind)
    except detect.DetectError as error:
        raise InputError(f"{model.name}: {error}") from error
    if len(names) != len(found):
        raise InputError(f"{model.name}: gives {len(found)} outputs, and names {len(names)}")
    which = dataclasses.replace(which, **changes)
    return Given(dict(zip(names, found, strict=True)), which, size, placement)
