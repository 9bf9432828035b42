"""What a task finds, whatever it is."""

from __future__ import annotations

from typing import Any

from ..arrays import Array, Image


class Found:
    """What was found on one input: as facts, as words, in the picture, as arrays."""

    is_counted = False
    """Whether it is things with scores, which the live page draws and counts by itself."""

    def facts(self) -> dict[str, Any]:
        """Return what the JSON line says of it."""
        raise NotImplementedError

    def words(self) -> str:
        """Return a few words for people."""
        raise NotImplementedError

    def drawn(self, image_bgr: Image) -> Image:
        """Return a copy of the picture uint8 (H, W, 3) that shows it."""
        raise NotImplementedError

    def arrays(self) -> dict[str, Array]:
        """Return it as arrays by name."""
        raise NotImplementedError

    def above(self, threshold: float) -> Found:
        """Return what of it has that score, as it is told; all of what is not counted."""
        del threshold
        return self

    @property
    def count(self) -> int:
        """How many were found, of what is counted."""
        return 0
