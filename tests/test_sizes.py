"""What is constant at the sizes that the surgery looks at may be another constant at others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hand_checked import randomised
from torch import Tensor, nn
from torch.nn import functional as F

from toolchain.surgery.constants import Combination, broken
from toolchain.surgery.readers import PackedReader, Reader
from toolchain.surgery.removing import cut
from toolchain.surgery.running import working_copy
from toolchain.surgery.sizes import checking_sizes

IMAGE = torch.zeros(1, 3, 16, 16)


class Neighbours(nn.Module):
    """Of four pixels one, then the sum of a constant and its upper and lower neighbours.

    The first channel's ReLU lets the sum pass only in rows that have no such neighbour inside, or
    only in rows that have both.
    """

    def __init__(self, distance: int, weight: float, bias: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 2, 3, stride=4, padding=1)
        self.second = nn.Conv2d(2, 2, (3, 1), padding=(distance, 0), dilation=(distance, 1))
        self.head = nn.Conv2d(2, 1, 1)
        randomised(self)
        with torch.no_grad():
            self.first.weight[0], self.first.bias[0] = 0, 1
            self.second.weight[0] = 0
            self.second.weight[0, 0, ::2, 0] = weight
            self.second.bias[0] = bias

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.second(self.first(x))))


@pytest.mark.parametrize(
    ("network", "sizes"),
    [
        (Neighbours(2, -1.0, 1.0), ((11, 13), (9, 40), (5, 5), (1, 1), (40, 40))),
        (Neighbours(8, 1.0, -1.5), ((72, 72), (90, 31), (16, 16))),
    ],
    ids=["a map that the kernel overlaps on both sides", "a map wider than any seen"],
)
def test_constants_of_other_sizes_are_not_lost(
    network: nn.Module, sizes: tuple[tuple[int, int], ...]
) -> None:
    exact, soft = cut(network, IMAGE).exact, network.double()
    assert exact is not None
    for size in sizes:
        image = torch.randn(2, 3, *size, dtype=torch.float64)
        torch.testing.assert_close(exact(image), soft(image), rtol=1e-13, atol=1e-13)


def test_a_constant_that_every_size_has_still_goes() -> None:
    network = Neighbours(2, -1.0, -1.0)  # below zero in any row
    after = cut(network, IMAGE).network
    assert (after.second.in_channels, after.second.out_channels) == (2, 1)


def test_what_nearly_holds_at_another_size_does_not_hold() -> None:
    """Averages over borders are nearly a combination of each other; 1e-11 shows in an output."""
    ones = np.ones(4)
    reader = PackedReader.of(Reader("head", True, maps={0: ones}, classes={0: 7}))
    combination = {0: Combination(1.0, {})}
    assert broken(reader, combination, {0: ones * (1 + 1e-11)}) == {7}
    assert broken(reader, combination, {0: ones * (1 + 1e-14)}) == set()


def test_short_sides_go_with_short_with_usual_and_with_long_ones() -> None:
    working = working_copy(nn.Conv2d(3, 2, 3, padding=1), (IMAGE,))
    found = [each[0][0].shape[2:] for each in checking_sizes(working, (IMAGE,), [(IMAGE,)])]
    assert {(5, 5), (11, 11), (5, 16), (16, 11), (65, 11), (11, 65)} <= set(found)
    assert len(set(found)) == len(found)


def test_a_network_of_multiples_is_checked_at_small_multiples() -> None:
    ran = set[tuple[int, ...]]()

    class Multiples(Neighbours):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = super().forward(x)
            out.unflatten(2, (-1, 8)).unflatten(4, (-1, 8))  # a quarter of 32 pixels
            ran.add(tuple(x.shape[2:]))
            return out

    cut(Multiples(2, -1.0, -1.0), torch.zeros(1, 3, 96, 96))
    assert {(32, 32), (64, 64), (32, 96), (96, 32), (416, 32)} < ran


def test_another_image_of_half_the_size_keeps_half_of_it() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor, half: Tensor) -> Tensor:
            return self.layer(x)[:, :, ::2, ::2] + half

    working = working_copy(Two(), inputs := (IMAGE, torch.zeros(1, 3, 8, 8)))
    for x, half in (each[0] for each in checking_sizes(working, inputs, [inputs])):
        assert half.shape[2:] == (-(-x.shape[2] // 2), -(-x.shape[3] // 2))
