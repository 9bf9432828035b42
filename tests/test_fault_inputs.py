"""Inputs that find what noise alone does not."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toolchain.checking.inputs import fault_inputs
from toolchain.checking.parity import compare, random_inputs, run_network

EXAMPLE = torch.zeros(1, 3, 24, 32)
GIVEN = (-128.0, 128.0)


def test_every_kind_is_there_in_the_example_s_shape() -> None:
    found = {proof.name: proof.image for proof in fault_inputs(EXAMPLE, 0, GIVEN)}
    assert len(found) == 8
    assert all(image.shape == EXAMPLE.shape for image in found.values())
    assert all(image.dtype == torch.float32 for image in found.values())
    assert float(found["bright"].min()) == -float(found["dark"].max()) == 128
    assert int((found["a bright pixel in each corner"] != 0).sum()) == 3 * 4
    assert int((found["a bright pixel in the middle"] != 0).sum()) == 3
    ramp = found["a ramp"]
    assert float(ramp.max()) == 128
    assert float(ramp[0, 1, 0, 0]) == -128
    assert torch.allclose(ramp[0, 0, 0], ramp[0, 1, 0].flip(0), atol=1e-4)  # the other way round


class OnlyOnBright(nn.Module):
    """A branch that noise of mean zero never wakes: it needs a whole neighbourhood of 100."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True) + self.shift * F.relu(F.avg_pool2d(x, 8).mean() - 100)


def test_a_branch_that_noise_keeps_dead_is_seen() -> None:
    sides = run_network(OnlyOnBright(0)), run_network(OnlyOnBright(1))
    noise = random_inputs([tuple(EXAMPLE.shape)], 0)
    assert compare("a -> b", *sides, noise, limit=1e-5).passed
    found = compare("a -> b", *sides, [*noise, *fault_inputs(EXAMPLE, 0, GIVEN)], limit=1e-5)
    assert not found.passed
    assert found.worst_case is not None
    assert found.worst_case.input == "bright"
