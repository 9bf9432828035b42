"""Points: corners of an eye, joints of a hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ..arrays import Array, Doubles, Floats, Image
from ..errors import DetectError
from .boxes import places_in, points_in_picture
from .colours import colour
from .found import Found
from .outputs import Given, activated, demand_labels, demand_numbers, unfit

LAYOUTS = ("pixels", "shares", "heatmaps")
"""Coordinates in pixels of the input, from 0 to 1 of its sides, or a map for each point."""
EXPECTED = {
    "pixels": "one output (1, 2 P), (1, P, 2), or (1, P, 3) with scores, in pixels of the input",
    "shares": "one output (1, 2 P), (1, P, 2), or (1, P, 3) with scores, from 0 to 1 of the input",
    "heatmaps": "one output (1, P, rows, columns)",
}


@dataclass(frozen=True)
class Points(Found):
    """Points in pixels of the picture, in the network's order."""

    points: Floats
    """(P, 2): x and y."""
    scores: Floats | None
    """(P,); None where the network gives none."""
    names: tuple[str, ...]
    threshold: float
    """Points with a lower score are not drawn."""

    @property
    def _seen(self) -> list[bool]:
        if self.scores is None:
            return [True] * len(self.points)
        return [score >= self.threshold for score in self.scores.tolist()]

    def facts(self) -> dict[str, Any]:
        """Return ``points``: each with ``label``, ``x``, ``y``, and ``score`` if there are any."""
        entries: list[dict[str, Any]] = [
            {"label": name, "x": round(x, 2), "y": round(y, 2)}
            for name, (x, y) in zip(self.names, self.points.tolist(), strict=True)
        ]
        if self.scores is not None:
            for entry, score in zip(entries, self.scores.tolist(), strict=True):
                entry["score"] = round(score, 4)
        return {"points": entries}

    def words(self) -> str:
        """Return how many points are seen."""
        count, seen = len(self.points), sum(self._seen)
        return f"{seen} of {count} points" if seen < count else f"{count} points"

    def drawn(self, image_bgr: Image) -> Image:
        """Return the picture with the points that are seen."""
        drawn = np.ascontiguousarray(image_bgr).copy()
        line = max(1, round(max(drawn.shape) / 500))
        for index, seen in enumerate(self._seen):
            for place in places_in(self.points[index : index + 1], drawn) if seen else ():
                cv2.circle(drawn, place, 3 * line, (0, 0, 0), -1, cv2.LINE_AA)
                cv2.circle(drawn, place, 2 * line, colour(index), -1, cv2.LINE_AA)
        return drawn

    def arrays(self) -> dict[str, Array]:
        """Return ``points``, and ``scores`` if there are any."""
        found: dict[str, Array] = {"points": self.points}
        return found if self.scores is None else {**found, "scores": self.scores}


def read_points(given: Given, threshold: float | None) -> Points:
    """Return all points; raise :class:`DetectError` where the output does not hold them."""
    which, layout = given.specification, given.specification.layout or LAYOUTS[0]
    if layout not in LAYOUTS or len(given.arrays) != 1:
        raise unfit(given, EXPECTED.get(layout, f"a layout of {', '.join(LAYOUTS)}"))
    demand_numbers(given)
    read = _from_maps if layout == "heatmaps" else _from_numbers
    points, scores = read(given, EXPECTED[layout])
    demand_labels(given, len(points), "points")
    if not np.isfinite(points).all():
        raise DetectError(
            f"a point is infinite ({given.shapes}); look at the input and the weights"
        )
    if layout == "shares":
        points = points * np.array(given.size[::-1], np.float64)
    chances = None if scores is None else activated(scores, which.activation or "none")
    return Points(
        points_in_picture(points, given.placement),
        None if chances is None else chances.astype(np.float32),
        tuple(which.label(index) for index in range(len(points))),
        which.score_threshold if threshold is None else threshold,
    )


def _from_numbers(given: Given, expected: str) -> tuple[Doubles, Array | None]:
    array = given.arrays[0].astype(np.float64)
    if array.ndim == 2 and array.shape[0] == 1 and array.shape[1] % 2 == 0 and array.size:
        return array.reshape(-1, 2), None
    if array.ndim != 3 or array.shape[0] != 1 or array.shape[2] not in (2, 3) or not array.size:
        raise unfit(given, expected)
    return array[0, :, :2], array[0, :, 2] if array.shape[2] == 3 else None


def _from_maps(given: Given, expected: str) -> tuple[Doubles, Array]:
    """Return the middle of the highest cell of each map, and its value."""
    maps = given.arrays[0]
    if maps.ndim != 4 or maps.shape[0] != 1 or not maps.size:
        raise unfit(given, expected)
    count, rows, columns = maps.shape[1:]
    flat = maps.reshape(count, -1)
    best = flat.argmax(axis=1)
    y, x = np.divmod(best, columns)
    height, width = given.size
    points = np.stack([(x + 0.5) * width / columns, (y + 0.5) * height / rows], axis=1)
    return points, flat[np.arange(count), best]
