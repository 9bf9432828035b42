"""Constants that lie in a network: grids, anchors, tables of scales, fixed indices."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

MOST_PIXELS = 96


class WithBuffer(nn.Module):
    """A function of a value and of a tensor that is kept in a buffer."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], constant: Tensor) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("constant", constant)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.constant)


class CachedGrid(nn.Module):
    """Adds a grid that is made anew when the size changes, as YOLO's heads do."""

    def __init__(self) -> None:
        super().__init__()
        self.grid: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if self.grid is None or self.grid.shape[2:] != x.shape[2:]:
            rows = torch.arange(height, dtype=x.dtype)[:, None].expand(height, width)
            self.grid = rows[None, None]  # whole numbers: the same in every type
        return x + 0.1 * self.grid.to(x.dtype)


def grid(x: Tensor, constant: Tensor) -> Tensor:
    return (x.sigmoid() * 2 + constant[:, :, : x.shape[2], : x.shape[3]]) * 8


CONSTANTS: dict[str, Callable[[int], nn.Module]] = {
    "grid": lambda c: WithBuffer(grid, torch.rand(1, 1, MOST_PIXELS, MOST_PIXELS).cumsum(3)),
    "anchors": lambda c: WithBuffer(lambda x, a: x.exp().clamp(max=50) * a, torch.rand(c, 1, 1)),
    "scale_table": lambda c: WithBuffer(
        lambda x, table: x * table[[2, 0, 1]].sum() + table[1], torch.rand(3)
    ),
    "permuted_by_buffer": lambda c: WithBuffer(lambda x, order: x[:, order], torch.randperm(c)),
    "chosen_by_buffer": lambda c: WithBuffer(
        lambda x, order: x.index_select(1, order), torch.arange(0, c, 2)
    ),
    "masked_by_buffer": lambda c: WithBuffer(
        lambda x, mask: x * mask[:, None, None], (torch.arange(c) % 3 > 0).float()
    ),
    "cached_grid": lambda c: CachedGrid(),
}
