"""Shifts of the levels' scores as a part of the weights: the board computes nothing for them."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from toolchain.errors import ModelError, ParityError
from toolchain.zoo.writing import proof_images

LIMIT = 1e-5
"""Largest difference from what the shift says, as a share of the scores' range."""


def shifted(network: nn.Module, heads: Sequence[str], shifts: Sequence[float]) -> nn.Module:
    """Return a copy whose level ``i`` gives scores with ``shifts[i]`` more log-odds.

    ``heads`` are the convolutions that score, of which the last filter is the face's. The copy is
    run beside the network: everything else must be bit for bit the same. Raises
    :class:`ModelError` where a head has no bias, :class:`ParityError` where the outputs differ in
    another way.
    """
    changed = copy.deepcopy(network).eval()
    with torch.no_grad():
        for name, shift in zip(heads, shifts, strict=True):
            bias = changed.get_submodule(name).bias
            if not isinstance(bias, nn.Parameter):
                raise ModelError(f"{name} has no bias, so its scores cannot be shifted")
            bias[-1] += shift
    _demand_shifted(network, changed, heads, shifts)
    return changed


def _demand_shifted(
    network: nn.Module, changed: nn.Module, heads: Sequence[str], shifts: Sequence[float]
) -> None:
    """Compare both on random images."""
    plain = copy.deepcopy(network).eval()
    for image in proof_images():
        with torch.inference_mode():
            cells = _cells(plain, heads, image)
            (loc, before), (same, after) = plain(image), changed(image)
        moved = torch.repeat_interleave(torch.tensor(shifts), torch.tensor(cells))
        if not torch.equal(loc, same) or not torch.equal(before[..., 0], after[..., 0]):
            raise ParityError("shifting scores changed boxes or backgrounds; nothing is written")
        off = (after[..., 1] - before[..., 1] - moved).abs().max()
        if not off <= LIMIT * (before[..., 1].abs().max() + moved.abs().max()):
            raise ParityError(f"scores are off by {off:.2g} after the shift; nothing is written")


def _cells(network: nn.Module, heads: Sequence[str], image: Tensor) -> list[int]:
    """Return how many cells each head scores."""
    found: dict[str, int] = {}
    hooks = [
        network.get_submodule(name).register_forward_hook(
            lambda _module, _given, out, name=name: found.update({name: out[0, 0].numel()})
        )
        for name in heads
    ]
    try:
        network(image)
    finally:
        for hook in hooks:
            hook.remove()
    return [found[name] for name in heads]
