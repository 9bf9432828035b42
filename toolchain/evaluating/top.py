"""Top-1 and top-5 over a folder of folders, one for each class.

    DATA/cat/any name.jpg
    DATA/dog/...

Classes are the folders' names: those of ``task.labels`` where the recipe has them, else in the
order of the alphabet, as torchvision's ImageFolder numbers them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import DataError, InputError
from toolchain.evaluating.model import Model
from toolchain.evaluating.reading import given
from toolchain.evaluating.samples import BuiltIn, Sample, pictures_in
from toolchain.recipe import Recipe

FIVE = 5


def read(data: Path, recipe: Recipe) -> tuple[Sample, ...]:
    """Return every picture with the number of its class."""
    folders = sorted(
        path.name for path in data.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    if not folders:
        raise DataError(f"{data}: has no folders; evaluate.function 'top' wants one for each class")
    classes = list(recipe.task.labels or folders)
    numbers = {name: index for index, name in enumerate(classes)}
    unknown = [name for name in folders if name not in numbers]
    if unknown:
        raise DataError(
            f"{data}: the folder {unknown[0]!r} is no class of task.labels "
            f"({', '.join(classes[:8])}{', ...' if len(classes) > 8 else ''})"
        )
    twice = [name for name in folders if classes.count(name) > 1]
    if twice:
        raise DataError(
            f"{data}: task.labels has {twice[0]!r} twice, so the folder of that name may be either "
            f"class; give each class that has a folder a name of its own"
        )
    samples = tuple(
        Sample(path.relative_to(data).as_posix(), path, [numbers[name], len(classes)])
        for name in folders
        for path in pictures_in(data / name)
    )
    if not samples:
        raise DataError(f"{data}: its folders hold no pictures")
    return samples


def look(model: Model, pixels: NDArray[np.uint8], sample: Sample) -> list[int]:
    """Return how many classes score above the right one, and how many there are."""
    scores = _scores(model, pixels, sample)
    right, classes = sample.truth
    if len(scores) != classes:
        raise InputError(
            f"{model.name} gives {len(scores)} scores, and there are {classes} classes; name all "
            f"of them, in their order, by task.labels in the recipe"
        )
    order = np.argsort(-scores, kind="stable")
    return [int(np.flatnonzero(order == right)[0]), classes]


def _scores(model: Model, pixels: NDArray[np.uint8], sample: Sample) -> NDArray[Any]:
    outputs = given(model, pixels, "classes").arrays
    if len(outputs) != 1 or outputs[0].size != max(outputs[0].shape, default=0):
        shapes = ", ".join(str(each.shape) for each in outputs)
        raise InputError(
            f"{model.name}: evaluate.function 'top' wants one output (1, classes), or "
            f"task.outputs to name it (got {shapes})"
        )
    scores = outputs[0].reshape(-1)
    if np.isnan(scores).any():
        raise InputError(f"{model.name} on {sample.name}: its output is NaN; look at the weights")
    return scores


def add_up(samples: Sequence[Sample], found: Sequence[Any]) -> dict[str, float]:
    """Return the shares of pictures whose class is first, and among the first five."""
    ranks = [each[0] if each is not None else None for each in found]
    tops = {"top1": 1} | ({"top5": FIVE} if samples[0].truth[1] > FIVE else {})
    return {
        name: sum(rank is not None and rank < most for rank in ranks) / len(ranks)
        for name, most in tops.items()
    }


TOP = BuiltIn(read, look, add_up)
