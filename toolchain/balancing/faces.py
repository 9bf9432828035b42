"""The kinds of faces over which average precision is balanced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from toolchain.data.wider import Split
from toolchain.errors import DataError

HEIGHTS = {"large": 50, "middle": 30, "small": 10}
"""Pixels from which a face counts, where no lists tell: about as easy, medium and hard are."""


def kinds_of_faces(split: Split) -> Mapping[str, Sequence[NDArray[np.bool_]]]:
    """Return by kind, and photo (G,), which faces count.

    The lists of val tell which are easy, medium and hard; those of train, which are valid: then
    kinds go by height. Raises :class:`DataError` where no face is known, or none of a kind.
    """
    if not split.levels:
        raise DataError(
            f"the split {split.name!r} has no faces to learn from; give --split train, or val"
        )
    if len(split.levels) > 1:
        kinds = {name: [truth.counted[name] for truth in split.truths] for name in split.levels}
    else:
        (valid,) = split.levels
        kinds = {
            name: [truth.counted[valid] & (truth.boxes[:, 3] >= least) for truth in split.truths]
            for name, least in HEIGHTS.items()
        }
    for name, masks in kinds.items():
        if not any(mask.any() for mask in masks):
            raise DataError(
                f"the {len(split.images)} photos of split {split.name!r} have no face that is "
                f"{name}; give more of them"
            )
    return kinds
