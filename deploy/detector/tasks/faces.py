"""Faces, as the toolchain's own detectors find them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Array, Floats, Image
from ..drawing import draw
from .found import Found


@dataclass(frozen=True)
class Faces(Found):
    """Faces in pixels of the picture, best first."""

    boxes: Floats
    """(K, 4): left, top, right, bottom."""
    scores: Floats
    """(K,)."""

    is_counted = True

    def facts(self) -> dict[str, Any]:
        """Return ``faces``: each with ``box`` and ``score``."""
        return {
            "faces": [
                {"box": [round(edge, 2) for edge in box], "score": round(score, 4)}
                for box, score in zip(self.boxes.tolist(), self.scores.tolist(), strict=True)
            ]
        }

    def words(self) -> str:
        """Return ``2 faces (best 0.98)``."""
        faces = self.facts()["faces"]
        best = f" (best {faces[0]['score']:.2f})" if faces else ""
        return f"{len(faces)} face{'' if len(faces) == 1 else 's'}{best}"

    def drawn(self, image_bgr: Image) -> Image:
        """Return the picture with boxes and scores drawn in."""
        return draw(image_bgr, self.boxes, self.scores)

    def arrays(self) -> dict[str, Array]:
        """Return ``boxes`` and ``scores``."""
        return {"boxes": self.boxes, "scores": self.scores}

    def above(self, threshold: float) -> Faces:
        """Return the faces with that score, as it is told."""
        kept = np.round(self.scores.astype(np.float64), 4) >= threshold
        return Faces(self.boxes[kept], self.scores[kept])

    @property
    def count(self) -> int:
        """How many faces."""
        return len(self.scores)
