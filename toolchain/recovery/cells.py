"""Cells of a detector, weighed by what the teacher sees in them.

A detector gives a box and points for every cell, and means them in the few where it gives a score,
too. Elsewhere they are noise, of which there is a hundred times as much. So it is with a score that
was only ever trained where another says that there is something.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from toolchain.models.leaves import tensors_in
from toolchain.recovery.outputs import Output, Seen, probabilities_of
from toolchain.train.ranks import mean_of_all

LEAST = 0.1
"""What all cells without a score count together, beside those with one: a detection moves in from
its neighbours."""
RARE = 0.1
"""Share of cells in which a detector sees something, at most."""
YES = 0.5
"""A score from which on something is seen."""


def weighed(
    outputs: Sequence[Output], given: Sequence[Any], joined: Callable[[str], str] = str
) -> tuple[Output, ...]:
    """Return the outputs, told what is seen in their cells over many inputs.

    ``given`` are the teacher's outputs for these. Of outputs that ``joined`` names alike, levels of
    one detector, all are told where one is: it may never be sure of what the coarsest show.
    """
    scores: list[list[Tensor]] = [[] for _ in outputs]
    for each in given:
        for found, score in zip(scores, _scores(outputs, tensors_in(each)), strict=True):
            if score is not None:
                found.append(score.flatten())
    flat = [torch.cat(found) if found else None for found in scores]
    detecting = {
        joined(output.name)
        for output, score in zip(outputs, flat, strict=True)
        if score is not None and _tells(score)
    }
    return tuple(
        dataclasses.replace(
            output,
            seen=_seen(score) if score is not None and joined(output.name) in detecting else None,
        )
        for output, score in zip(outputs, flat, strict=True)
    )


def _tells(scores: Tensor) -> bool:
    """Tell whether something is surely seen in few cells, and in some."""
    return 0 < float((scores > YES).float().mean()) < RARE


def _seen(scores: Tensor) -> Seen | None:
    """Return what is seen in few cells; None where all are alike."""
    least = float(scores.kthvalue(math.ceil((1 - RARE) * len(scores))).values)
    above = float((scores - least).clamp(min=0).mean())
    return Seen(least, above) if above > 0 else None


def cell_weights(outputs: Sequence[Output], theirs: Sequence[Tensor]) -> list[Tensor | None]:
    """Return for each output what its cells count, about 1 on average; None where all count alike.

    ``theirs`` are the teacher's. An image in which much is seen counts twice as much as usual at
    most; one in which nothing is, little.
    """
    return [
        None if score is None or output.seen is None else _weight(score, output.seen)
        for output, score in zip(outputs, _scores(outputs, theirs), strict=True)
    ]


def _weight(score: Tensor, seen: Seen) -> Tensor:
    above = (score - seen.least).clamp(min=0)
    middle = (mean_of_all(above.mean()) + seen.above) / 2
    return (above / middle + LEAST) / (1 + LEAST)


def _scores(outputs: Sequence[Output], theirs: Sequence[Tensor]) -> list[Tensor | None]:
    """Return for each output the geometric mean of the other scores of its cells.

    They are of the cells of another output where all dimensions but that of channels are the same.
    """
    told: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
    for place, (output, tensor) in enumerate(zip(outputs, theirs, strict=True)):
        score = score_of(output, tensor)
        if score is not None:
            told.setdefault(tuple(score.shape), []).append((place, score))
    found = []
    for place, (output, tensor) in enumerate(zip(outputs, theirs, strict=True)):
        others = [each for at, each in told.get(_cells(output, tensor), ()) if at != place]
        logs = [each.clamp(min=1e-12).log() for each in others]
        found.append(torch.stack(logs).mean(dim=0).exp() if logs else None)
    return found


def score_of(output: Output, tensor: Tensor) -> Tensor | None:
    """Return how likely something is in each cell, where an output tells that; else None."""
    if tensor.ndim < 3:
        return None
    if output.kind in ("scores", "binary"):
        likely = probabilities_of(output.kind, output.dim, tensor.float())
        return likely.amax(dim=output.dim, keepdim=True)
    nothing = output.nothing
    if nothing is None:
        return None
    likely = probabilities_of(output.kind, output.dim, tensor.float())
    return 1 - likely.narrow(output.dim, nothing, 1)


def _cells(output: Output, tensor: Tensor) -> tuple[int, ...]:
    return tuple(1 if dim == output.dim else side for dim, side in enumerate(tensor.shape))
