"""A trained classifier from a plain .pth: pruned once, shrunk, and saved as a .pth again.

python -m toolchain.recipes.examples.classifier_from_checkpoint
"""

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

import toolchain as tc


class Residual(nn.Module):
    """Two convolutions and what goes around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(x + self.norm2(self.conv2(inner)))


def classifier() -> nn.Sequential:
    """Return the network that the checkpoint is of."""
    stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, padding=1), nn.BatchNorm2d(32), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    return nn.Sequential(stem, Residual(32), Residual(32), head)


def main(folder: Path) -> tuple[nn.Module, nn.Module]:
    """Prune and shrink ``folder / "trained.pth"``; return the network with zeros and the small."""
    path = folder / "trained.pth"
    if not path.exists():  # stands for a training
        torch.save({"state_dict": classifier().state_dict()}, path)
    net, example = classifier(), torch.zeros(1, 3, 32, 32)
    net.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    soft = tc.prune(net.eval(), example, rate={"0.*": 0.25, "1.*": 0.25, "2.*": 0.5}, round_to=8)
    small = tc.shrink(soft, example).network
    torch.save(small.state_dict(), folder / "small.pth")
    print(f"{path.stat().st_size:,} bytes -> {(folder / 'small.pth').stat().st_size:,}")
    return soft, small


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        main(Path(place))
