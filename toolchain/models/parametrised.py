"""Making plain parameters of those that a file holds in parts: masks and weight norm.

weight_orig, weight_mask                     weight = weight_orig * weight_mask
weight_g, weight_v                           weight = weight_g * weight_v / |weight_v|
parametrizations.weight.original0, 1         the same as weight_g and weight_v
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

_PARTS = re.compile(r"(.*\.|)parametrizations\.([^.]+)\.original([01])")
_MASK, _NORM = ("_orig", "_mask"), ("_g", "_v")
_WORDS = {
    _MASK: "multiplied with its mask (torch.nn.utils.prune)",
    _NORM: "computed from direction and length (weight norm)",
}


def base_of(name: str) -> str:
    """Return the plain parameter's name that a part belongs to; the name itself for others."""
    name = _older(name)
    for ending in (*_MASK, *_NORM):
        if name.endswith(ending):
            return name.removesuffix(ending)
    return name


def made_plain(
    state: Mapping[str, Tensor], wanted: Collection[str]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the state with plain parameters where ``wanted`` has them, and what was done.

    What cannot be made plain stays as it is.
    """
    result = {name if name in wanted else _older(name): value for name, value in state.items()}
    if len(result) != len(state):
        return dict(state), ()
    counts = dict.fromkeys(_WORDS, 0)
    for first in list(result):
        for kind in _WORDS:
            base = first.removesuffix(kind[0])
            second = base + kind[1]
            if base == first or base not in wanted or first in wanted or second in wanted:
                continue
            if second not in result or base in result:
                continue
            made = _plain(kind, result[first], result[second])
            if made is not None:
                del result[first], result[second]
                result[base] = made
                counts[kind] += 1
    if not any(counts.values()):
        return dict(state), ()
    return result, tuple(
        f"{count} {'parameter' if count == 1 else 'parameters, each'} {_WORDS[kind]}"
        for kind, count in counts.items()
        if count
    )


def _older(name: str) -> str:
    """Return the name that weight norm had before parametrisations."""
    found = _PARTS.fullmatch(name)
    if found is None:
        return name
    module, parameter, part = found.groups()
    return f"{module}{parameter}{_NORM[int(part)]}"


def _plain(kind: tuple[str, str], first: Tensor, second: Tensor) -> Tensor | None:
    if not (is_dense(first) and is_dense(second)):
        return None
    if kind == _MASK:
        return first * second.to(first.dtype) if first.shape == second.shape else None
    return _weight_normed(first, second)


def is_dense(tensor: Tensor) -> bool:
    """Tell whether a tensor holds its values one by one, as weights do."""
    return tensor.layout == torch.strided and not tensor.is_meta and not tensor.is_quantized


def _weight_normed(length: Tensor, direction: Tensor) -> Tensor | None:
    """Return the weight by torch's own operator; None if the shapes are not weight norm's."""
    if not (length.is_floating_point() and direction.is_floating_point()):
        return None
    if length.dtype in (torch.float16, torch.bfloat16):
        length, direction = length.float(), direction.float()
    length = length.to(direction.dtype)
    if length.ndim == 0:
        return torch._weight_norm(direction, length, -1)
    if length.ndim != direction.ndim:
        return None
    for dim, size in enumerate(length.shape):
        others = length.shape[:dim] + length.shape[dim + 1 :]
        if size == direction.shape[dim] and all(other == 1 for other in others):
            return torch._weight_norm(direction, length, dim)
    return None
