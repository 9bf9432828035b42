"""Zeroing filters once, in a copy, without a training around it."""

from __future__ import annotations

from typing import Unpack

from torch import nn

from toolchain.library.pruner import SoftPruner
from toolchain.library.pruner_arguments import PrunerOptions
from toolchain.library.taking import Example, copied


def prune(network: nn.Module, example: Example, **arguments: Unpack[PrunerOptions]) -> nn.Module:
    """Return a copy of ``network`` with filters zeroed, once; ``network`` stays as it is.

    ``arguments`` are those of :class:`SoftPruner`:

        soft = toolchain.prune(net, torch.zeros(1, 3, 320, 320), rate=0.3, round_to=8)

    The copy has the mode, types and device of ``network``, without DistributedDataParallel and
    other wrappers. Raises what :class:`SoftPruner` raises.
    """
    soft = copied(network) if isinstance(network, nn.Module) else network
    SoftPruner(soft, example, **arguments).step()
    return soft
