"""A small network, its pruner and a loop that trains it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

import toolchain as tc


class Net(nn.Module):
    """A residual stream of 8 channels, a branch of 12, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.inner = nn.Sequential(nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU())
        self.outer = nn.Sequential(nn.Conv2d(12, 8, 1), nn.BatchNorm2d(8))
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        result: Tensor = self.head(torch.relu(x + self.outer(self.inner(x))))
        return result


EXAMPLE = torch.zeros(1, 3, 16, 16)
STREAM, BRANCH = "stem.0", "inner.0"


def new(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    net = Net()
    for module in net.modules():  # batch norm as after some training
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return net


def pruner_of(net: nn.Module, **arguments: Any) -> tc.SoftPruner:
    return tc.SoftPruner(net, EXAMPLE, **{"rate": 0.25, **arguments})


def zero_rows(weight: Tensor) -> list[int]:
    return [int(i) for i in (weight.flatten(1) == 0).all(dim=1).nonzero()]


def train(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int,
    after: Callable[[], object] = lambda: None,
) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(2, 3, 16, 16, generator=generator)
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
        after()


def sgd(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)
