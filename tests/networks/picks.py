"""Code that picks channels by their positions, or begins with another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from networks.numbers import InCode

Picking = Callable[[Tensor, Sequence[int]], Tensor]


class ByAttribute(nn.Module):
    """A function of a value and of a list of positions that lies in an attribute."""

    def __init__(self, function: Picking, positions: list[int]) -> None:
        super().__init__()
        self.function, self.positions = function, positions

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.positions)


class ByBuffer(nn.Module):
    """A function of a value and of a buffer of positions."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], positions: list[int]) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("positions", torch.tensor(positions))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.positions)


def picked(x: Tensor, positions: Sequence[int]) -> Tensor:
    return x[:, positions]


def gathered(x: Tensor, positions: Tensor) -> Tensor:
    index = positions.view(1, -1, 1, 1).expand(x.shape[0], -1, x.shape[2], x.shape[3])
    return x.gather(1, index)


def twice(x: Tensor, positions: Sequence[int]) -> Tensor:
    return torch.cat([x[:, positions], x.tanh()[:, positions]], dim=1)


def in_code(function: Picking, positions: list[int]) -> nn.Module:
    if function is twice:
        return InCode(lambda x: x[:, [2, 0, -1]] * x.tanh()[:, [1, 2, 0]])
    return InCode(lambda x: function(x, list(positions)))


def orders(channels: int) -> list[list[int]]:
    """Reversed by twos, with one repeated, and some of them alone, counted from both ends."""
    swapped = [each ^ 1 if each ^ 1 < channels else each for each in range(channels)]
    return [swapped, [*reversed(range(channels)), 1], [2, 0, -1]]


def order(channels: int, which: int) -> list[int]:
    return orders(channels)[which]


PICKS: dict[str, Callable[[int], nn.Module]] = {
    "swapped_by_attribute": lambda c: ByAttribute(picked, order(c, 0)),
    "some_by_attribute": lambda c: ByAttribute(picked, order(c, 2)),
    "twice_by_attribute": lambda c: ByAttribute(twice, order(c, 2)),
    "swapped_by_number": lambda c: in_code(picked, order(c, 0)),
    "repeated_by_number": lambda c: in_code(picked, order(c, 1)),
    "some_by_number": lambda c: in_code(picked, order(c, 2)),
    "twice_by_number": lambda c: in_code(twice, []),
    "swapped_by_buffer": lambda c: ByBuffer(picked, order(c, 0)),
    "repeated_by_buffer": lambda c: ByBuffer(lambda x, p: x.index_select(1, p), order(c, 1)),
    "some_by_buffer": lambda c: ByBuffer(picked, order(c, 2)),
    "gathered_by_buffer": lambda c: ByBuffer(gathered, order(c, 0)),
    "part_of_a_buffer": lambda c: ByBuffer(lambda x, p: x[:, p[1:]], order(c, 0)),
    "buffer_that_counts": lambda c: ByBuffer(lambda x, p: x[:, p] + p.sum(), order(c, 0)),
    "stepped_by_number": lambda c: InCode(lambda x: x[:, ::2] - x[:, ::2].tanh()),
    "stepped_between_by_number": lambda c: InCode(lambda x: x[:, 1:-1:2]),
    "woven_by_number": lambda c: InCode(lambda x: torch.cat([x[:, 1::2], x[:, ::2]], dim=1)),
    "rolled_by_number": lambda c: InCode(lambda x: x + x.roll(2, dims=1).sigmoid()),
    "rolled_back_by_number": lambda c: InCode(lambda x: torch.roll(x, (-1, 1), (1, 3))),
    "selected_by_number": lambda c: InCode(lambda x: torch.stack([x[:, 2], x[:, -2]], dim=1)),
    "gate_by_one_channel": lambda c: InCode(lambda x: x * x.select(1, 1).sigmoid()[:, None]),
}
