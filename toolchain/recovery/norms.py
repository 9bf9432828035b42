"""Batch norm averaged anew, once what comes in has changed."""

from __future__ import annotations

from collections.abc import Container, Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from toolchain.recovery.hearing import Arguments, run


def average_batch_norm(
    network: nn.Module, inputs: Iterable[Arguments], staying: Container[str] = ()
) -> None:
    """Let batch norm take the plain average of mean and variance over some inputs, in place.

    All else stays in eval mode, as ``network`` does in the end; modules whose names are in
    ``staying`` keep theirs.
    """
    norms = averaged(network, staying)
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        for arguments in inputs:
            run(network, arguments)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()


def averaged(network: nn.Module, staying: Container[str] = ()) -> list[_BatchNorm]:
    """Return the batch norms that hold statistics, but those whose names are in ``staying``."""
    return [
        module
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats and name not in staying
    ]


def remembers(norm: _BatchNorm) -> bool:
    """Tell whether a batch norm was trained: it holds other statistics than a fresh one."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        return False
    return not bool(torch.all(mean == 0) and torch.all(variance == 1))
