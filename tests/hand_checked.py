"""Small networks whose surgery is worked out by hand, and how two of them are compared."""

from __future__ import annotations

import torch
from torch import nn

from toolchain.records.stages import Surgery

IMAGE = torch.zeros(1, 3, 24, 20)


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter and statistic a random value."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in [*network.parameters(), *network.buffers()]:
        if tensor.is_floating_point():
            tensor.data = torch.randn(tensor.shape, generator=generator)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.abs_().add_(0.5)
    return network.eval()


def difference(before: nn.Module, after: nn.Module, *sizes: tuple[int, int]) -> float:
    """Largest difference over the output's range, over sizes and two images each."""
    worst = 0.0
    generator = torch.Generator().manual_seed(7)
    for height, width in sizes or ((24, 20), (17, 31), (5, 6)):
        image = torch.randn(2, 3, height, width, generator=generator) * 10
        with torch.no_grad():
            a, b = before(image), after(image)
        worst = max(worst, float((a - b).abs().max() / (a.max() - a.min())))
    return worst


def verdicts(surgery: Surgery) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item in surgery.filters:
        found.setdefault(item.layer, []).append(item.verdict)
    return found


def two_convolutions(
    kernel: int, padding: int, mode: str = "zeros", norm: bool = True
) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 5, kernel, padding=padding, padding_mode=mode),
    )
