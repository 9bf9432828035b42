"""Boxes of one class or many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ..arrays import Array, Doubles, Floats, Image, Rows
from ..decoding import in_picture, kept_rows
from ..errors import DetectError
from ..merging import evidence_of_scores, merged, probability
from ..preparing import Placement
from .colours import colour
from .found import Found
from .layouts import LAYOUTS
from .layouts.candidates import Candidates
from .outputs import Given, demand_numbers
from .own import Decoder, candidates_of
from .specification import TaskSpecification


@dataclass(frozen=True)
class Boxes(Found):
    """Boxes in pixels of the picture, best first."""

    boxes: Floats
    """(K, 4): left, top, right, bottom."""
    scores: Floats
    """(K,)."""
    classes: Rows
    """(K,)."""
    names: tuple[str, ...]
    """Of each box."""
    points: Floats | None = None
    """(K, P, 2), of layouts that have some."""

    is_counted = True

    def facts(self) -> dict[str, Any]:
        """Return ``boxes``: each with ``box``, ``score``, ``label``, and ``points`` if any."""
        entries = []
        for row, (box, score) in enumerate(
            zip(self.boxes.tolist(), self.scores.tolist(), strict=True)
        ):
            entry: dict[str, Any] = {
                "box": [round(edge, 2) for edge in box],
                "score": round(score, 4),
                "label": self.names[row],
                "class": int(self.classes[row]),
            }
            if self.points is not None:
                entry["points"] = np.round(self.points[row].astype(np.float64), 2).tolist()
            entries.append(entry)
        return {"boxes": entries}

    def words(self) -> str:
        """Return how many of each name: ``2 cat, 1 dog (best 0.91)``."""
        if not self.names:
            return "0 boxes"
        counts = [f"{self.names.count(name)} {name}" for name in dict.fromkeys(self.names)]
        return f"{', '.join(counts)} (best {self.scores[0]:.2f})"

    def drawn(self, image_bgr: Image) -> Image:
        """Return the picture with boxes and names drawn in."""
        drawn = np.ascontiguousarray(image_bgr).copy()
        line = max(1, round(max(drawn.shape) / 500))
        for row, box in enumerate(self.boxes.tolist()):
            left, top, right, bottom = map(round, box)
            shade = colour(int(self.classes[row]))
            cv2.rectangle(drawn, (left, top), (right, bottom), shade, line)
            text = f"{self.names[row]} {self.scores[row]:.2f}"
            _write(drawn, text, (left, max(10 * line, top - 2 * line)), line, shade)
            for place in [] if self.points is None else places_in(self.points[row], drawn):
                cv2.circle(drawn, place, 2 * line, shade, -1)
        return drawn

    def arrays(self) -> dict[str, Array]:
        """Return ``boxes``, ``scores``, ``classes``, and ``points`` if there are any."""
        found: dict[str, Array] = {
            "boxes": self.boxes,
            "scores": self.scores,
            "classes": self.classes,
        }
        return found if self.points is None else {**found, "points": self.points}

    def above(self, threshold: float) -> Boxes:
        """Return the boxes with that score, as it is told."""
        kept = np.flatnonzero(np.round(self.scores.astype(np.float64), 4) >= threshold)
        return Boxes(
            self.boxes[kept],
            self.scores[kept],
            self.classes[kept],
            tuple(self.names[row] for row in kept),
            None if self.points is None else self.points[kept],
        )

    @property
    def count(self) -> int:
        """How many boxes."""
        return len(self.scores)


def _write(
    image: Image, text: str, corner: tuple[int, int], line: int, shade: tuple[int, int, int]
) -> None:
    """Write a text at its lower left corner, dark around it so that it is seen on all colours."""
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.4 * line
    for colours, thickness in (((0, 0, 0), 3 * line), (shade, line)):
        cv2.putText(image, text, corner, font, size, colours, thickness, cv2.LINE_AA)


def read_boxes(given: Given, threshold: float | None, decoder: Decoder | None = None) -> Boxes:
    """Return the boxes that pass the threshold and suppression, of each class by itself.

    Raises :class:`DetectError` where the layout does not fit, or a value is NaN.
    """
    which = given.specification
    demand_numbers(given)
    found = candidates_of(decoder, given) if decoder else _by_layout(given)
    seen = _passing(found, which.score_threshold if threshold is None else threshold)
    seen = _suppressed(seen, which)
    shown = in_picture(seen.boxes, given.placement)
    inside = np.flatnonzero((shown[:, 2] > shown[:, 0]) & (shown[:, 3] > shown[:, 1]))
    seen = seen.of(inside)
    return Boxes(
        shown[inside],
        seen.scores.astype(np.float32),
        seen.classes,
        tuple(which.label(int(index)) for index in seen.classes),
        None if seen.points is None else points_in_picture(seen.points, given.placement),
    )


@dataclass(frozen=True)
class _Seen:
    """Decoded candidates, in pixels of the input."""

    boxes: Doubles
    """(K, 4)."""
    scores: Doubles
    """(K,)."""
    classes: Rows
    """(K,)."""
    points: Doubles | None
    """(K, P, 2)."""

    def of(self, rows: Rows) -> _Seen:
        points = None if self.points is None else self.points[rows]
        return _Seen(self.boxes[rows], self.scores[rows], self.classes[rows], points)


def _passing(found: Candidates, threshold: float) -> _Seen:
    """Return the candidates that pass the threshold and are finite."""
    passing = np.flatnonzero((found.scores >= threshold) & np.isfinite(found.scores))
    boxes, points = found.locate(passing)
    whole = np.isfinite(boxes).all(axis=1)
    if points is not None:
        whole &= np.isfinite(points).all(axis=(1, 2))
    seen = _Seen(boxes, found.scores[passing], found.classes[passing], points)
    return seen.of(np.flatnonzero(whole))


def _by_layout(given: Given) -> Candidates:
    which = given.specification
    if which.decoder:
        raise DetectError(
            f"its boxes are found by {which.decoder}, code of your own, which runs only if you "
            f"name it: give --decoder {which.decoder}"
        )
    layout = LAYOUTS.get(which.layout)
    if layout is None:
        raise DetectError(
            f"task.layout of boxes must be one of {', '.join(LAYOUTS)} (got {which.layout!r}), or "
            f"give --decoder file.py:function of your own"
        )
    return layout.decode(given, which.activation or layout.activation)


def _suppressed(seen: _Seen, which: TaskSpecification) -> _Seen:
    """Return what is left, best first; boxes of different classes do not meet."""
    if not len(seen.boxes):
        return seen
    apart = 1.0 + float(seen.boxes.max() - min(seen.boxes.min(), 0.0))
    shifted = seen.boxes + apart * seen.classes[:, None]
    kept = kept_rows(shifted, seen.scores, which.nms_iou)[: which.max_detections]
    if which.support is None:
        return seen.of(kept)
    return _merged(seen, shifted, kept, which.nms_iou, which.support)


def _merged(seen: _Seen, shifted: Doubles, kept: Rows, nms_iou: float, support: float) -> _Seen:
    """Return the boxes in some rows as the mean of those that they stand for, best first."""
    values, evidence = seen.boxes, evidence_of_scores(seen.scores)
    if seen.points is not None:
        values = np.concatenate([values, seen.points.reshape(len(values), -1)], axis=1)
    rows, means, strength = merged(
        shifted, evidence, kept, values, nms_iou=nms_iou, support=support
    )
    points = None
    if seen.points is not None:
        points = means[:, 4:].reshape(len(rows), *seen.points.shape[1:])
    return _Seen(means[:, :4], probability(strength), seen.classes[rows], points)


def places_in(points: Floats, image: Image) -> list[tuple[int, int]]:
    """Return the pixels of points (P, 2) that lie in a picture."""
    height, width = image.shape[:2]
    return [(round(x), round(y)) for x, y in points.tolist() if 0 <= x < width and 0 <= y < height]


def points_in_picture(points: Doubles, placement: Placement) -> Floats:
    """Map points (..., 2) from the network's input back to the picture."""
    shift = np.array([placement.left, placement.top])
    scale = np.array([placement.scale_x, placement.scale_y])
    return np.asarray((points - shift) / scale, np.float32)
