"""Small networks of a user's own, for ``module:factory``."""

from __future__ import annotations

import torch
import torch.nn.utils.prune
from torch import Tensor, nn
from torch.nn import functional as F


class Tiny(nn.Module):
    """A residual classifier with two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.SiLU())
        self.heads = nn.ModuleList([nn.Linear(16, 5), nn.Linear(16, 2)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) -> (N, 5), (N, 2)."""
        x = self.stem(x)
        x = (x + self.block(x)).mean((2, 3))
        return self.heads[0](x), self.heads[1](x)


class Convolutions(nn.Module):
    """A residual stream and what is between, by convolutions alone."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.inner = nn.Conv2d(16, 12, 3, padding=1)
        self.end = nn.Conv2d(12, 16, 3, padding=1)
        self.head = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 2, H / 2, W / 2)."""
        x = self.stem(x).relu()
        out: Tensor = self.head(x + self.end(self.inner(x).relu()))
        return out


class Faces(nn.Module):
    """A face detector of two levels, strides 4 and 8."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 5, 4, 2)
        self.down = nn.Conv2d(8, 8, 3, 2, 1)
        self.loc = nn.ModuleList([nn.Conv2d(8, 4, 3, padding=1) for _ in range(2)])
        self.conf = nn.ModuleList([nn.Conv2d(8, 2, 3, padding=1) for _ in range(2)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) -> loc (N, P, 4), logits (N, P, 2)."""
        fine = F.relu(self.stem(x))
        levels = (fine, F.relu(self.down(fine)))
        outputs = [
            [
                head(level).flatten(2).transpose(1, 2)
                for head, level in zip(heads, levels, strict=True)
            ]
            for heads in (self.loc, self.conf)
        ]
        return torch.cat(outputs[0], 1), torch.cat(outputs[1], 1)


class Unlucky(nn.Module):
    """Looks shrinkable, but its code counts on the width that it was built with."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by the number of channels, which the surgery changes."""
        x = self.first(x)
        return self.head(x * x.shape[1])


class Moody(nn.Module):
    """Decides by what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return one thing or another."""
        x = self.first(x)
        return x if float(x.mean()) > 0 else F.relu(x)


class Mixed(nn.Module):
    """Mixes 24 channels; 8 others are free."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 1)
        self.body = nn.Conv2d(24, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 2, H, W)."""
        out: Tensor = self.head(self.body(self.stem(x).softmax(dim=1)).relu())
        return out


class AllMixed(nn.Module):
    """Mixes all channels, so that none can go."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.second = nn.Conv2d(8, 12, 3, padding=1)
        self.head = nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 2, H, W)."""
        out: Tensor = self.head(self.second(self.first(x).softmax(dim=1)).softmax(dim=1))
        return out


def masked() -> nn.Module:
    """Return convolutions of which torch.nn.utils.prune masks four of the 16 first filters."""
    network = Convolutions()
    mask = torch.ones(16, 3, 3, 3)
    mask[:4] = 0
    torch.nn.utils.prune.custom_from_mask(network.stem, "weight", mask)
    torch.nn.utils.prune.custom_from_mask(network.end, "weight", mask[:, :1].expand(16, 12, 3, 3))
    return network


def weight_normed() -> nn.Module:
    """Return convolutions of which one has weight norm."""
    network = Convolutions()
    torch.nn.utils.parametrizations.weight_norm(network.inner)
    return network


def raises() -> nn.Module:
    """Fail to build."""
    raise ValueError("no luck")


def number() -> int:
    """Not a network."""
    return 3


def unlucky() -> nn.Module:
    """Return a network whose surgery cannot be exact, two filters of it zeroed."""
    network = Unlucky()
    with torch.no_grad():
        network.first.weight[:2] = 0
    return network
