"""Cutting in float64 where the network runs in it."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from toolchain.records import Surgery
from toolchain.shrink.surgery import shrink


def cut(network: nn.Module, example: Tensor) -> tuple[nn.Module, nn.Module | None, Surgery]:
    """Return the shrunk network, the same before its weights were rounded, and what was done.

    The second is None where the network does not run in float64.
    """
    exact, surgery = shrink(copy.deepcopy(network).double(), example.double())
    return copy.deepcopy(exact).float(), exact, surgery
