"""The teacher looked at before anything is learnt from it: do its outputs say anything?"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from toolchain.errors import InputError, ModelError
from toolchain.models.leaves import output_names, tensors_in
from toolchain.recovery.cells import weighed
from toolchain.recovery.course import Batch
from toolchain.recovery.fed import CHECK, demand_fed_alike
from toolchain.recovery.feeding import Feed, size_of
from toolchain.recovery.hearing import run
from toolchain.recovery.levels import balanced, joined, told_by_level
from toolchain.recovery.outputs import Kind, Output, outputs_of

HELD_BYTES = 2**28
"""Of the teacher's outputs, and of photos that are kept out, that are held at a time, about."""
FEWEST_HELD = 4
"""Batches, however large."""
NEARLY_CONSTANT = 1e-4
"""Of an output's size: what varies less from photo to photo says nothing."""


@dataclass(frozen=True)
class Taught:
    """What the teacher says."""

    outputs: tuple[Output, ...]
    """What is known of each of its outputs."""
    heard: Sequence[tuple[Batch, Any]]
    """Of what is looked at as much as may be held, and its outputs for each batch of it."""
    kept_out: Sequence[Batch]
    """What it is compared on: of what is kept out as much as may be held."""
    theirs: Sequence[Any]
    """Its outputs for each batch of these."""
    notes: tuple[str, ...]
    """What a person should know."""


def look_at(
    teacher: nn.Module, feed: Feed, told: Mapping[str, str], seen: Sequence[Kind]
) -> Taught:
    """Return what the teacher says.

    Raises :class:`ModelError` for outputs that differ from run to run or are not finite, and
    :class:`InputError` where all are nearly the same for every image.
    """
    first = feed.looked[0].inputs
    _demand_same(run(teacher, first), run(teacher, first))
    fed = demand_fed_alike(teacher, [batch.inputs for batch in feed.looked])
    batches, looked = _run_some(teacher, feed.looked)
    kept_out, theirs = _run_some(teacher, feed.kept_out)
    names = output_names(looked[0])
    for index, name in enumerate(names):
        if not all(bool(tensors_in(each)[index].isfinite().all()) for each in looked):
            raise ModelError(
                f"the network gives no finite numbers in {name} for these images; check what it is "
                f"fed: scale, mean and std"
            )
    still = _still(names, looked)
    all_still = len(still) == len(names)
    several = sum(map(size_of, kept_out)) > 1
    if all_still or (several and len(_still(names, theirs)) == len(names)):
        raise InputError(
            f"the network gives nearly the same for all images{'' if all_still else ' kept out'} "
            f"({', '.join(names)}); they are all alike, not what it was trained on, or not fed as "
            f"then: check {CHECK}"
        )
    notes = [f"{name} is nearly the same for all images, and teaches nothing." for name in still]
    told = told_by_level(told, names)
    outputs = balanced(weighed(outputs_of(looked, told, seen), looked, joined), looked)
    silent = {*told, *still}
    words = (*fed, *notes, *_could_be_classes(outputs, looked[0], silent))
    heard = [*zip(batches, looked, strict=True)]
    return Taught(outputs, heard, kept_out, theirs, words)


def _run_some(teacher: nn.Module, batches: Sequence[Batch]) -> tuple[Sequence[Batch], list[Any]]:
    """Return batches, spread evenly, and outputs for them, as many as may be held."""
    size = sum(each.nbytes for each in tensors_in(run(teacher, batches[0].inputs)))
    most = max(FEWEST_HELD, HELD_BYTES // max(1, size))
    some = batches[:: -(-len(batches) // most)]
    return some, [run(teacher, batch.inputs) for batch in some]


def _still(names: Sequence[str], looked: Sequence[Any]) -> list[str]:
    """Return the outputs that are nearly the same for all images."""
    shares = zip(names, _variation(looked), strict=True)
    return [name for name, share in shares if share < NEARLY_CONSTANT]


def _could_be_classes(
    outputs: Sequence[Output], given: Any, silent: Container[object]
) -> Iterator[str]:
    """Yield notes on outputs (N, C) that nobody said anything about, but for ``silent`` ones."""
    for index, (output, tensor) in enumerate(zip(outputs, tensors_in(given), strict=True)):
        known = output.kind != "values" or any(
            k in silent for k in (output.name, index, str(index))
        )
        if not known and tensor.ndim == 2 and tensor.shape[1] > 1:
            yield (
                f"{output.name} is compared as plain numbers; if they are scores of classes, "
                f"--outputs {index}=logits tells the agreement by class."
            )


def _demand_same(one: Any, other: Any) -> None:
    for name, a, b in zip(output_names(one), tensors_in(one), tensors_in(other), strict=True):
        if not torch.equal(a, b) and not bool((a.isnan() & b.isnan()).any()):
            raise ModelError(
                f"the network's output {name} differs from run to run for the same image, in eval "
                f"mode (by {float((a - b).abs().max()):.1e}); nothing can be learnt from it: is "
                f"there a dropout or noise that eval() does not stop?"
            )


def _variation(looked: Sequence[Any]) -> list[float]:
    """Return for each output how much it varies from image to image, as a share of its size."""
    found = []
    for index in range(len(tensors_in(looked[0]))):
        rows = [_rows(tensors_in(each)[index]) for each in looked]
        width = min(each.shape[1] for each in rows)  # of several sizes, their first cells
        found.append(_share(torch.cat([each[:, :width] for each in rows])))
    return found


def _rows(tensor: Tensor) -> Tensor:
    """Return a row per image."""
    return tensor.float().flatten(1)[:, :4096] if tensor.ndim > 1 else tensor.float().view(-1, 1)


def _share(rows: Tensor) -> float:
    size = rows.square().mean().sqrt()
    return float(rows.std(dim=0, correction=0).mean() / size.clamp(min=1e-30))
