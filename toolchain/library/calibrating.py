"""What int8 is calibrated on, as Python gives it: photos, a batch, or a loader of one's own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from toolchain.errors import InputError, in_one_line
from toolchain.lineage.calibration import Calibration, given_calibration, read_calibration
from toolchain.recipe import Recipe

Place: TypeAlias = str | os.PathLike[str]
Calibrated: TypeAlias = Place | Sequence[Place] | Tensor | Iterable[Any]
"""A folder of photos, photos' paths, a batch (N, C, H, W), or a loader: its items are inputs
(C, H, W), batches (N, C, H, W), tuples or lists of which the first is such, or dictionaries."""
Inputs: TypeAlias = Path | tuple[Path, ...] | list[Tensor] | None
"""The same, read as far as it tells what it is; each input (1, C, H, W)."""

MOST_INPUTS, MOST_BYTES = 512, 2**31
"""So many inputs are taken, and so many bytes of them: a loader may have no end."""


def read_given(
    calibration: Calibrated | None, shape: tuple[int, ...], names: Sequence[str]
) -> Inputs:
    """Tell photos from inputs that are ready; raise :class:`InputError` for what is neither.

    ``shape`` (1, C, H, W) is what the network takes, ``names`` what its inputs are called.
    """
    if calibration is None:
        return None
    if isinstance(calibration, str | os.PathLike):
        return Path(calibration)
    most = max(1, min(MOST_INPUTS, MOST_BYTES // max(1, 4 * int(np.prod(shape)))))
    found: list[Tensor] = []
    items = _items(calibration)
    for index, item in enumerate(items):
        if index == 0 and isinstance(item, str | os.PathLike):
            return _paths([item, *items])
        for tensor in _inputs_of(item, shape, names, index):
            found.append(_checked(tensor, index))
            if len(found) == most:
                return found
    if not found:
        raise InputError("calibration must hold at least one input (got none)")
    return found


def _paths(items: list[Any]) -> tuple[Path, ...]:
    """Return photos' paths; raise :class:`InputError` where one is something else."""
    for index, item in enumerate(items):
        if not isinstance(item, str | os.PathLike):
            raise InputError(
                f"calibration must be paths, or inputs, throughout (got {type(item).__name__} in "
                f"item {index})"
            )
    return tuple(Path(item) for item in items)


def calibration_of(given: Inputs, recipe: Recipe, example: Tensor) -> Calibration:
    """Return what int8 is calibrated on; raise :class:`InputError` if no photo can be read."""
    if isinstance(given, list):
        return given_calibration(given)
    return read_calibration(given, recipe, example)


def range_of(inputs: Sequence[Tensor]) -> tuple[float, float] | None:
    """Return the lowest and the highest value of inputs; None where they hold one value alone."""
    low = min(float(each.min()) for each in inputs if each.numel())
    high = max(float(each.max()) for each in inputs if each.numel())
    return (low, high) if low < high else None


def _items(calibration: Any) -> Iterator[Any]:
    """Yield the items; what the user's own loader raises is told in a line."""
    try:
        iterator = iter(calibration)
    except TypeError as error:
        raise InputError(
            f"calibration must be a folder, paths, a batch, or a loader (got "
            f"{type(calibration).__name__})"
        ) from error
    index = 0
    while True:
        try:
            item = next(iterator)
        except StopIteration:
            return
        except Exception as error:  # a user's loader may raise anything
            raise InputError(f"calibration failed at item {index}: {in_one_line(error)}") from error
        yield item
        index += 1


def _inputs_of(item: Any, shape: tuple[int, ...], names: Sequence[str], index: int) -> list[Tensor]:
    """Return the inputs (1, C, H, W) of one item of a loader."""
    if isinstance(item, Mapping):
        item = _entry(item, shape, names, index)
    elif isinstance(item, tuple | list) and item and not np.isscalar(item[0]):
        item = item[0]
    tensor = _tensor(item, index)
    if tuple(tensor.shape) == shape[1:]:
        return [tensor[None]]
    if tensor.ndim == len(shape) and tuple(tensor.shape[1:]) == shape[1:] and len(tensor):
        return [tensor[row : row + 1] for row in range(len(tensor))]
    got = tuple(tensor.shape)
    whole = (1, *got) if tensor.ndim == len(shape) - 1 else got
    raise InputError(
        f"calibration must be of inputs {shape}, as the network takes them, or batches of such "
        f"(got {whole} in item {index}){_hint(got, shape)}"
    )


def _hint(got: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """Say what is to be done about channels that come last."""
    _, channels, height, width = shape if len(shape) == 4 else (0, 0, 0, 0)
    if height and got[-3:] == (height, width, channels):
        axes = "(0, 3, 1, 2)" if len(got) == 4 else "(2, 0, 1)"
        return f"; channels come first: permute{axes}"
    return ""


def _entry(
    item: Mapping[Any, Any], shape: tuple[int, ...], names: Sequence[str], index: int
) -> Any:
    """Return the entry of a dictionary that is the network's input."""
    for name in names:
        if name in item:
            return item[name]
    fitting = [
        value for value in item.values() if tuple(getattr(value, "shape", ()))[-3:] == shape[1:]
    ]
    if len(fitting) != 1:
        keys = ", ".join(map(repr, list(item)[:8])) or "no entries"
        raise InputError(
            f"calibration: item {index} has {keys}, of which {len(fitting)} fit the "
            f"network's input {shape}; call it {' or '.join(map(repr, names)) or 'image'}"
        )
    return fitting[0]


def _tensor(value: Any, index: int) -> Tensor:
    try:
        tensor = torch.as_tensor(value if isinstance(value, Tensor) else np.asarray(value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"calibration must be paths, arrays or tensors (got {type(value).__name__} in item "
            f"{index})"
        ) from error
    return tensor.detach().cpu().float()


def _checked(tensor: Tensor, index: int) -> Tensor:
    """Return a tensor all of which is finite; raise :class:`InputError` for any other."""
    wrong = int((~torch.isfinite(tensor)).sum())
    if wrong:
        raise InputError(
            f"calibration: item {index} holds {wrong} values that are NaN or infinite, and numbers "
            f"were expected; look at what divides in your loader"
        )
    return tensor
