"""How far points lie from where they should: as a share of the picture's diagonal, and PCK.

    DATA/points.json         {"1.jpg": [[x, y], null, ...], ...}
    DATA/images/1.jpg        or DATA/1.jpg

x and y are pixels of the picture as it is stored, in the network's order; null where a point is not
to be seen. Photos that are not in the folder are left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.deploy import detect
from toolchain.deploy.detector.tasks.points import read_points
from toolchain.errors import DataError, InputError
from toolchain.evaluating.model import Model
from toolchain.evaluating.reading import given
from toolchain.evaluating.samples import BuiltIn, Sample, picture_named
from toolchain.recipe import Recipe

NEAR = 0.05
"""Share of the diagonal up to which a point counts as found."""
TRUTH = "points.json"


def read(data: Path, recipe: Recipe) -> tuple[Sample, ...]:  # noqa: ARG001
    """Return every photo with its points, as JSON has them; raise :class:`DataError`."""
    path = data / TRUTH
    try:
        table = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: cannot be read ({detect.one_line(error)}); evaluate.function 'points' wants "
            f'{{"1.jpg": [[x, y], null, ...], ...}} there'
        ) from error
    if not isinstance(table, dict) or not table:
        raise DataError(f'{path}: must be {{"1.jpg": [[x, y], null, ...], ...}}')
    samples = []
    for name, points in table.items():
        _check(path, name, points)
        picture = picture_named(path, name, data)
        if picture is not None:
            samples.append(Sample(picture.relative_to(data).as_posix(), picture, points))
    if not samples:
        raise DataError(f"{path}: none of its {len(table)} photos is in {data}")
    if not any(point for sample in samples for point in sample.truth):
        raise DataError(f"{path}: has no points of the photos that are here")
    return tuple(samples)


def _check(path: Path, name: str, points: Any) -> None:
    if not isinstance(points, list) or not all(map(_is_point, points)):
        raise DataError(
            f"{path}: {name!r} must have a list of [x, y], or null for what is not to be seen "
            f"(got {repr(points)[:60]})"
        )


def _is_point(value: Any) -> bool:
    if value is None:
        return True
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(each) in (int, float) and abs(each) < 1e6 for each in value)
    )


def look(model: Model, pixels: NDArray[np.uint8], sample: Sample) -> list[float | None]:
    """Return each point's distance as a share of the diagonal; None where there is no truth."""
    try:
        found = read_points(given(model, pixels, "points"), None).points
    except detect.DetectError as error:
        raise InputError(f"{model.name} on {sample.name}: {error}") from error
    if len(found) != len(sample.truth):
        raise InputError(
            f"{model.name} gives {len(found)} points, and {TRUTH} has {len(sample.truth)} for "
            f"{sample.name}; list all of them in the network's order, null where one is not seen"
        )
    diagonal = float(np.hypot(*pixels.shape[:2]))
    return [
        None if point is None else float(np.hypot(*np.subtract(place, point))) / diagonal
        for place, point in zip(found.tolist(), sample.truth, strict=True)
    ]


def add_up(samples: Sequence[Sample], found: Sequence[Any]) -> dict[str, float]:
    """Return the mean distance, of which less is better, and the share of points that are near."""
    for sample, each in zip(samples, found, strict=True):
        if each is None:
            raise DataError(f"{sample.picture}: cannot be read; remove it, and from {TRUTH} too")
    shares = [share for each in found for share in each if share is not None]
    if not shares:
        raise DataError("the photos that were looked at have no points")
    near = sum(share <= NEAR for share in shares)
    return {"distance": sum(shares) / len(shares), "pck": near / len(shares)}


POINTS = BuiltIn(read, look, add_up, upright=False)
