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
"""By parameter's name: 1 for what may live, 0 for what is held at zero."""


def choose_masks(network: nn.Module, example: Tensor, prune: PruneSection) -> dict[str, Tensor]:
    """Return the masks of the filters that the criterion chooses in ``network`` as it is.

    Only what the choice itself zeroes is masked, not what happens to be zero: that is made a
    little more than zero first, so that the two can be told apart.
    """
    probe = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in probe.parameters():
            parameter[parameter == 0] = NEXT_TO_ZERO
    zeroed = zero_filters(probe, example, prune)
    return {
        name: (parameter.detach() != 0).to(parameter.dtype)
        for name, parameter in zeroed.named_parameters()
    }


def apply_masks(network: nn.Module, masks: Masks) -> None:
    """Zero what is masked, in place."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.mul_(masks[name])


def zeroed_share(masks: Masks) -> float:
    """Return the share of all parameters that is held at zero."""
    total = sum(mask.numel() for mask in masks.values())
    return float(sum(float((mask == 0).sum()) for mask in masks.values())) / total
