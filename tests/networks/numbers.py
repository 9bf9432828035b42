"""Code that holds numbers of channels: in attributes, or where it cuts them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class InCode(nn.Module):
    """A function with numbers in it."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class InAttributes(nn.Module):
    """A function of a value and of two numbers of channels that lie in attributes."""

    def __init__(self, function: Callable[[Tensor, int, int], Tensor], channels: int) -> None:
        super().__init__()
        self.function = function
        self.first, self.rest = channels // 2, channels - channels // 2

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.first, self.rest)


def halves(x: Tensor, first: int, rest: int) -> Tensor:
    a, b = x.split((first, rest), dim=1)
    return torch.cat([b.sigmoid() * 2, a], dim=1)


def slices(x: Tensor, first: int, rest: int) -> Tensor:
    return torch.cat([x[:, first:].tanh(), x[:, :first], x[:, -rest:]], dim=1)


def paired(x: Tensor, first: int, rest: int) -> Tensor:
    n, _, h, w = x.shape
    return x.view(n, 2, first, h, w).transpose(1, 2).reshape(n, 2 * first, h, w) * rest


def doubled(x: Tensor, first: int, rest: int) -> Tensor:
    return x.narrow(1, 0, first + rest) + x.unflatten(1, (first + rest, 1)).amax(dim=2)


FUNCTIONS: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "halves": halves,
    "slices": slices,
    "paired": paired,
    "doubled": doubled,
}


def in_code(function: Callable[[Tensor, int, int], Tensor], channels: int) -> nn.Module:
    first = channels // 2
    return InCode(lambda x: function(x, first, channels - first))


NUMBERS: dict[str, Callable[[int], nn.Module]] = {
    **{
        f"{name}_by_attribute": lambda c, function=function: InAttributes(function, c)
        for name, function in FUNCTIONS.items()
    },
    **{
        f"{name}_by_number": lambda c, function=function: in_code(function, c)
        for name, function in FUNCTIONS.items()
    },
}
