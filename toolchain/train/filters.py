"""Soft filter pruning: when filters are chosen and zeroed, and from when they are held at zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from toolchain.errors import InputError
from toolchain.recipe import PruneSection
from toolchain.train.masks import Masking, Masks, apply_masks, choose_masks, zero_filters_of

BOTTLENECK = 8
"""Filters of a layer from which on one must not be left alone; EResFD has layers of 4 by design."""


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


Choose = Callable[[nn.Module], Masks]
"""Returns the masks of the filters that matter least in a network as it is."""


class SoftMasks:
    """Which filters are zeroed, and whether they may come back."""

    def __init__(self, schedule: Schedule, choose: Choose, masks: Masks | None = None) -> None:
        self.schedule, self.choose, self.masks = schedule, choose, masks

    def before(self, step: int, network: nn.Module) -> bool:
        """Choose and zero filters of ``network``, in place, if that is due; tell whether it was."""
        if not self.schedule.chooses(step):
            return False
        self.masks = self.choose(network)
        apply_masks(network, self.masks)
        return True

    def after(self, step: int, network: nn.Module) -> None:
        """Hold at zero, in place, what must stay there."""
        if self.masks is not None and self.schedule.holds(step):
            apply_masks(network, self.masks)


class Filters(SoftMasks):
    """The same as a recipe says it."""

    def __init__(
        self, schedule: Schedule, prune: PruneSection, example: Tensor, masks: Masks | None = None
    ) -> None:
        self.prune = prune
        super().__init__(schedule, Masking(example, prune).choose, masks)

    def before(self, step: int, network: nn.Module) -> bool:
        """Choose and zero filters, if the recipe wants any zeroed and it is due."""
        return self.prune.zeroes and super().before(step, network)


def check_rate(network: nn.Module, example: Tensor, prune: PruneSection) -> None:
    """Raise :class:`InputError` where a rate leaves a single filter of a layer of many.

    Zeroing takes such rates, but all that follows the layer would learn through one channel. Widths
    that fit no group raise as :func:`zero_filters` does; one that is 1 was meant.
    """
    if (prune.rate or 0.0) <= 0.5 and not (prune.widths or prune.pruned_channels):
        return  # spares the run
    masks = choose_masks(network, example, prune)
    zeroed = {name: len(zeros) for name, zeros in zero_filters_of(network, masks).items()}
    widths = {name: len(masks[f"{name}.weight"]) for name in zeroed}
    alone = [name for name in zeroed if zeroed[name] >= widths[name] - 1 >= BOTTLENECK - 1]
    if alone and prune.rate:
        narrow = min(alone, key=lambda name: widths[name])
        width = widths[narrow]
        raise InputError(
            f"a rate of {prune.rate:g} leaves {width - zeroed[narrow]} of {width} filters in "
            f"{narrow}, too few to learn through; use a rate below {(width - 1) / width:g}"
        )
