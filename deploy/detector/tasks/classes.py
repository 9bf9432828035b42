"""The likeliest classes of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ..arrays import Array, Doubles, Image, Rows
from .found import Found
from .outputs import Given, activated, demand_labels, demand_numbers, unfit


@dataclass(frozen=True)
class Classes(Found):
    """The likeliest classes, best first."""

    classes: Rows
    """(K,)."""
    scores: Doubles
    """(K,): as the network gives them, or probabilities if the file says softmax or sigmoid."""
    names: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """Return ``classes``: each with ``label``, ``class`` and ``score``."""
        return {
            "classes": [
                {"label": name, "class": int(index), "score": round(float(score), 4)}
                for name, index, score in zip(self.names, self.classes, self.scores, strict=True)
            ]
        }

    def words(self) -> str:
        """Return ``cat 0.91, dog 0.05``."""
        return ", ".join(
            f"{name} {score:.2f}" for name, score in zip(self.names, self.scores, strict=True)
        )

    def drawn(self, image_bgr: Image) -> Image:
        """Return the picture with the classes written at its top left."""
        drawn = np.ascontiguousarray(image_bgr).copy()
        line = max(1, round(max(drawn.shape) / 500))
        for row, (name, score) in enumerate(zip(self.names, self.scores, strict=True)):
            place = (6 * line, 16 * line * (row + 1))
            for shade, width in (((0, 0, 0), 3 * line), ((255, 255, 255), line)):
                font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.45 * line
                text = f"{score:.2f} {name}"
                cv2.putText(drawn, text, place, font, size, shade, width, cv2.LINE_AA)
        return drawn

    def arrays(self) -> dict[str, Array]:
        """Return ``classes`` and ``scores``."""
        return {"classes": self.classes, "scores": self.scores.astype(np.float32)}


def read_classes(given: Given, threshold: float | None) -> Classes:
    """Return the likeliest classes, at most ``task.top``, those above a threshold if one is asked.

    Raises :class:`DetectError` where the output is no row of scores.
    """
    which, arrays = given.specification, given.arrays
    if len(arrays) != 1 or arrays[0].size != max(arrays[0].shape) or arrays[0].size < 2:
        raise unfit(given, "one output (1, classes)")
    demand_numbers(given)
    row = arrays[0].reshape(-1)
    demand_labels(given, len(row), "classes")
    scores = activated(row, which.activation or "none")
    best = np.argsort(-scores, kind="stable")
    best = best[np.isfinite(scores[best])][: which.top]  # what is masked out is at -infinity
    if threshold is not None:
        best = best[scores[best] >= threshold]
    return Classes(best, scores[best], tuple(which.label(int(index)) for index in best))
