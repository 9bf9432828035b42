"""A colour for each class, the same on every machine."""

from __future__ import annotations

import colorsys

GOLDEN = 0.61803398875
"""Steps round the colour circle by this share never come near each other."""


def colour(index: int) -> tuple[int, int, int]:
    """Return the colour of a class as blue, green, red; that of the first is green."""
    red, green, blue = colorsys.hsv_to_rgb((1 / 3 + index * GOLDEN) % 1, 1.0, 1.0)
    return round(255 * blue), round(255 * green), round(255 * red)
