"""Masks of a training: which filters are held at zero, so that what was pruned stays pruned."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from toolchain.pruning.prunable import Masks, Prunable, apply_masks, zeroed_share
from toolchain.pruning.zeroing import chosen_by, demand_scope
from toolchain.recipe import PruneSection

__all__ = ["Masking", "Masks", "apply_masks", "choose_masks", "zero_filters_of", "zeroed_share"]


class Masking:
    """Chooses masks as a recipe says, as often as needed; the network is run once alone."""

    def __init__(self, example: Tensor, prune: PruneSection) -> None:
        self.example, self.prune = example, prune
        self._prunable: Prunable | None = None

    def choose(self, network: nn.Module) -> dict[str, Tensor]:
        """Return the masks of the filters that the criterion chooses in ``network`` as it is.

        Only what the choice itself zeroes is masked, not what happens to be zero. All networks that
        are given have the same layers.
        """
        device = next(network.parameters()).device
        probe = copy.deepcopy(network).cpu()
        if self._prunable is None:
            demand_scope(self.prune)
            section = self.prune
            probe.eval()
            self._prunable = Prunable.of(probe, self.example, section.scope, section.protected)
        chosen = chosen_by(self._prunable, probe, self.prune)
        masks = self._prunable.masks(probe, chosen)
        return {name: mask.to(device) for name, mask in masks.items()}


def choose_masks(network: nn.Module, example: Tensor, prune: PruneSection) -> dict[str, Tensor]:
    """Return the masks of the filters that the criterion chooses: :class:`Masking`, once."""
    return Masking(example, prune).choose(network)


def zero_filters_of(network: nn.Module, masks: Masks) -> dict[str, list[int]]:
    """Return, by convolution, which of its filters are masked whole, if it has a mask."""
    found = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and f"{name}.weight" in masks:
            alive = masks[f"{name}.weight"].flatten(1).any(dim=1)
            if not alive.all():
                found[name] = torch.nonzero(~alive).flatten().tolist()
    return found
