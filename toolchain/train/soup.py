"""Several trainings from the same weights, and the mean of what they end in.

Trainings that start from the same trained weights end in one valley of the loss, and the mean of
their weights is better than each (Wortsman et al. 2022, "Model soups").
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Soup:
    """The weights that every branch starts from, and the mean of those branches that ended."""

    def __init__(self) -> None:
        self.origin: dict[str, Tensor] = {}
        self.mean: dict[str, Tensor] = {}
        """float64; of what is no floating-point number, the origin's."""
        self.branches = 0
        """That ended."""

    def begin(self, network: nn.Module) -> None:
        """Take the weights that every branch starts from."""
        self.origin = {name: value.clone() for name, value in network.state_dict().items()}

    def end_branch(self, network: nn.Module) -> None:
        """Add what a branch ended in to the mean."""
        self.branches += 1
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                mean = self.mean.setdefault(name, torch.zeros_like(value, dtype=torch.float64))
                mean += (value - mean) / self.branches

    def start_branch(self, network: nn.Module) -> None:
        """Give ``network`` the weights that every branch starts from, in place."""
        network.load_state_dict(self.origin)

    def with_last(self, network: nn.Module) -> nn.Module:
        """Return a network with the mean of the branches that ended and of ``network``."""
        whole, mixed = copy.deepcopy(self), copy.deepcopy(network)
        whole.end_branch(network)
        mean = {name: value.to(whole.origin[name].dtype) for name, value in whole.mean.items()}
        mixed.load_state_dict(whole.origin | mean)
        return mixed

    def state(self) -> Mapping[str, Any] | None:
        """Return what it holds, as a checkpoint has it; None before the first branch."""
        if not self.origin:
            return None
        return {"origin": self.origin, "mean": self.mean, "branches": self.branches}

    def load(self, state: Mapping[str, Any], device: str) -> None:
        """Take up what :meth:`state` gave."""
        self.origin = {name: value.to(device) for name, value in state["origin"].items()}
        self.mean = {name: value.to(device) for name, value in state["mean"].items()}
        self.branches = int(state["branches"])
