"""Channels that the code puts elsewhere: they go where its own arithmetic stays right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from networks.layers import Apply
from torch import Tensor, nn
from torch.nn import functional as F

import toolchain as tc
from toolchain.pruning.groups import groups_of, in_place
from toolchain.pruning.zeroing import zero_filters
from toolchain.recipe import PruneSection
from toolchain.records.reasons import Reason
from toolchain.records.stages import Surgery
from toolchain.report.run.reasons import held_words
from toolchain.surgery.flow import trace_flow
from toolchain.surgery.removing import shrink
from toolchain.widths.ties import ties_of

IMAGE = torch.zeros(1, 3, 12, 16)


def conv(channels: int, out: int, **settings: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, out, 1, **settings), nn.BatchNorm2d(out), nn.ReLU())


class Between(nn.Module):
    """Two convolutions, and what the code does with the channels between them."""

    def __init__(self, middle: nn.Module, width: int = 16) -> None:
        super().__init__()
        self.first = conv(3, 16)
        self.middle = middle
        self.last = nn.Sequential(conv(width, 8), nn.Conv2d(8, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.middle(self.first(x)))
        return out


def trained(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.3, generator=generator)
    return network.eval()


def difference(before: nn.Module, after: nn.Module) -> float:
    """The largest over two sizes, as a share of the output's magnitude."""
    worst = 0.0
    for height, width in ((12, 16), (7, 9)):
        image = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1)) * 4
        with torch.no_grad():
            a, b = before.double()(image.double()), after.double()(image.double())
        worst = max(worst, float((a - b).abs().max() / a.abs().max()))
    return worst


def flat_shuffle(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def halves(x: Tensor) -> Tensor:
    left, right = x.chunk(2, dim=1)
    return torch.cat([right, left.sigmoid() * 2], dim=1)


def added_to_all_of_it(x: Tensor) -> Tensor:
    """A slice that leaves nothing out, changed in place: what it was cut from changes, too."""
    whole = x.tanh()
    part = whole[:, : x.shape[1]]
    part += x
    return whole


def added_to_a_half(x: Tensor) -> Tensor:
    whole = x.tanh()
    part = whole[:, : x.shape[1] // 2]
    part += x[:, x.shape[1] // 2 :]
    return whole


def linear_last(x: Tensor, layer: nn.Module) -> Tensor:
    out: Tensor = layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return out


def scaled_last(x: Tensor, scale: Tensor) -> Tensor:
    return (x.flatten(2).transpose(1, 2) * scale).transpose(1, 2).reshape(x.shape)


MIDDLES: dict[str, Callable[[], nn.Module]] = {
    "chunk": lambda: Apply(halves),
    "slices": lambda: Apply(lambda x: x[:, : x.shape[1] // 2] - x[:, x.shape[1] // 2 :]),
    "gated": lambda: Apply(lambda x: F.glu(x, dim=1)),
    "shuffle": lambda: Apply(flat_shuffle),
    "operator of shuffling": lambda: nn.ChannelShuffle(4),
    "pixel shuffle": lambda: nn.PixelShuffle(2),
    "pixel unshuffle": lambda: Apply(lambda x: F.pixel_unshuffle(x[:, :, :6, :8], 2)),
    "flip": lambda: Apply(lambda x: x.flip(1)),
    "repeat": lambda: Apply(lambda x: x.repeat(1, 2, 1, 1)),
    "interleave": lambda: Apply(lambda x: torch.stack([x, x.tanh()], dim=2).flatten(1, 2)),
    "largest of pairs": lambda: Apply(lambda x: x.unflatten(1, (-1, 2)).amax(dim=2)),
    "changed in place": lambda: Apply(added_to_all_of_it),
    "linear on the last axis": lambda: Apply(linear_last, nn.Linear(16, 16)),
    "scale on the last axis": lambda: Apply(scaled_last, torch.randn(16)),
    "groups": lambda: nn.Conv2d(16, 32, 3, padding=1, groups=4),
    "transposed groups": lambda: nn.ConvTranspose2d(16, 8, 3, padding=1, groups=2),
    "depthwise with a multiplier": lambda: nn.Conv2d(16, 32, 3, padding=1, groups=16),
    "group norm": lambda: nn.GroupNorm(8, 16),
    "instance norm": lambda: nn.InstanceNorm2d(16, affine=True),
    "layer norm of positions": lambda: Apply(lambda x: F.layer_norm(x, x.shape[2:])),
}
WIDTHS = {"slices": 8, "gated": 8, "pixel shuffle": 4, "pixel unshuffle": 64, "repeat": 32}
WIDTHS |= {"interleave": 32, "largest of pairs": 8, "groups": 32, "transposed groups": 8}
WIDTHS |= {"depthwise with a multiplier": 32}


def made(name: str) -> nn.Module:
    torch.manual_seed(5)
    return trained(Between(MIDDLES[name](), WIDTHS.get(name, 16)))


def kept(surgery: Surgery) -> list[Reason]:
    return [item.reason for item in surgery.filters if item.verdict == "kept"]


@pytest.mark.parametrize("name", MIDDLES)
def test_all_that_a_rate_zeroes_goes_and_nothing_else_changes(name: str) -> None:
    soft = zero_filters(made(name), IMAGE, PruneSection(rate=0.25, scope="group"))
    small, surgery = shrink(soft, IMAGE)
    assert kept(surgery) == []
    assert small.first[0].out_channels == 12
    assert difference(soft, small) < 1e-6


@pytest.mark.parametrize("name", MIDDLES)
def test_filters_zeroed_here_and_there_lose_nothing(name: str) -> None:
    soft = made(name)
    for module in soft.modules():
        if isinstance(module, nn.Conv2d) and module.out_channels > 4:
            module.weight.data[[1, 3, -2]] = 0
    small, _ = shrink(soft, IMAGE)
    assert difference(soft, small) < 1e-6


def halving(zeroed: list[int]) -> tuple[nn.Module, Surgery]:
    """Channels of the first layer, by their numbers; the first eight are its left half."""
    soft = made("chunk")
    soft.first[0].weight.data[zeroed] = 0
    small, surgery = shrink(soft, IMAGE)
    assert difference(soft, small) < 1e-6
    return small, surgery


def test_as_many_go_of_one_half_as_of_the_other() -> None:
    small, surgery = halving([0, 1, 2, 9])
    assert small.first[0].out_channels == 14
    assert kept(surgery) == [Reason("parts", operator="split")] * 2
    assert "makes parts of one width, and others lose fewer" in held_words(kept(surgery)[0])


def test_halves_that_lose_other_places_are_cut_in_both() -> None:
    small, surgery = halving([0, 1, 11, 15])
    assert (small.first[0].out_channels, kept(surgery)) == (12, [])


class Unequal(nn.Module):
    """One half is of two layers, five channels and three, the other half of one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 5), conv(3, 3), conv(3, 8)
        self.left, self.right = nn.Conv2d(8, 2, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = torch.cat([self.a(x), self.b(x), self.c(x)], dim=1).chunk(2, dim=1)
        out: Tensor = self.left(left) + self.right(right)
        return out


def test_a_rate_chooses_as_many_of_each_half() -> None:
    """A quarter of 8 is 2; of 5 and of 3 it is 1 and 0: so one goes of each half."""
    soft = zero_filters(trained(Unequal()), IMAGE, PruneSection(rate=0.25, scope="group"))
    small, surgery = shrink(soft, IMAGE)
    assert (len(surgery.filters), kept(surgery)) == (2, [])
    assert (small.left.in_channels, small.right.in_channels) == (7, 7)
    assert difference(soft, small) < 1e-6


class Numbers(nn.Module):
    """Code that holds a number of channels."""

    def __init__(self, cut: Callable[[Tensor], Tensor], width: int) -> None:
        super().__init__()
        self.cut = cut
        self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.cut(self.first(x)))
        return out


def split_in_pairs(x: Tensor) -> Tensor:
    a, *_, b = x.split(2, dim=1)
    return a * b


def asked(x: Tensor, cut: Callable[[Tensor], Tensor]) -> Tensor:
    """Code that decides by a shape, which no graph can hold."""
    return cut(x) if x.shape[2] else x


NUMBERS = {
    "split": (split_in_pairs, 2),
    "split_with_sizes": (lambda x: asked(x, lambda x: x.split([4, 4], dim=1)[1]), 4),
    "slice": (lambda x: asked(x, lambda x: x[:, 4:8]), 4),
    "unbind": (lambda x: torch.stack(x.unbind(1)[:2], dim=1), 2),
    "view": (lambda x: asked(x, lambda x: x.view(len(x), 4, -1, *x.shape[2:])[:, :, 0]), 4),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_what_holds_a_number_keeps_its_channels_and_is_named(name: str) -> None:
    torch.manual_seed(0)
    soft = Numbers(*NUMBERS[name]).eval()
    soft.first.weight.data[[2, 3] if name == "view" else [1, 7]] = 0
    small, surgery = shrink(soft, IMAGE)
    assert small.first.out_channels == 8
    assert {reason.operator for reason in kept(surgery)} == {name}
    assert difference(soft, small) < 1e-6


def test_what_is_changed_in_place_through_a_part_of_it_keeps_its_channels() -> None:
    soft = trained(Between(Apply(added_to_a_half), 16))
    soft.first[0].weight.data[[1, 9]] = 0
    small, surgery = shrink(soft, IMAGE)
    assert small.first[0].out_channels == 16
    assert {reason.operator for reason in kept(surgery)} == {"add_"}
    assert difference(soft, small) < 1e-6


BY_SIZE = {
    "split": lambda x: torch.cat([p * i for i, p in enumerate(x.chunk(x.shape[2] // 4, 1), 1)], 1),
    "slice": lambda x: torch.cat([x[:, : x.shape[2] >> 1].tanh(), x[:, x.shape[2] >> 1 :]], 1),
}
"""Cut by numbers that are worked out from the image's height."""


@pytest.mark.parametrize("name", BY_SIZE)
def test_what_is_cut_by_the_size_of_the_image_keeps_its_channels(name: str) -> None:
    soft = trained(Between(Apply(BY_SIZE[name]), 16))
    soft.first[0].weight.data[[1, 3, 14]] = 0
    small, surgery = shrink(soft, torch.zeros(1, 3, 24, 32))
    assert small.first[0].out_channels == 16
    assert name in {reason.operator for reason in kept(surgery)}


class Buffered(nn.Module):
    """A scale that files do not keep."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.linspace(1, 2, 16), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale[:, None, None]


def test_channels_stay_whose_scale_would_come_back_as_wide_as_it_was() -> None:
    soft = trained(Between(Buffered(), 16))
    soft.first[0].weight.data[[1, 3]] = 0
    small, surgery = shrink(soft, IMAGE)
    assert small.first[0].out_channels == 16
    assert {reason.operator for reason in kept(surgery)} == {"mul"}


def test_a_group_of_a_norm_goes_whole() -> None:
    soft = trained(nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(4, 8), nn.Conv2d(8, 2, 1)))
    nn.init.normal_(soft[1].bias)
    soft[0].weight.data[[2, 3, 5]] = 0
    small, surgery = shrink(soft, IMAGE)
    assert (small[1].num_groups, small[1].num_channels, small[2].in_channels) == (3, 6, 6)
    assert kept(surgery) == [Reason("still_written", ("0",))]
    assert difference(soft, small) < 1e-6


@pytest.mark.parametrize("name", ["groups", "depthwise with a multiplier", "group norm", "chunk"])
def test_what_is_left_comes_back_from_its_file(name: str, tmp_path: Path) -> None:
    soft = zero_filters(made(name), IMAGE, PruneSection(rate=0.25, scope="group"))
    small, _ = shrink(soft, IMAGE)
    tc.save(small, tmp_path / "small.safetensors")
    again = tc.load(tmp_path / "small.safetensors", lambda: made(name)).eval()
    image = torch.randn(1, 3, 9, 8)
    with torch.no_grad():
        assert torch.equal(again(image), small(image))


def test_a_number_of_groups_in_the_code_keeps_the_channels() -> None:
    soft = trained(Numbers(lambda x: F.group_norm(x, 4), 8))
    soft.first.weight.data[[2, 3]] = 0
    soft.first.bias.data[[2, 3]] = 0
    small, surgery = shrink(soft, IMAGE)
    assert small.first.out_channels == 8
    assert kept(surgery) == [Reason("operator", operator="native_group_norm")] * 2


@pytest.mark.parametrize("name", ["groups", "transposed groups"])
def test_parameters_at_other_widths_are_those_of_the_cut_network(name: str) -> None:
    network = made(name)
    flow = trace_flow(network, IMAGE)
    groups = groups_of(network, flow, ())
    ties = ties_of(network, flow, groups)
    soft = zero_filters(network, IMAGE, PruneSection(rate=0.25, scope="group"))
    small, _ = shrink(soft, IMAGE)
    gone = {(group.name, place) for group in groups for place in range(group.width // 4)}
    for name, parameter in small.named_parameters():
        sizes = [sum(place not in gone for place in axis) for axis in ties[name]]
        assert tuple(parameter.shape[: len(sizes)]) == tuple(sizes), name


def test_groups_that_code_moves_are_told_apart() -> None:
    network = made("shuffle")
    flow = trace_flow(network, IMAGE)
    names = [group.name for group in in_place(groups_of(network, flow, ()), flow)]
    assert names == ["last.0.0"]


def test_a_convolution_of_groups_does_not_take_a_constant_over() -> None:
    soft = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 2, 1))
    soft[0].weight.data[[0, 2]] = 0
    small, surgery = shrink(soft.eval(), IMAGE)
    assert small[0].out_channels == 4
    assert kept(surgery) == [Reason("groups", ("1",))] * 2


def test_half_of_one_channel_is_no_channel_and_stops_nothing() -> None:
    """``x[:, : c // 2]`` of one channel is an empty slice, whose length divides nothing."""

    class Halves(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            half = x.shape[1] // 2
            return torch.cat([x[:, :half], x[:, half:]], dim=1)

    network = nn.Sequential(conv(3, 8), nn.Conv2d(8, 1, 1), Halves(), nn.Conv2d(1, 2, 1)).eval()
    with torch.no_grad():
        network[0][0].weight[2] = 0
    small, surgery = shrink(network, IMAGE)
    assert difference(network, small) < 1e-6
    assert surgery.filters
