"""A task's part of a bundle's self-test: what is kept of what was found, and how it may differ.

The measure is the task's own: boxes by their places, classes by which is the likeliest, points by
their places, masks by the share of pixels, arrays by their values alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from .found import Found
from .mask import Mask
from .specification import TaskSpecification

GRID = 32
"""Rows and columns of a mask that are kept."""
Kept = dict[str, Any]


def judged(specification: TaskSpecification) -> TaskSpecification:
    """Return what the self-test reads: outputs alone, where a decoder of the user's is needed."""
    if specification.decoder is None:
        return specification
    return dataclasses.replace(specification, kind="raw", read=specification.outputs)


def kept_of(found: Found) -> Kept:
    """Return what is kept of what was found."""
    if not isinstance(found, Mask):
        facts = found.facts()
        return {} if "outputs" in facts else facts
    rows, columns = (
        np.linspace(0, side - 1, min(GRID, side)).astype(int) for side in found.mask.shape
    )
    return {"mask": found.mask[rows][:, columns].tolist()}


def difference(found: Kept, expected: Kept, limits: dict[str, float]) -> str | None:
    """Return how the two differ by more than they may, on one line; None if they do not."""
    for name, compare in MEASURES.items():
        if name in expected:
            return compare(found.get(name, []), expected[name], limits)
    return None


def _boxes(here: list[Any], there: list[Any], limits: dict[str, float]) -> str | None:
    if len(here) != len(there):
        return f"{len(here)} boxes here, {len(there)} on the build machine"
    for each in there:
        shifts = [
            (float(np.abs(np.subtract(other["box"], each["box"])).max()), other)
            for other in here
            if other["class"] == each["class"]
        ]
        shift, nearest = min(shifts, key=lambda pair: pair[0], default=(float("inf"), each))
        if not shift <= limits["box_limit_px"]:
            return f"a box of {each['label']} is {shift:.2f} pixels from where it was"
        change = abs(nearest["score"] - each["score"])
        if not change <= limits["score_limit"]:
            return f"a score of {each['label']} differs by {change:.3f}"
    return None


def _classes(here: list[Any], there: list[Any], limits: dict[str, float]) -> str | None:
    first, wanted = here[0], there[0]
    if first["class"] == wanted["class"]:
        return None
    scores = {each["class"]: each["score"] for each in here}
    gap = first["score"] - scores.get(wanted["class"], -np.inf)
    span = max(1.0, *(abs(each["score"]) for each in there))
    if gap <= limits["score_limit"] * span:  # they are as likely as each other
        return None
    return f"the likeliest class is {first['label']}, and was {wanted['label']}"


def _points(here: list[Any], there: list[Any], limits: dict[str, float]) -> str | None:
    for ours, theirs in zip(here, there, strict=False):
        shift = max(abs(ours[axis] - theirs[axis]) for axis in "xy")
        if not shift <= limits["box_limit_px"]:
            return f"point {theirs['label']} is {shift:.2f} pixels from where it was"
    return None if len(here) == len(there) else "there are not as many points"


def _mask(here: list[Any], there: list[Any], limits: dict[str, float]) -> str | None:
    ours, theirs = np.array(here), np.array(there)
    share = float((ours != theirs).mean()) if ours.shape == theirs.shape else 1.0
    if share <= limits["mask_limit"]:
        return None
    return f"{100 * share:.1f} % of the mask's pixels are of another class"


MEASURES: dict[str, Callable[[list[Any], list[Any], dict[str, float]], str | None]] = {
    "boxes": _boxes,
    "classes": _classes,
    "points": _points,
    "mask": _mask,
}
