"""Zeroing filters once, as a recipe says, in a copy."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from toolchain.errors import RecipeError
from toolchain.models.sizes import Example
from toolchain.pruning.asked import Asked, asked_by_group, asked_by_layer
from toolchain.pruning.criteria import count_of
from toolchain.pruning.groups import named_filters, zeroed_counts
from toolchain.pruning.prunable import Prunable
from toolchain.recipe import PruneSection
from toolchain.surgery.running import fresh


@dataclass(frozen=True)
class Zeroed:
    """A network with zeroed filters, and what was asked for."""

    network: nn.Module
    asked: Asked


def zero_filters(
    network: nn.Module,
    example: Tensor | Example,
    prune: PruneSection,
    *,
    zeros_first: bool = False,
) -> nn.Module:
    """Return a copy of ``network`` with filters zeroed: :func:`zero_and_tell` in short."""
    return zero_and_tell(network, example, prune, zeros_first=zeros_first).network


def zero_and_tell(
    network: nn.Module,
    example: Tensor | Example,
    prune: PruneSection,
    *,
    zeros_first: bool = False,
) -> Zeroed:
    """Zero floor(rate * n) filters of each layer or group in a copy of ``network``.

    Of a group that has a width of its own, all but as many are zeroed, or those that are named.
    ``example`` is an input (N, C, H, W), or all tensors of one, used for their shapes. With
    ``zeros_first`` filters that are zero already are counted among them; without, each is chosen by
    its score alone.
    """
    network = fresh(network).eval()
    demand_scope(prune)
    if not prune.zeroes:
        return Zeroed(network, Asked())
    prunable = Prunable.of(network, example, prune.scope, prune.protected)
    prunable.zero(network, chosen_by(prunable, network, prune, zeros_first=zeros_first))
    if prune.scope == "layer":
        return Zeroed(network, asked_by_layer(network, prunable.flow, prune))
    return Zeroed(network, asked_by_group(network, prunable.flow, prunable.groups, prune))


def demand_scope(prune: PruneSection) -> None:
    """Raise :class:`RecipeError` for widths of groups where layers are zeroed one by one."""
    if (prune.widths or prune.pruned_channels) and prune.scope == "layer":
        raise RecipeError("prune.widths are of groups; prune.scope must be group (got 'layer')")
    if prune.align > 1 and prune.scope == "layer":
        raise RecipeError(
            f"prune.align is of groups; prune.scope must be group (got 'layer'), or prune.align 1 "
            f"(got {prune.align})"
        )


def chosen_by(
    prunable: Prunable, network: nn.Module, prune: PruneSection, *, zeros_first: bool = False
) -> dict[str, list[int]]:
    """Return which filters of each group a recipe chooses, by ``network``'s weights as they are."""
    counts = counts_by(prunable, prune)
    named = {} if prune.scope == "layer" else named_filters(prunable.groups, prune)
    open_counts = {group: count for group, count in counts.items() if group not in named}
    chosen = prunable.choose(network, open_counts, prune.criterion, zeros_first=zeros_first)
    return {**chosen, **{group: list(indices) for group, indices in named.items()}}


def counts_by(prunable: Prunable, prune: PruneSection) -> dict[str, int]:
    """Return how many filters of each group go: by its own width, or else by the rate."""
    if prune.scope == "group":
        return zeroed_counts(prunable.groups, prune)
    return {group.name: count_of(prune.rate or 0.0, group.width) for group in prunable.groups}
