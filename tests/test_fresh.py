"""Copies of networks that share nothing with the network but what is shared within it."""

from __future__ import annotations

import torch
from torch import nn

from toolchain.surgery.running import fresh


class Shared(nn.Module):
    """Two layers with one weight, two with one buffer, and a buffer that is a view of another."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)
        self.second.weight = self.first.weight
        self.left, self.right = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
        self.right.running_mean = self.left.running_mean
        self.register_buffer("whole", torch.arange(6.0))
        self.register_buffer("part", self.whole[:3])


def test_a_copy_keeps_its_hooks_to_itself() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU())
    copied = fresh(network)
    seen: list[str] = []
    copied[0].register_forward_hook(lambda *_: seen.append("copy"))
    copied.register_forward_pre_hook(lambda *_: seen.append("copy"))
    network(torch.zeros(1, 1, 1, 1))
    assert seen == []
    copied(torch.zeros(1, 1, 1, 1))
    assert seen == ["copy", "copy"]
    copied[0].register_parameter("more", nn.Parameter(torch.zeros(1)))
    copied[1].register_buffer("more", torch.zeros(1))
    copied.add_module("more", nn.ReLU())
    assert [name for name, _ in network.named_parameters()] == ["0.weight", "0.bias"]
    assert not list(network.buffers())
    assert len(network) == 2


def test_what_is_shared_stays_shared_and_nothing_is_shared_with_the_network() -> None:
    network = Shared()
    copied = fresh(network)
    assert copied.first.weight is copied.second.weight
    assert copied.left.running_mean is copied.right.running_mean
    ours = {each.data_ptr() for each in (*network.parameters(), *network.buffers())}
    theirs = {each.data_ptr() for each in (*copied.parameters(), *copied.buffers())}
    assert not ours & theirs
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(copied.state_dict()[name], tensor, rtol=0, atol=0)


def test_a_buffer_of_a_copy_can_be_written_without_another() -> None:
    """Of a view, too, which in the network is one memory with what it is a view of."""
    copied = fresh(Shared())
    copied.part.fill_(9)
    assert copied.whole.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_hook_of_the_network_goes_into_the_copy() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1))
    network[0].register_forward_hook(lambda module, args, out: out + 1)
    image = torch.zeros(1, 1, 1, 1)
    torch.testing.assert_close(fresh(network)(image), network(image))
