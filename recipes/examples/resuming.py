"""A training with soft pruning that is stopped and gone on with: the same weights, bit for bit.

python -m toolchain.recipes.examples.resuming
"""

import tempfile
from pathlib import Path

import torch
from torch import nn

import toolchain as tc

EPOCHS, HOLD, STEPS = 6, 4, 5
"""Filters are chosen after each epoch up to ``HOLD``, and held from then on."""


def train(path: Path, last: int) -> nn.Module:
    """Train up to epoch ``last``, from the checkpoint at ``path`` if there is one; return it."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
    net = nn.Sequential(first, nn.BatchNorm2d(8), nn.ReLU(), second, nn.ReLU(), nn.Conv2d(12, 1, 1))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    pruner = tc.SoftPruner(net, torch.zeros(1, 1, 16, 16), rate=0.25)
    pruner.attach(optimizer)
    begin = 0
    if path.exists():
        kept = torch.load(path, weights_only=True)
        net.load_state_dict(kept["net"])
        optimizer.load_state_dict(kept["optimizer"])
        pruner.load_state_dict(kept["pruner"])  # after the weights: held zeros are zeroed again
        begin = kept["epoch"]
    for epoch in range(begin, last):
        generator = torch.Generator().manual_seed(epoch)  # each epoch sees what it would have seen
        for _ in range(STEPS):
            images = torch.rand(4, 1, 16, 16, generator=generator)
            optimizer.zero_grad()
            (net(images) - images).square().mean().backward()
            optimizer.step()
        pruner.step()
        if epoch + 1 == HOLD:
            pruner.hold()
    state = {"net": net.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save({"epoch": last, **state, "pruner": pruner.state_dict()}, path)
    return net


def main(folder: Path) -> tuple[nn.Module, nn.Module]:
    """Train in one go, and in three; return both networks."""
    whole = train(folder / "whole.pth", EPOCHS)
    return whole, [train(folder / "parts.pth", last) for last in (2, 5, EPOCHS)][-1]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        one, other = main(Path(place))
    assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))
