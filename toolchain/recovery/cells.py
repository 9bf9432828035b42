"""Cells of a detector, weighed by what the teacher sees in them.

A detector gives a box and points for every cell, and means them in the few where it gives a score,
too. Elsewhere they are noise, of which there is a hundred times as much.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toolchain.recovery.outputs import DISTRIBUTIONS, Output, probabilities_of
from toolchain.train.ranks import mean_of_all

LEAST = 0.01
"""What a cell counts beside one of a sure score: a detection moves in from its neighbours."""


def cell_weights(outputs: Sequence[Output], theirs: Sequence[Tensor]) -> list[Tensor | None]:
    """Return for each output what its cells count, 1 on average over all processes; None where all
    count alike.

    ``theirs`` are the teacher's. Scores of each cell are outputs that a sigmoid gave or follows;
    they are of the cells of another output where all dimensions but that of channels are the same.
    Of several scores of a cell their geometric mean counts.
    """
    scores: dict[tuple[int, ...], list[Tensor]] = {}
    for output, tensor in zip(outputs, theirs, strict=True):
        if output.kind in ("scores", "binary") and tensor.ndim > 2:
            likely = probabilities_of(output.kind, output.dim, tensor.float())
            highest = likely.amax(dim=output.dim, keepdim=True)
            scores.setdefault(tuple(highest.shape), []).append(highest)
    return [
        None if output.kind in DISTRIBUTIONS else _weight(scores.get(_cells(output, tensor), ()))
        for output, tensor in zip(outputs, theirs, strict=True)
    ]


def _cells(output: Output, tensor: Tensor) -> tuple[int, ...]:
    return tuple(1 if dim == output.dim else side for dim, side in enumerate(tensor.shape))


def _weight(scores: Sequence[Tensor]) -> Tensor | None:
    if not scores:
        return None
    mean = torch.stack([each.clamp(min=1e-12).log() for each in scores]).mean(dim=0).exp()
    weight = mean + LEAST
    return weight / mean_of_all(weight.mean())
