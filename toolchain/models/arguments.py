"""What ``forward`` is called with, and a run on it that changes nothing."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten


@dataclass(frozen=True)
class Arguments:
    """What ``forward`` is called with; tensors may lie in lists, tuples and dictionaries."""

    by_place: tuple[Any, ...]
    by_name: Mapping[str, Any] = field(default_factory=dict)

    def flat(self) -> tuple[list[Any], TreeSpec]:
        """Return the leaves and the structure."""
        return tree_flatten((self.by_place, dict(self.by_name)))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors, in order."""
        return tuple(leaf for leaf in self.flat()[0] if isinstance(leaf, Tensor))

    @property
    def is_plain(self) -> bool:
        """True for tensors by place and nothing else."""
        return not self.by_name and all(isinstance(each, Tensor) for each in self.by_place)


def outputs_of(network: nn.Module, arguments: Arguments) -> object:
    """Run a copy of ``network``, for it may change while it runs, and return its outputs."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        return copy.deepcopy(network)(*arguments.by_place, **arguments.by_name)


def required(network: nn.Module) -> list[str]:
    """Return the names of the arguments that ``forward`` cannot do without."""
    try:
        parameters = inspect.signature(network.forward).parameters.values()
    except (TypeError, ValueError):
        return ["x"]
    return [
        each.name
        for each in parameters
        if each.default is each.empty
        and each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
