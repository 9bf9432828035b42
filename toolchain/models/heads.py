"""What the S3FD-style heads of both detectors share."""

from __future__ import annotations

import torch
from torch import Tensor


def flatten_levels(
    loc: list[Tensor], conf: list[Tensor], background_classes: int
) -> tuple[Tensor, Tensor]:
    """Join the levels' head outputs into ``loc`` (N, P, 4) and ``logits`` (N, P, 2).

    ``loc[i]`` is (N, 4, H_i, W_i) and ``conf[i]`` (N, 2, H_i, W_i), but ``conf[0]`` has
    ``background_classes`` background channels, of which the largest counts (S3FD's max-out).
    """
    background = conf[0][:, :background_classes].amax(dim=1, keepdim=True)
    first = torch.cat([background, conf[0][:, background_classes:]], dim=1)
    return (
        torch.cat([_cells_first(level) for level in loc], dim=1),
        torch.cat([_cells_first(level) for level in [first, *conf[1:]]], dim=1),
    )


def _cells_first(level: Tensor) -> Tensor:
    """(N, K, H, W) -> (N, H * W, K)."""
    return level.flatten(2).transpose(1, 2)
