"""Kinds of numbers that recipes have, each with its range."""

from __future__ import annotations

from typing import Annotated

from toolchain.recipe.checking import Range

Pixels = Annotated[int, Range(1, 8192)]
PHOTO = Range(16, 8192)
"""Sides of photos, in pixels: a network of one's own that finds no boxes may take less."""

Finite = Annotated[float, Range(-1e6, 1e6)]
Share = Annotated[float, Range(0, 1)]
Positive = Annotated[float, Range(0, 1e6, low_open=True)]
Factor = Annotated[float, Range(1e-6, 1e6)]
