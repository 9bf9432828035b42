"""What a detector with anchors gives, level by level.

It joins the cells of all levels in one tensor, of which the finest are three quarters and the
coarse ones, which find large faces, a hundredth. Here each level is an output, as it is of
detectors that do not join them. It counts half by its share of what is found, and half as much as
any other: no level is given up.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import nn

from toolchain.models.leaves import output_names, tensors_in
from toolchain.recipe import Recipe
from toolchain.recovery.cells import YES, score_of
from toolchain.recovery.outputs import Output
from toolchain.train.teacher_outputs import level_shapes

STRIDE = re.compile(r"_stride_(\d+)$")
"""What the name of a level ends in."""


def strides_of(recipe: Recipe) -> tuple[int, ...]:
    """Return the pixels between cells of each level that is joined; nothing without anchors."""
    return () if recipe.anchors is None else recipe.anchors.strides


@contextmanager
def in_levels(networks: Sequence[nn.Module], strides: Sequence[int]) -> Iterator[None]:
    """Let networks of one image (N, C, H, W) give each level of their outputs (N, P, K) on its own.

    P are the cells of all levels, from fine to coarse; other outputs stay. Without strides, all do.
    """

    def cut(_: nn.Module, given: tuple[Any, ...], gave: Any) -> dict[str, Any]:
        height, width = given[0].shape[2:]
        cells = [rows * columns for rows, columns in level_shapes(height, width, strides)]
        found: dict[str, Any] = {}
        for name, tensor in zip(output_names(gave), tensors_in(gave), strict=True):
            if tensor.ndim == 3 and tensor.shape[1] == sum(cells):
                found |= zip(_names(name, strides), tensor.split(cells, dim=1), strict=True)
            else:
                found[name] = tensor
        return found

    each_once = {id(network): network for network in networks} if strides else {}
    handles = [network.register_forward_hook(cut) for network in each_once.values()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def told_by_level(told: Mapping[str, str], names: Sequence[str]) -> Mapping[str, str]:
    """Return what is told of outputs, by number or name, told of each of their levels.

    ``names`` are the outputs as they are cut. What is told of one that is not stays told of it.
    """
    if not any(_stride(name) for name in names):
        return told
    found: dict[str, str] = {}
    for key, kind in told.items():
        joined = f"output_{key}" if str(key).isdecimal() else key
        levels = [name for name in names if _stride(name) and name.startswith(f"{joined}_stride_")]
        found |= dict.fromkeys(levels or [joined], kind)
    return found


def balanced(outputs: Sequence[Output], given: Sequence[Any]) -> tuple[Output, ...]:
    """Return outputs of levels, weighed half by what is found there, and half evenly.

    ``given`` are the teacher's for many inputs. All else, and all where nothing is found, counts
    as before.
    """
    found = Counter[str]()
    for each in given:
        for output, tensor in zip(outputs, tensors_in(each), strict=True):
            stride, score = _stride(output.name), score_of(output, tensor)
            if stride is not None and score is not None:
                found[stride] += int((score > YES).sum())
    if not found.total():
        return tuple(outputs)
    even = found.total() / len(found)
    return tuple(
        output if stride is None else replace(output, weight=(found[stride] / even + 1) / 2)
        for output, stride in ((output, _stride(output.name)) for output in outputs)
    )


def joined(name: str) -> str:
    """Return the name of the output of which one of that name is a level; its own of any other."""
    return STRIDE.sub("", name)


def _stride(name: str) -> str | None:
    match = STRIDE.search(name)
    return match and match[1]


def _names(name: str, strides: Sequence[int]) -> list[str]:
    return [f"{name}_stride_{stride}" for stride in strides]
