"""Multiply-accumulates of the operators that multiply."""

from __future__ import annotations

import math
from typing import Any

HIDDEN = tuple("attention conv mm matmul mv dot trilinear cdist lstm gru rnn einsum fft".split())
"""An operator without a rule whose name holds one of these is reported as not counted. Every
other operator has none by definition (element-wise, data movement)."""


def convolution(args: tuple[Any, ...], out: Any) -> int:
    """Each weight once for each place of the output; of the input where it is transposed."""
    x, weight, transposed = args[0], args[1], args[6]
    positions = math.prod(x.shape[2:]) if transposed else math.prod(out.shape[2:])
    return int(x.shape[0] * positions * weight.numel())


def matrix_product(args: tuple[Any, ...], out: Any) -> int:
    """Each entry of the product is a sum over the last dimension of the left factor."""
    left = args[-2]
    return int(out.numel() * left.shape[-1])
