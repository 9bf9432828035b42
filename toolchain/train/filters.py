"""Soft filter pruning: when filters are chosen and zeroed, and from when they are held at zero."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from toolchain.recipe import PruneSection
from toolchain.train.masks import Masks, apply_masks, choose_masks


@dataclass(frozen=True)
class Schedule:
    """Steps, counted from 0; what is due at a step happens before it is taken."""

    hold: int
    """Filters are chosen for the last time, and held at zero from then on."""
    first: int = 0
    """Filters are chosen and zeroed for the first time; what is zeroed may come back."""
    every: int = 0
    """Steps between two choices before ``hold``; 0 chooses at ``hold`` alone."""

    def chooses(self, step: int) -> bool:
        """Tell whether filters are chosen before ``step``."""
        soft = self.every > 0 and self.first <= step < self.hold
        return step == self.hold or (soft and (step - self.first) % self.every == 0)

    def holds(self, step: int) -> bool:
        """Tell whether zeros are held after ``step``."""
        return step >= self.hold


class Filters:
    """Which filters are zeroed, and whether they may come back."""

    def __init__(
        self, schedule: Schedule, prune: PruneSection, example: Tensor, masks: Masks | None = None
    ) -> None:
        self.schedule, self.prune, self.example, self.masks = schedule, prune, example, masks

    def before(self, step: int, network: nn.Module) -> bool:
        """Choose and zero filters of ``network``, in place, if that is due; tell whether it was."""
        if not (self.prune.rate and self.schedule.chooses(step)):
            return False
        self.masks = choose_masks(network, self.example, self.prune)
        apply_masks(network, self.masks)
        return True

    def after(self, step: int, network: nn.Module) -> None:
        """Hold at zero, in place, what must stay there."""
        if self.masks is not None and self.schedule.holds(step):
            apply_masks(network, self.masks)
