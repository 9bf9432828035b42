"""From maps, one a level, to a network's outputs.

A detector's last layers give four offsets, scores of the background and the score of a face. What
else the network does is order: rows of all levels, one after the other, and the largest of some
scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .arrays import Floats
from .ncnn_facts import Column, Level


def joined(maps: Sequence[Floats], levels: Sequence[Level]) -> tuple[Floats, Floats]:
    """Return ``loc`` (1, P, 4) and ``logits`` (1, P, 2) of maps (C, rows, columns), one a level."""
    cells = [each.shape[1] * each.shape[2] for each in maps]
    loc, logits = np.empty((1, sum(cells), 4), np.float32), np.empty((1, sum(cells), 2), np.float32)
    start = 0
    for each, level, count in zip(maps, levels, cells, strict=True):
        flat, end = each.reshape(len(each), -1), start + count
        loc[0, start:end] = channels_of(flat, level.boxes).T
        logits[0, start:end, 0] = channels_of(flat, level.background).max(axis=0)
        logits[0, start:end, 1] = flat[level.face]
        start = end
    return loc, logits


def columns_of(maps: Sequence[Floats], columns: Sequence[Column]) -> list[Floats]:
    """Return outputs (1, cells, numbers) of maps (C, rows, columns); others' are views of them."""
    flats = [each.reshape(len(each), -1) for each in maps]
    for place, flat in enumerate(flats):
        scored = {c for each in columns if each.map == place and each.scored for c in each.channels}
        if scored:
            which = tuple(sorted(scored))
            flat[list(which)] = sigmoid(channels_of(flat, which))
    return [channels_of(flats[each.map], each.channels).T[None] for each in columns]


def sigmoid(values: Floats) -> Floats:
    """Return 1 / (1 + exp(-x)), to a step of float32 at 1."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-values)), np.float32)


def channels_of(flat: Floats, which: tuple[int, ...]) -> Floats:
    """Return some channels of (C, cells), without a copy where they lie side by side."""
    if which == tuple(range(which[0], which[0] + len(which))):
        return flat[which[0] : which[0] + len(which)]
    return flat[list(which)]
