"""What balancing the levels of a detector found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolchain.records.accuracy import BrokenPhoto, Sample

Precisions = Mapping[str, float]
"""Average precision by kind of faces, and by size where there are several, from 0 to 1."""


@dataclass(frozen=True)
class Half:
    """What shifts that one half of the photos chose find on the other half."""

    before: Precisions
    after: Precisions


@dataclass(frozen=True)
class Balance:
    """Shifts of the levels' scores, and what they find."""

    model: str
    weights: str
    """SHA-256 of the weights before, as they were read."""
    file: str
    """Their file's name."""
    strides: tuple[int, ...]
    """Of the levels, in pixels, fine to coarse."""
    shifts: tuple[float, ...]
    """What was added to the log-odds of each level's scores."""
    sizes: tuple[str, ...]
    """Of the input, at which photos were looked at: ``480x640``, or ``own``, the photo's own."""
    counts: Mapping[str, float]
    """How much kinds of faces counted in the mean; 1 where they are not named."""
    sample: Sample
    """The photos that chose them."""
    before: Precisions
    after: Precisions
    """On the photos that chose them."""
    halves: tuple[Half, ...]
    """On photos that did not."""
    shown: int
    """Faces at the recipe's threshold, before and after."""
    threshold: float
    broken: tuple[BrokenPhoto, ...]
    gained: float
    """The mean of what shifts gained on photos that did not choose them."""
    looked: int
    """Shifts that were looked at."""
    seconds: float
    """Of the search, without the looks at photos."""
    command: str
