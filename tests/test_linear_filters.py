"""Rows of linear layers are filters: a rate takes them where they can go, and nothing is lost."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import toolchain as tc
from toolchain.pruning.zeroing import zero_and_tell
from toolchain.recipe import PruneSection
from toolchain.surgery.removing import cut

IMAGE = torch.zeros(1, 3, 12, 16)
SIZES = ((12, 16), (7, 9), (24, 20))


class Perceptron(nn.Module):
    """An MLP block of transformers on (n, t, 8)."""

    def __init__(self, *, norm: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8) if norm else nn.Identity()
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.down(F.gelu(self.up(self.norm(x))))
        return out


class Tokens(nn.Module):
    """A convolution, its positions as tokens, two blocks, a head."""

    def __init__(self, *, norm: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.blocks = nn.Sequential(Perceptron(norm=norm), Perceptron(norm=norm))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.blocks(self.stem(x).flatten(2).transpose(1, 2)).mean(1))
        return out


class Gated(nn.Module):
    """Squeeze-and-excitation by linear layers, as most code writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 2, 3, padding=1)
        self.down, self.up = nn.Linear(8, 4), nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        n, c, _, _ = x.size()
        gate = self.up(self.down(F.adaptive_avg_pool2d(x, 1).view(n, c)).relu()).sigmoid()
        out: Tensor = self.last(x * gate.view(n, c, 1, 1).expand_as(x))
        return out


def classifier() -> nn.Module:
    pooled = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten())
    head = nn.Sequential(
        nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 5)
    )
    return nn.Sequential(pooled, head)


def made(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    for parameter in network.parameters():
        parameter.data.normal_(0.2, 0.5, generator=generator)
    return network.eval()


def widths(network: nn.Module) -> dict[str, int]:
    return {
        name: len(module.weight)
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


def difference(before: nn.Module, after: nn.Module | None) -> float:
    """The largest in float64 over several sizes, as a share of the output's magnitude."""
    assert after is not None
    worst = 0.0
    for height, width in SIZES:
        image = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1)) * 4
        with torch.no_grad():
            a = copy.deepcopy(before).double()(image.double())
            worst = max(worst, float((a - after(image.double())).abs().max() / a.abs().max()))
    return worst


def pruned(network: nn.Module, scope: str = "group") -> tuple[dict[str, int], list[str]]:
    """The widths that a rate of a quarter leaves, and what stays though it is zero."""
    prune = PruneSection(rate=0.25, scope=scope, protected=())  # type: ignore[arg-type]
    zeroed = zero_and_tell(made(network), IMAGE, prune)
    done = cut(zeroed.network, IMAGE)
    assert difference(zeroed.network, done.exact) < 1e-12
    kept = [f"{item.layer} {item.index}" for item in done.surgery.filters if item.verdict == "kept"]
    assert sum(zeroed.asked.filters.values()) >= len(kept)
    return widths(done.network), kept


def in_blocks(up: int, down: int) -> dict[str, int]:
    return {
        f"blocks.{block}.{name}": n for block in "01" for name, n in (("up", up), ("down", down))
    }


def test_a_rate_takes_the_inner_width_and_the_stream_of_perceptrons() -> None:
    left, kept = pruned(Tokens(norm=False))
    assert (left, kept) == ({"stem": 6, **in_blocks(12, 6), "head": 3}, [])


def test_a_norm_keeps_the_stream_and_a_rate_takes_the_inner_width() -> None:
    left, kept = pruned(Tokens(norm=True))
    assert (left, kept) == ({"stem": 8, **in_blocks(12, 8), "head": 3}, [])


def test_a_gate_of_linear_layers_is_narrowed_with_what_it_gates() -> None:
    assert pruned(Gated()) == ({"first": 6, "last": 2, "down": 3, "up": 6}, [])


@pytest.mark.parametrize("scope", ["group", "layer"])
def test_a_classifier_loses_all_but_its_classes(scope: str) -> None:
    assert pruned(classifier(), scope) == ({"0.0": 6, "1.0": 12, "1.4": 5}, [])


def test_a_rate_asks_nothing_of_linear_layers_that_must_stay() -> None:
    zeroed = zero_and_tell(made(Tokens(norm=True)), IMAGE, PruneSection(rate=0.25, protected=()))
    assert zeroed.asked.filters == {"blocks.0.up": 4, "blocks.1.up": 4, "stem": 2}
    (held,) = zeroed.asked.left_out
    assert (held.layers, held.reason.operator) == (("stem",), "native_layer_norm")


def test_patterns_protect_linear_layers() -> None:
    prune = PruneSection(rate=0.25, protected=("blocks.0.*",))
    zeroed = zero_and_tell(made(Tokens(norm=True)), IMAGE, prune)
    assert zeroed.asked.filters == {"blocks.1.up": 4}


def test_the_surgery_tells_what_became_of_each_zero_row() -> None:
    network = made(Tokens(norm=True))
    for name, row in (("blocks.0.up", 3), ("blocks.0.down", 2)):
        network.get_submodule(name).weight.data[row] = 0
    surgery = cut(network, IMAGE).surgery
    told = {(item.layer, item.index): (item.verdict, item.reason) for item in surgery.filters}
    assert told["blocks.0.up", 3][0] == "folded"
    verdict, reason = told["blocks.0.down", 2]
    assert (verdict, reason.operator) == ("kept", "native_layer_norm")


def test_a_pruner_says_which_linear_layers_go_and_which_stay() -> None:
    pruner = tc.SoftPruner(made(Tokens(norm=True)), IMAGE, rate=0.25)
    assert [(group.name, group.gone) for group in pruner.groups] == [
        ("blocks.0.up", 4),
        ("blocks.1.up", 4),
    ]
    assert "native_layer_norm" in pruner.left_out["blocks.0.down"]
    assert pruner.left_out["head"] == "they are part of the network's output"


def test_a_pruned_perceptron_comes_back_from_its_file(tmp_path: Path) -> None:
    soft = tc.prune(made(Tokens(norm=True)), IMAGE, rate=0.25)
    small = tc.shrink(soft, IMAGE).network
    tc.save(small, tmp_path / "small.safetensors")
    again = tc.load(tmp_path / "small.safetensors", lambda: Tokens(norm=True)).eval()
    with torch.no_grad():
        assert torch.equal(again(IMAGE + 1), small(IMAGE + 1))
