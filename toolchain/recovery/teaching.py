"""The teacher looked at before anything is learnt from it: do its outputs say anything?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from toolchain.errors import InputError, ModelError
from toolchain.models.leaves import output_names, tensors_in
from toolchain.recovery.feeding import Feed
from toolchain.recovery.hearing import run
from toolchain.recovery.outputs import Kind, Output, outputs_of

NEARLY_CONSTANT = 1e-4
"""Of an output's size: what varies less from photo to photo says nothing."""


def look_at(
    teacher: nn.Module, feed: Feed, told: Mapping[str, str], seen: Sequence[Kind]
) -> tuple[tuple[Output, ...], list[Any], tuple[str, ...]]:
    """Return what is known of the outputs, the teacher's on what is kept out, and notes.

    Raises :class:`ModelError` for outputs that differ from run to run or are not finite, and
    :class:`InputError` where all are nearly the same for every image.
    """
    first = feed.looked[0].inputs
    _demand_same(run(teacher, first), run(teacher, first))
    looked = [run(teacher, batch.inputs) for batch in feed.looked]
    kept_out = [run(teacher, batch.inputs) for batch in feed.kept_out]
    names = output_names(looked[0])
    for index, name in enumerate(names):
        if not all(bool(tensors_in(each)[index].isfinite().all()) for each in looked):
            raise ModelError(
                f"the network gives no finite numbers in {name} for these images; check what it is "
                f"fed: scale, mean and std"
            )
    still = [name for name, share in zip(names, _variation(looked), strict=True)
             if share < NEARLY_CONSTANT]  # fmt: skip
    if len(still) == len(names):
        raise InputError(
            f"the network gives nearly the same for all images ({', '.join(still)}); they are not "
            f"what it was trained on, or not fed as then: check scale, mean, std and color_order"
        )
    notes = [f"{name} is nearly the same for all images, and teaches nothing." for name in still]
    return outputs_of(looked, told, seen), kept_out, tuple(notes)


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
    return [
        _share(torch.cat([_rows(tensors_in(each)[index]) for each in looked]))
        for index in range(len(tensors_in(looked[0])))
    ]


def _rows(tensor: Tensor) -> Tensor:
    """Return a row per image; of several sizes, their first cells."""
    return tensor.float().flatten(1)[:, :4096] if tensor.ndim > 1 else tensor.float().view(-1, 1)


def _share(rows: Tensor) -> float:
    size = rows.square().mean().sqrt()
    return float(rows.std(dim=0, correction=0).mean() / size.clamp(min=1e-30))
