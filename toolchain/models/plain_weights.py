"""Plain weights in place of those that are computed anew in every run.

Weight norm, spectral norm and other parametrisations of torch.nn.utils, and the masks of
torch.nn.utils.prune, compute a weight from other parameters. What they give is put in their place,
value for value: then filters can be zeroed, counted and removed as in any layer.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from toolchain.errors import CheckpointError

ROUNDING = 1e-5
"""How far a weight that is computed twice may differ: sums may be taken in another order."""

NAMED = 3
"""Layers that a note names."""

Load = Callable[[nn.Module], "tuple[str, ...] | None"]
"""Puts weights into a network and may return notes; raises CheckpointError if they do not fit."""


def plainly(network: nn.Module, load: Load | None = None) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the network with ``load``'s weights, all plain, and notes; ``network`` may change.

    The weights may fit the network as it is, or as it is once its weights are plain, as after a
    run of this tool.
    """
    if not any(True for _ in computed(network)):
        return network, (load(network) or ()) if load else ()
    if load is None:
        return network, make_plain(network)
    attempt = copied(network)
    try:
        notes = load(attempt) or ()
    except CheckpointError:
        made = make_plain(network)
        return network, (*(load(network) or ()), *made)
    return attempt, (*notes, *make_plain(attempt))


def copied(network: nn.Module) -> nn.Module:
    """Return a copy, also of a network that keeps computed weights with their graph."""
    kept = [value for module in network.modules() for value in vars(module).values()]
    memo = {
        id(value): value.detach().clone()
        for value in kept
        if isinstance(value, torch.Tensor) and not value.is_leaf
    }
    return copy.deepcopy(network, memo)


def make_plain(network: nn.Module) -> tuple[str, ...]:
    """Make every computed weight of ``network`` plain, in place; return notes that say so.

    A parametrisation that gives another value each time stays as it is.
    """
    made: dict[str, list[str]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        for name, module, kind, remove in list(computed(network)):
            if remove(module):
                made.setdefault(kind, []).append(name)
    return tuple(_note(kind, names) for kind, names in made.items())


def _note(kind: str, names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (
        f"{kind} of {', '.join(names[:NAMED])}{more} gives plain weights here, of the same values."
    )


Found = tuple[str, nn.Module, str, Callable[[nn.Module], bool]]
"""A parameter's name, its module, what computes it, and what makes it plain."""


def computed(network: nn.Module) -> Iterator[Found]:
    """Yield every parameter of a network that is computed from others."""
    for name, module in network.named_modules():
        for found in _of_module(module):
            parameter, kind, remove = found
            yield f"{name}.{parameter}" if name else parameter, module, kind, remove


def _of_module(module: nn.Module) -> Iterator[tuple[str, str, Callable[[nn.Module], bool]]]:
    """Yield what one module computes; the last that was put on comes off first."""
    for hook in reversed(module._forward_pre_hooks.values()):
        if isinstance(hook, prune.BasePruningMethod):
            name = hook._tensor_name
            yield name, "A mask (torch.nn.utils.prune)", _done(prune.remove, name)
        elif isinstance(hook, WeightNorm):
            yield hook.name, "Weight norm", _done(remove_weight_norm, hook.name)
        elif isinstance(hook, SpectralNorm):
            yield hook.name, "Spectral norm", _done(remove_spectral_norm, hook.name)
    if parametrize.is_parametrized(module):
        for name, parts in cast(nn.ModuleDict, module.parametrizations).items():
            yield name, _kind(parts), _remover(name)


def _kind(parts: nn.Module) -> str:
    kinds = {type(part).__name__.strip("_") for part in parts.children()}
    known = {"WeightNorm": "Weight norm", "SpectralNorm": "Spectral norm"}
    return known.get("".join(kinds), f"The parametrisation {' and '.join(sorted(kinds))}")


def _done(remove: Callable[[nn.Module, str], object], name: str) -> Callable[[nn.Module], bool]:
    def call(module: nn.Module) -> bool:
        remove(module, name)
        return True

    return call


def _remover(name: str) -> Callable[[nn.Module], bool]:
    def call(module: nn.Module) -> bool:
        once, twice = getattr(module, name).detach(), getattr(module, name).detach()
        if not torch.allclose(once, twice, rtol=ROUNDING, atol=0.0, equal_nan=True):
            return False
        parts = [*cast(nn.ModuleDict, module.parametrizations)[name].parameters()]
        parametrize.remove_parametrizations(module, name, leave_parametrized=True)
        if parts:  # torch gives no parameter where none of its parts learns
            learns = any(part.requires_grad for part in parts)
            delattr(module, name)
            module.register_parameter(name, nn.Parameter(once.clone(), requires_grad=learns))
        return True

    return call
