"""Blocks that learn on their own are those that one would choose."""

from __future__ import annotations

import pytest
import torch
from teaching import Detector, Mobile, Residual, Split, plain, unit
from torch import Tensor, nn

from toolchain.errors import InputError
from toolchain.recovery.block import Blocks
from toolchain.recovery.blocks import find_blocks, named_blocks
from toolchain.recovery.tree import tree_lines

EXAMPLE = torch.zeros(1, 3, 32, 32)


def found(network: nn.Module) -> Blocks:
    return find_blocks(network.eval(), EXAMPLE)


def modules(network: nn.Module) -> list[str]:
    return ["+".join(block.modules) for block in found(network).blocks]


def test_a_residual_network_has_its_stem_its_residual_blocks_and_its_head() -> None:
    blocks = found(Residual())
    assert ["+".join(block.modules) for block in blocks.blocks] == [
        "conv1+bn1+relu", "layer1.0", "layer1.1", "layer2.0", "layer2.1", "fc"
    ]  # fmt: skip
    assert [block.name for block in blocks.stages] == ["conv1", "layer1.1", "layer2.1"]
    assert blocks.outside == ()
    sums = {block.name: block.sums for block in blocks.blocks}
    assert sums["layer1.0"] == ("conv1", "layer1.0.conv2", "layer1.1.conv2")
    assert sums["layer2.0"] == ("layer2.0.conv2", "layer2.0.shortcut.0", "layer2.1.conv2")
    assert sums["fc"] == ()


def test_a_depthwise_block_is_whole_with_a_shortcut_or_without() -> None:
    assert modules(Mobile()) == [*[f"features.{number}" for number in range(5)], "classifier"]


def test_a_block_of_parts_side_by_side_is_whole_and_the_network_around_it_is_not() -> None:
    assert modules(Detector()) == [
        "stem", "down1", "c1", "down2", "c2", "c3", "scores.0", "scores.1", "boxes.0", "boxes.1"
    ]  # fmt: skip


def test_of_a_plain_network_each_layer_is_one_with_what_follows_it_depthwise_with_the_next() -> (
    None
):
    assert modules(plain()) == ["0+1+2", "4+5+6+7+8+9", "10+11+12", "15"]


class ChannelsLast(nn.Module):
    """ConvNeXt's block as it is written most often: linear layers over (N, H, W, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.dwconv, self.norm = nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.LayerNorm(6)
        self.wide, self.narrow = nn.Linear(6, 24), nn.Linear(24, 6)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        return x + self.narrow(self.wide(y).relu()).permute(0, 3, 1, 2)


def test_a_block_whose_channels_lie_last_within_works_at_one_resolution() -> None:
    blocks = found(nn.Sequential(nn.Conv2d(3, 6, 1), ChannelsLast(), ChannelsLast()))
    assert [block.name for block in blocks.blocks] == ["0", "1", "2"]
    assert [block.size for block in blocks.blocks] == [(32, 32)] * 3
    tokens = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    (first, _) = find_blocks(tokens.eval(), torch.zeros(1, 5, 8)).blocks
    assert first.size == (5,)


def test_what_is_too_long_is_opened_up() -> None:
    class Long(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Split(3, 8, times=9)  # 20 layers

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)

    names = modules(Long())
    assert names[0] == "inner.cv1"
    assert "inner.m.8" in names
    assert names[-1] == "inner.cv2"


def test_a_layer_that_two_read_ends_its_block() -> None:
    class Read(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu, self.last = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(16, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            return self.last(torch.cat([x, self.relu(x)], dim=1))

    assert modules(Read()) == ["conv", "last"]


def test_a_block_that_is_called_again_and_one_that_writes_into_its_input_are_told() -> None:
    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = unit(3, 4)
            self.again = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1))

        def forward(self, x: Tensor) -> Tensor:
            return self.again(self.again(self.first(x)))

    first, again = found(Again()).blocks
    assert (first.calls, first.writes_given) == (1, False)
    assert (again.calls, again.writes_given) == (2, True)


def test_blocks_may_be_named() -> None:
    network = Residual().eval()
    blocks = named_blocks(network, EXAMPLE, ["layer*.*", "fc"])
    names = [block.name for block in blocks.blocks]
    assert names == ["layer1.0", "layer1.1", "layer2.0", "layer2.1", "fc"]
    assert blocks.outside == ("conv1",)


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        (["layer3.*"], "no module's name matches 'layer3.*'"),
        (["layer1", "layer1.0"], "layer1.0 lies within layer1"),
        (["layer1.0.shortcut", "unused"], "unused cannot learn on its own"),
    ],
)
def test_blocks_that_cannot_learn_are_refused_by_name(patterns: list[str], words: str) -> None:
    network = Residual().eval()
    network.add_module("unused", nn.Conv2d(3, 3, 1))
    with pytest.raises(InputError, match="blocks:") as caught:
        named_blocks(network, EXAMPLE, patterns)
    assert words in str(caught.value)


def test_the_tree_says_what_learns_from_what() -> None:
    lines = tree_lines(found(Residual()))
    assert lines[:3] == [
        "conv1  Conv2d + BatchNorm2d + ReLU, 1 layer, gives 32x32, its channels are those of "
        "layer1.0.conv2, layer1.1.conv2",
        "layer1",
        "  0  Basic, 2 layers, gives 16x16, its channels are those of conv1, layer1.1.conv2",
    ]
    assert lines[-1].endswith("compared, and what ends a stage: conv1, layer1.1, layer2.1")
