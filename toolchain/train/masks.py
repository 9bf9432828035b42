"""Masks: which weights are held at zero, so that what was pruned stays pruned."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from toolchain.prune.zeroing import zero_filters
from toolchain.recipe import PruneSection

NEXT_TO_ZERO = 1e-30
"""Changes no score of a criterion."""

Masks = Mapping[str, Tensor]
"""By parameter's name, bool: True for what may live, False for what is zeroed."""


def choose_masks(network: nn.Module, example: Tensor, prune: PruneSection) -> dict[str, Tensor]:
    """Return the masks of the filters that the criterion chooses in ``network`` as it is.

    Only what the choice itself zeroes is masked, not what happens to be zero: that is made a
    little more than zero first, so that the two can be told apart.
    """
    device = next(network.parameters()).device
    probe = copy.deepcopy(network).cpu()
    with torch.no_grad():
        for parameter in probe.parameters():
            parameter[parameter == 0] = NEXT_TO_ZERO
    zeroed = zero_filters(probe, example, prune)
    return {
        name: (parameter.detach() != 0).to(device) for name, parameter in zeroed.named_parameters()
    }


def apply_masks(network: nn.Module, masks: Masks) -> None:
    """Zero what is masked, in place."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.mul_(masks[name])


def zeroed_share(masks: Masks) -> float:
    """Return the share of all parameters that is held at zero."""
    total = sum(mask.numel() for mask in masks.values())
    return sum(int((~mask).sum()) for mask in masks.values()) / total


def zero_filters_of(network: nn.Module, masks: Masks) -> dict[str, list[int]]:
    """Return, by convolution, which of its filters are masked whole."""
    found = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            alive = masks[f"{name}.weight"].flatten(1).any(dim=1)
            if not alive.all():
                found[name] = torch.nonzero(~alive).flatten().tolist()
    return found
