"""Numbers of channels in a network's code: they follow, in attributes and in the code itself."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from coming_back import brought_back
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_moving import conv, difference, kept, trained
from torch import Tensor, nn
from torch.nn import functional as F

import toolchain as tc
from toolchain.errors import CheckpointError
from toolchain.models.rewriting import RewritingError, is_rewritten, traced
from toolchain.pruning.zeroing import zero_filters
from toolchain.recipe import PruneSection
from toolchain.records.reasons import Reason
from toolchain.records.stages import Number, Surgery
from toolchain.report.run.ways import ways_words
from toolchain.surgery.removing import shrink

IMAGE = torch.zeros(1, 3, 12, 16)


class Block(nn.Module):
    """A split of which each half is as wide as an attribute says, as in YOLOv8's C2f."""

    def __init__(self) -> None:
        super().__init__()
        self.c = 8
        self.first, self.inner, self.last = conv(6, 16), conv(8, 8), conv(24, 6)

    def parts(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.first(x).split((self.c, self.c), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.parts(x))
        y.append(self.inner(y[-1]))
        out: Tensor = self.last(torch.cat(y, dim=1))
        return out


class InCode(Block):
    """The same with numbers in the code."""

    def parts(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.first(x).split((8, 8), dim=1)


class Whole(nn.Module):
    """A network with a block in it."""

    def __init__(self, block: type[nn.Module] = Block) -> None:
        super().__init__()
        self.stem, self.block, self.head = conv(3, 6), block(), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.block(self.stem(x)))
        return out


class WholeInCode(Whole):
    def __init__(self) -> None:
        super().__init__(InCode)


def soft(network: nn.Module, *zeroed: int, layer: str = "block.first.0") -> nn.Module:
    """The network with some filters of a layer zeroed in the weights alone."""
    network = trained(network)
    network.get_submodule(layer).weight.data[list(zeroed)] = 0
    return network


def number(place: str, before: int, after: int) -> Number:
    return Number("block", place, before, after)


def test_an_attribute_follows_and_the_class_stays() -> None:
    whole = soft(Whole(), 0, 1, 2, 9)
    small, surgery = shrink(whole, IMAGE)
    assert type(small.block) is Block
    assert small.block.c == 7
    assert surgery.numbers == (number("c", 8, 7),)
    assert kept(surgery) == [Reason("parts", operator="split")] * 2
    assert difference(whole, small) < 1e-6


def test_numbers_in_the_code_follow_each_on_its_own() -> None:
    whole = soft(WholeInCode(), 0, 1, 2)
    small, surgery = shrink(whole, IMAGE)
    assert surgery.numbers == (number("split:1.0", 8, 5),)
    assert (small.block.first[0].out_channels, kept(surgery)) == (13, [])
    assert difference(whole, small) < 1e-6


def test_what_was_not_in_the_way_keeps_its_forward() -> None:
    small, _ = shrink(soft(WholeInCode(), 1, layer="stem.0"), IMAGE)
    assert small.stem[0].out_channels == 5
    assert not any(map(is_rewritten, small.modules()))


@pytest.mark.parametrize("kind", [Whole, WholeInCode])
def test_a_rate_zeroes_what_can_go(kind: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    whole = zero_filters(trained(kind()), IMAGE, PruneSection(rate=0.25, scope="group"))
    small, surgery = shrink(whole, IMAGE)
    assert kept(surgery) == []
    assert small.block.first[0].out_channels == 12
    assert difference(whole, small) < 1e-6


@pytest.mark.parametrize("kind", [Whole, WholeInCode])
def test_a_network_with_other_numbers_trains_and_comes_back(
    kind: Callable[[], nn.Module], tmp_path: Path
) -> None:
    small, _ = shrink(soft(kind(), 0, 1, 8, 9), IMAGE)
    image = torch.randn(2, 3, 9, 11)
    small.train()(image).sum().backward()
    assert all(parameter.grad is not None for parameter in small.parameters())
    small.eval()
    for other in brought_back(small, kind, tmp_path):
        assert isinstance(other.block, Block)
        with torch.no_grad():
            assert torch.equal(other(image), small(image))


def test_a_network_with_other_numbers_is_cut_again() -> None:
    small, _ = shrink(soft(WholeInCode(), 0, 8), IMAGE)
    whole = soft(copy.deepcopy(small), 0, 1)
    smaller, surgery = shrink(whole, IMAGE)
    assert surgery.numbers == (number("split:1.0", 7, 5),)
    assert difference(whole, smaller) < 1e-6


@pytest.mark.slow
def test_an_exported_network_runs_at_any_size(tmp_path: Path) -> None:
    made = tc.shrink(soft(WholeInCode(), 0, 1, 8), IMAGE)
    exported = torch.export.export(
        made.network,
        (torch.randn(1, 3, 12, 16),),
        dynamic_shapes=({2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO},),
    )
    image = torch.randn(1, 3, 9, 11)
    with torch.no_grad():
        assert torch.allclose(exported.module()(image), made.network(image))


def with_numbers(path: Path, numbers: object) -> None:
    """Write a file of :func:`tc.save` again with other numbers."""
    with safe_open(path, "pt") as file:
        (key, text), *_ = file.metadata().items()
    content = json.dumps({**json.loads(text), "numbers": numbers})
    save_file(load_file(path), path, metadata={key: content})


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"block": {"c": [9, 7]}}, "c of block must be 9 (got 8)"),
        ({"block": {"c": [8, 9]}}, "c of block must be 8"),
        ({"block": {"forward": [8, 7]}}, "forward of block must be 8 (got None)"),
        ({"block": {"split:1.7": [8, 7]}}, "split:1.7 must be 8 (got nothing)"),
        ({"other": {"c": [8, 7]}}, "the network has no module other"),
        ({"block": {"c": [8, "7"]}}, "damaged"),
        ([3], "damaged"),
    ],
)
def test_numbers_of_a_file_are_those_of_the_network(
    numbers: object, words: str, tmp_path: Path
) -> None:
    small, _ = shrink(soft(Whole(), 0, 8), IMAGE)
    tc.save(small, tmp_path / "small.safetensors")
    with_numbers(tmp_path / "small.safetensors", numbers)
    with pytest.raises(CheckpointError) as refused:
        tc.load(tmp_path / "small.safetensors", Whole)
    assert words in str(refused.value)


class Flat(nn.Module):
    """PyTorch's own example: a number of features before a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 8, 5)
        self.first, self.last = nn.Linear(128, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.b(F.relu(F.max_pool2d(self.a(x), 2))), 2)).view(-1, 128)
        out: Tensor = self.last(F.relu(self.first(x)))
        return out


def test_a_number_of_features_follows() -> None:
    torch.manual_seed(1)
    whole = soft(Flat(), 2, 5, layer="b")
    whole.b.bias.data[[2, 5]] = 0
    small, surgery = shrink(whole, torch.zeros(1, 1, 28, 28))
    assert (small.first.in_features, surgery.numbers) == (96, (Number("", "view:2", 128, 96),))


class SubSpectral(nn.Module):
    """BC-ResNet's norm: each band of rows has scales of its own, by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.channels, self.bands = 16, 4
        self.norm = nn.BatchNorm2d(64)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        bands = x.view(n, self.channels * self.bands, h // self.bands, w)
        out: Tensor = self.norm(bands).view(n, self.channels, h, w)
        return out


def test_a_norm_of_bands_loses_all_bands_of_a_channel() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(conv(3, 16), SubSpectral(), nn.ReLU(), nn.Conv2d(16, 2, 3))
    whole = zero_filters(trained(network), IMAGE, PruneSection(rate=0.25, scope="group"))
    small, surgery = shrink(whole, IMAGE)
    assert (small[1].channels, small[1].bands, small[1].norm.num_features) == (12, 4, 48)
    assert kept(surgery) == []
    image = torch.randn(2, 3, 8, 9, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(whole.double()(image), small.double()(image), atol=1e-6)


class Scaled(Block):
    """An attribute that also scales what comes: another number would scale it otherwise."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / self.c


class InTraining(InCode):
    """Code that does something else in training."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(super().forward(x), 0.5, self.training)


class Optional(InCode):
    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        return super().forward(x if other is None else x + other)


@pytest.mark.parametrize("block", [Scaled, InTraining, Optional])
def test_what_cannot_follow_keeps_its_channels(block: type[nn.Module]) -> None:
    whole = soft(Whole(block), 0, 1, 8, 9)
    small, surgery = shrink(whole, IMAGE)
    assert small.block.first[0].out_channels == 16
    assert (surgery.numbers, len(kept(surgery))) == ((), 4)
    assert difference(whole, small) < 1e-6


@pytest.mark.parametrize(
    ("block", "words"),
    [(InTraining, "asks whether it is in training"), (Optional, "has optional arguments")],
)
def test_code_that_cannot_be_written_anew_is_told(block: type[nn.Module], words: str) -> None:
    with pytest.raises(RewritingError, match=words):
        traced(block())


def test_the_report_says_which_way_was_taken() -> None:
    surgery = Surgery(
        2,
        (),
        (),
        by_arithmetic=("split", "view"),
        numbers=(number("c", 32, 22), Number("", "getitem_4:1.1.stop", 8, 4)),
    )
    assert list(ways_words(surgery)) == [
        "channels that aten.split and aten.view put elsewhere went by the code's own arithmetic",
        "numbers of channels in attributes were set: c of block from 32 to 22",
        "numbers of channels in the code were replaced, by writing forward anew: in a slice of the "
        "network from 8 to 4",
    ]
