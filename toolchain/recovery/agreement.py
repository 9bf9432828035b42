"""How well two networks agree on the same inputs: by output, and by class where there are some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from toolchain.models.leaves import tensors_in
from toolchain.recovery.outputs import DISTRIBUTIONS, Output, by_channel, probabilities_of

CLASSES = ("logits", "probabilities")
"""Kinds of outputs of which the greatest entry is the class."""
YES = 0.5
"""Of an output that says yes or no, the probability from which on it says yes."""


def agreement(
    outputs: Sequence[Output], ours: Sequence[Any], theirs: Sequence[Any]
) -> dict[str, float]:
    """Return figures of how well two networks agree on the same inputs, for each output.

    ``NAME`` is the share of the teacher's spread that is explained: 1 is all, 0 what a constant
    does. ``NAME same class`` is how often both find the same class, where there are classes.
    ``NAME same yes`` is 2 both / (ours + theirs) of what is above a half, where a sigmoid says yes
    or no, and any of the two says yes.
    """
    found: dict[str, float] = {}
    for output, pairs in _pairs(outputs, ours, theirs):
        found[output.name] = round(1 - _unexplained(output, pairs), 4)
        if output.kind in CLASSES:
            same = torch.cat([(a == b).flatten() for a, b in _classes(output, pairs)])
            found[f"{output.name} same class"] = round(float(same.float().mean()), 4)
        elif output.kind in DISTRIBUTIONS and (share := _same_yes(output, pairs)) is not None:
            found[f"{output.name} same yes"] = round(share, 4)
    return found


def by_class(
    outputs: Sequence[Output], ours: Sequence[Any], theirs: Sequence[Any]
) -> dict[str, dict[int, tuple[int, float]]]:
    """Return by output and class: how often the teacher finds it, and the share of these in which
    ours does too. Outputs without classes, and classes that are never found, are left out.
    """
    found: dict[str, dict[int, tuple[int, float]]] = {}
    for output, pairs in _pairs(outputs, ours, theirs):
        if output.kind not in CLASSES:
            continue
        classes = [(a.flatten(), b.flatten()) for a, b in _classes(output, pairs)]
        mine, wanted = (torch.cat(each) for each in zip(*classes, strict=True))
        found[output.name] = {
            int(number): (int(count), float((mine[wanted == number] == number).float().mean()))
            for number, count in zip(*wanted.unique(return_counts=True), strict=True)
        }
    return found


Pairs = Sequence[tuple[Tensor, Tensor]]


def _pairs(
    outputs: Sequence[Output], ours: Sequence[Any], theirs: Sequence[Any]
) -> Iterator[tuple[Output, Pairs]]:
    for index, output in enumerate(outputs):
        yield (
            output,
            [
                (tensors_in(a)[index].float(), tensors_in(b)[index].float())
                for a, b in zip(ours, theirs, strict=True)
            ],
        )


def _classes(output: Output, pairs: Pairs) -> list[tuple[Tensor, Tensor]]:
    return [(a.argmax(output.dim), b.argmax(output.dim)) for a, b in pairs]


def _unexplained(output: Output, pairs: Pairs) -> float:
    """Return the squared error over what the teacher's mean of other inputs, as a guess, makes."""
    error, spread = 0.0, 0.0
    for each in pairs:
        found, wanted = (
            probabilities_of(output.kind, output.dim, x) if output.kind in DISTRIBUTIONS else x
            for x in each
        )
        alike = output.mean.shape[1:] == wanted.shape[1:]
        mean = output.mean if alike else by_channel(output.mean, output.dim)
        error += float((wanted - found).square().sum())
        spread += float((wanted - mean).square().sum())
    return error / max(spread, 1e-12)


def _same_yes(output: Output, pairs: Pairs) -> float | None:
    both, all_ = 0, 0
    for each in pairs:
        ours, theirs = (probabilities_of(output.kind, output.dim, x) > YES for x in each)
        both += int((ours & theirs).sum())
        all_ += int(ours.sum()) + int(theirs.sum())
    return 2 * both / all_ if all_ else None
