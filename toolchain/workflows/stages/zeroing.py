"""The stage that zeroes filters, where the recipe asks for it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import nn

from toolchain.pruning.asked import Asked
from toolchain.pruning.zeroing import zero_and_tell
from toolchain.recipe import override
from toolchain.workflows.stages.starting import Start
from toolchain.zoo.sources import Loaded


@dataclass(frozen=True)
class Zeroed:
    """A network with filters zeroed as its recipe says."""

    loaded: Loaded
    """As it was loaded; its recipe has lost the rate where nothing was left to zero."""
    soft: nn.Module
    asked: Asked | None
    """What the recipe asks to be removed; None where it asks for nothing."""


def zero(started: Start) -> Zeroed:
    """Zero filters as the recipe says, in a copy.

    What its training zeroed of a shipped network is a part of the rate. Where nothing is left to
    zero the network is taken as it is, and its recipe loses the rate.
    """
    loaded = started.loaded
    prune, from_zoo = loaded.recipe.prune, loaded.member is not None
    if not prune.zeroes:
        return Zeroed(loaded, loaded.network, None)
    zeros_first = from_zoo or bool(prune.widths)
    made = zero_and_tell(loaded.network, started.look, prune, zeros_first=zeros_first)
    if from_zoo and _same(loaded.network, made.network):
        recipe = override(
            loaded.recipe, {"prune.rate": None, "prune.widths": {}, "prune.pruned_channels": {}}
        )
        return Zeroed(dataclasses.replace(loaded, recipe=recipe), made.network, None)
    return Zeroed(loaded, made.network, made.asked)


def _same(network: nn.Module, other: nn.Module) -> bool:
    state = other.state_dict()
    return all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
