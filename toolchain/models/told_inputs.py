"""Inputs that are told: by shapes on the command line, by a network's own attributes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from toolchain.errors import ModelError
from toolchain.models.arguments import Arguments

EXAMPLE_NAMES = ("example_inputs", "example_input_array")
"""Attributes that hold an example of what a network is called with."""


def is_told(places: Sequence[object]) -> bool:
    """True if a network or its module says what it is called with."""
    return given_example(places) is not None or input_size(places) is not None


def read_shapes(shapes: Sequence[str]) -> Arguments:
    """Return zeros of shapes such as ``1x3x64x64``, ``mask=1x1x64x64`` or ``1x16:int64``."""
    by_place, by_name = [], {}
    for text in shapes:
        key, _, shape = text.rpartition("=")
        tensor = _zeros(shape, text)
        if key and not key.isidentifier():
            raise _bad_shape(text)
        if key:
            by_name[key] = tensor
        else:
            by_place.append(tensor)
    return Arguments(tuple(by_place), by_name)


def _zeros(text: str, whole: str) -> Tensor:
    shape, _, kind = text.partition(":")
    dtype = getattr(torch, kind or "float32", None)
    sides = shape.lower().split("x")
    if not isinstance(dtype, torch.dtype) or not all(side.isdecimal() for side in sides):
        raise _bad_shape(whole)
    numbers = [int(side) for side in sides]
    if min(numbers) < 1 or torch.Size(numbers).numel() > 2**28:
        raise _bad_shape(whole)
    return torch.zeros(numbers, dtype=dtype)


def _bad_shape(text: str) -> ModelError:
    return ModelError(
        f"--input-shape must be NxCxHxW or another shape, for example 1x3x224x224, with the name "
        f"of the argument where it has one (mask=1x1x224x224), with a type where it is not float32 "
        f"(1x16:int64), sides >= 1 and at most 2^28 values (got {text!r})"
    )


def given_example(places: Sequence[object]) -> Arguments | None:
    """Return what a network's own ``example_inputs`` says, or that of its factory or module."""
    for place in places:
        for key in EXAMPLE_NAMES:
            found = _attribute(place, key)
            if callable(found) and not isinstance(found, Tensor):
                found = found()
            arguments = _as_arguments(found)
            if arguments is not None and arguments.tensors:
                return arguments
    return None


def input_size(places: Sequence[object]) -> tuple[int, ...] | None:
    """Return what ``input_size`` says: (C, H, W), (H, W), or another shape without the batch."""
    for place in places:
        found = _attribute(place, "input_size")
        if isinstance(found, int) and not isinstance(found, bool) and found > 0:
            return (found, found)
        if isinstance(found, tuple | list) and 2 <= len(found) <= 5:
            sides = tuple(found)
            if all(isinstance(side, int) and side > 0 for side in sides):
                return sides[1:] if len(sides) == 4 and sides[0] == 1 else sides
    return None


def _attribute(place: object, key: str) -> Any:
    """Return an attribute without asking code that answers for any name."""
    found = inspect.getattr_static(place, key, None)
    if isinstance(found, Tensor | tuple | list | dict | int):
        return found
    if isinstance(place, nn.Module) and isinstance(found, property | staticmethod | classmethod):
        return getattr(place, key)
    if isinstance(found, staticmethod):
        return found.__func__
    return found if inspect.isfunction(found) and not isinstance(place, nn.Module | type) else None


def _as_arguments(found: object) -> Arguments | None:
    if isinstance(found, Tensor):
        return Arguments((_ready(found),))
    if isinstance(found, Mapping) and all(isinstance(key, str) for key in found):
        return Arguments((), {key: _ready(each) for key, each in found.items()})
    if isinstance(found, tuple | list):
        return Arguments(tuple(_ready(each) for each in found))
    return None


def _ready(value: Any) -> Any:
    """Return ``value`` with its floats as float32 zeros, as the proofs make their own numbers."""
    found, structure = tree_flatten(value)
    return tree_unflatten([_as_zeros(leaf) for leaf in found], structure)


def _as_zeros(leaf: object) -> object:
    if not isinstance(leaf, Tensor):
        return leaf
    leaf = leaf.detach().cpu()
    return torch.zeros(leaf.shape) if leaf.is_floating_point() else leaf


def with_size(arguments: Arguments, size: tuple[int, int] | None) -> Arguments:
    """Return arguments whose images have ``size``: those of the first image's height and width."""
    images = [tensor for tensor in arguments.tensors if tensor.ndim == 4]
    if size is None or not images:
        return arguments
    own = images[0].shape[2:]
    found, structure = arguments.flat()
    replaced = [
        leaf.new_zeros((*leaf.shape[:2], *size))
        if isinstance(leaf, Tensor) and leaf.ndim == 4 and leaf.shape[2:] == own
        else leaf
        for leaf in found
    ]
    by_place, by_name = tree_unflatten(replaced, structure)
    return Arguments(by_place, by_name)
