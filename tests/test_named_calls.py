"""Norms and PyTorch's own attention: what goes, what stays, and by which name it is told."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from toolchain.pruning.zeroing import zero_filters
from toolchain.recipe import PruneSection
from toolchain.records.reasons import Reason
from toolchain.surgery.removing import cut

IMAGE = torch.zeros(1, 3, 6, 8)


class Tokens(nn.Module):
    """A convolution, its pixels as tokens of 16 channels, a middle, and a head."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.stem, self.middle, self.head = nn.Conv2d(3, 16, 1), middle, nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.middle(self.stem(x).flatten(2).transpose(1, 2)))
        return out


def made(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    for parameter in network.parameters():
        parameter.data.normal_(0.1, 0.4, generator=generator)
    return network.eval()


def left(soft: nn.Module) -> tuple[list[int], set[Reason]]:
    """The widths of the cut network, which is the same in float64, and why zero filters stay."""
    done = cut(soft, IMAGE)
    assert done.exact is not None
    for size in ((6, 8), (5, 11)):
        image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1)).double()
        with torch.no_grad():
            a = copy.deepcopy(soft).double()(image)
            assert float((a - done.exact(image)).abs().max() / a.abs().max()) < 1e-12
    layers = [m for m in done.network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    kept = {item.reason for item in done.surgery.filters if item.verdict == "kept"}
    return [len(layer.weight) for layer in layers], kept


NORMS = {
    "native_layer_norm": lambda: nn.LayerNorm(16),
    "rms_norm": lambda: nn.RMSNorm(16),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_over_channels_keeps_them_by_its_name(name: str) -> None:
    network = made(Tokens(NORMS[name]()))
    network.stem.weight.data[3] = network.stem.bias.data[3] = 0
    assert left(network) == ([16, 2], {Reason("operator", operator=name)})


class SelfAttention(nn.Module):
    """PyTorch's own module."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.inner(x, x, x, need_weights=False)[0]
        return out


def test_multihead_attention_keeps_the_embedding_by_its_name() -> None:
    network = made(Tokens(SelfAttention()))
    for layer in (network.stem, network.middle.inner.out_proj):
        layer.weight.data[3] = layer.bias.data[3] = 0
    reason = Reason("operator", operator="multi_head_attention_forward")
    assert left(network) == ([16, 16, 2], {reason})


def test_what_follows_multihead_attention_goes() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True)
    prune = PruneSection(rate=0.25, protected=())
    assert left(zero_filters(made(Tokens(layer)), IMAGE, prune)) == ([16, 16, 24, 16, 2], set())


@pytest.mark.parametrize("norm", [nn.GroupNorm(4, 16), nn.InstanceNorm2d(16, affine=True)])
def test_a_rate_zeroes_the_shifts_of_norms_so_that_no_constant_is_carried(norm: nn.Module) -> None:
    network = nn.Sequential(nn.Conv2d(3, 16, 1), norm, nn.ReLU(), nn.Conv2d(16, 2, 3, padding=1))
    soft = zero_filters(made(network), IMAGE, PruneSection(rate=0.25, protected=()))
    assert left(soft) == ([12, 2], set())


class Hidden(nn.Module):
    """Code that tells nobody whose number it takes: that of the embedding for the values."""

    def __init__(self) -> None:
        super().__init__()
        self.value, self.proj = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        channels = len(range(x.shape[2]))
        values = self.value(x).unflatten(2, (2, 8)).transpose(2, 3).tanh()
        out: Tensor = x + self.proj(values.reshape(*x.shape[:2], channels))
        return out


def test_what_a_view_counts_elsewhere_stays_and_stops_nothing() -> None:
    network = made(Tokens(Hidden()))
    for layer in (network.stem, network.middle.proj):
        layer.weight.data[3] = layer.bias.data[3] = 0
    widths, kept = left(network)
    assert widths == [16, 16, 16, 2]
    assert {reason.operator for reason in kept} <= {"view", "_unsafe_view"}
