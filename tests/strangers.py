"""A stranger's network, weights for it, and loading them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from toolchain.errors import CheckpointError
from toolchain.models.choosing import PLAIN, Choice
from toolchain.models.layouts import read_checkpoint
from toolchain.models.weights import load_into

State = dict[str, Tensor]


class Small(nn.Module):
    """Two convolutions and a batch norm."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8))
        self.head = nn.Conv2d(8, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.body(x).relu())
        return result


def drawn(seed: int = 5) -> State:
    """Weights that no other seed has, and no fresh network."""
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: torch.rand(tensor.shape, generator=generator) + 0.5
        for name, tensor in Small().state_dict().items()
        if tensor.is_floating_point()
    }
    return state | {"body.1.num_batches_tracked": torch.tensor(10 + seed)}


PLAIN_WEIGHTS, AVERAGED, OTHERS = drawn(1), drawn(2), drawn(3)


def under(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def saved(folder: Path, content: object, name: str = "w.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


def load(
    path: Path, choice: Choice = PLAIN, network: nn.Module | None = None
) -> tuple[State, tuple[str, ...]]:
    """Return the network's tensors after loading, and the notes."""
    network = network or Small()
    notes = load_into(network, read_checkpoint(path), "mine:Small", choice)
    return dict(network.state_dict()), notes


def refusal(path: Path, choice: Choice = PLAIN, network: nn.Module | None = None) -> str:
    network = network or Small()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load(path, choice, network)
    assert_same(dict(network.state_dict()), before)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert path.name in message
    return message


def assert_same(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
