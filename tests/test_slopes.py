"""PReLU with one slope: what it gives, its gradients, and that the network is left as it was."""

from __future__ import annotations

import torch
from torch import nn

from toolchain.train.slopes import quick_slopes


def test_values_and_gradients_are_those_of_prelu() -> None:
    x = torch.randn(2, 5, 4, 3, dtype=torch.float64, requires_grad=True)
    module = nn.PReLU(dtype=torch.float64)
    plain = module(x)
    expected = torch.autograd.grad(plain.square().sum(), (x, module.weight))
    with quick_slopes(module):
        quick = module(x)
        assert type(module) is not nn.PReLU
        assert torch.autograd.gradcheck(lambda x, _: module(x), (x, module.weight))
    assert type(module) is nn.PReLU
    torch.testing.assert_close(quick, plain)
    torch.testing.assert_close(
        torch.autograd.grad(quick.square().sum(), (x, module.weight)), expected
    )


def test_a_slope_for_each_channel_is_left_to_pytorch() -> None:
    network = nn.Sequential(nn.PReLU(5), nn.ReLU())
    with quick_slopes(network):
        assert type(network[0]) is nn.PReLU
