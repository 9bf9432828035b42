"""Channels that code picks by their positions: the positions follow, or the channels stay."""

from __future__ import annotations

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

import toolchain as tc
from toolchain.errors import CheckpointError
from toolchain.models.rewriting import is_rewritten
from toolchain.pruning.zeroing import zero_filters
from toolchain.recipe import PruneSection
from toolchain.records.reasons import Reason
from toolchain.records.stages import Number, Surgery
from toolchain.report.run.ways import ways_words
from toolchain.surgery.removing import shrink

IMAGE = torch.zeros(1, 3, 12, 16)


class Picking(nn.Module):
    """Eight channels, of which a method hands some on."""

    def __init__(self) -> None:
        super().__init__()
        self.first = conv(3, 8)
        self.order = [5, 1, 0, 6]
        self.register_buffer("some", torch.tensor([3, 7, 0, -1, 2]))
        self.register_buffer("all", torch.tensor([3, 7, 0, 1, 2, 4, 6, 5]))
        self.eval()
        with torch.no_grad():
            width = self.pick(self.first(IMAGE)).shape[1]
        self.last = nn.Conv2d(width, 2, 1)

    def pick(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.pick(self.first(x)))
        return out


def picking(pick: Callable[[Picking, Tensor], Tensor]) -> nn.Module:
    torch.manual_seed(0)
    return trained(type("Picking", (Picking,), {"pick": pick})())


def soft(network: nn.Module, *zeroed: int) -> nn.Module:
    """The network with some filters of zero, and their batch norms: nothing of them is left."""
    network.first[0].weight.data[list(zeroed)] = 0
    network.first[1].weight.data[list(zeroed)] = 0
    network.first[1].bias.data[list(zeroed)] = 0
    return network


def gathered(x: Tensor, positions: Tensor) -> Tensor:
    return x.gather(1, positions.view(1, -1, 1, 1).expand(len(x), -1, *x.shape[2:]))


Pick = Callable[[Picking, Tensor], Tensor]

FOLLOWING: dict[str, tuple[Pick, int, tuple[Number, ...]]] = {
    "list": (
        lambda s, x: x[:, [2, 1, 0, 7]],
        3,
        (Number("", "getitem:1.1", (2, 1, 0, 7), (1, 0, 2)),),
    ),
    "list from the end": (
        lambda s, x: x[:, [-1, 2, 0, -5]],
        3,
        (Number("", "getitem:1.1", (-1, 2, 0, -5), (-1, 1, 0)),),
    ),
    "list in an attribute": (
        lambda s, x: x[:, s.order],
        3,
        (Number("", "order", (5, 1, 0, 6), (1, 0, 2)),),
    ),
    "buffer": (
        lambda s, x: x[:, s.some],
        3,
        (Number("", "some", (3, 7, 0, -1, 2), (2, 0, -1, 1)),),
    ),
    "buffer of all": (
        lambda s, x: x.index_select(1, s.all),
        5,
        (Number("", "all", (3, 7, 0, 1, 2, 4, 6, 5), (4, 0, 1, 3, 2)),),
    ),
    "gather": (
        lambda s, x: gathered(x, s.all),
        5,
        (Number("", "all", (3, 7, 0, 1, 2, 4, 6, 5), (4, 0, 1, 3, 2)),),
    ),
    "steps": (lambda s, x: x[:, ::2], 3, (Number("", "getitem:1.1", "::2", (0, 1, 2)),)),
    "steps between": (lambda s, x: x[:, 1:7:2], 1, (Number("", "getitem:1.1", "1:7:2", (0,)),)),
    "select": (
        lambda s, x: torch.stack([x[:, 5], x.select(1, -2)], dim=1),
        2,
        (Number("", "getitem:1.1", 5, 0), Number("", "select:2", -2, -1)),
    ),
    "roll": (lambda s, x: x.roll(5, dims=1), 5, (Number("", "roll:1", 5, 3),)),
    "roll back": (
        lambda s, x: torch.roll(x, (-5, 1), (1, 2)),
        5,
        (Number("", "roll:1.0", -5, -2),),
    ),
    "flip": (lambda s, x: x.flip(1), 5, ()),
    "rows": (lambda s, x: x[:, :, [0, 2]], 5, ()),
}
"""Code -> how many of the eight channels are left, and what changes. Of the channels 1, 3 and 4
are zero; those that the code leaves out nothing reads."""


@pytest.mark.parametrize("name", FOLLOWING)
def test_positions_follow_the_channels_that_are_left(name: str) -> None:
    pick, width, numbers = FOLLOWING[name]
    whole = soft(picking(pick), *((0, 3, 4) if name == "list" else (1, 3, 4)))
    small, surgery = shrink(whole, IMAGE)
    assert (surgery.numbers, small.first[0].out_channels) == (numbers, width)
    assert kept(surgery) == []
    assert difference(whole, small) < 1e-6


def asked(x: Tensor, pick: Callable[[Tensor], Tensor]) -> Tensor:
    """Code that decides by a shape, which no graph can hold."""
    return pick(x) if x.shape[2] else x


STAYING: dict[str, tuple[Pick, str]] = {
    "list": (lambda s, x: asked(x, lambda x: x[:, [2, 0]]), "index"),
    "tensor": (lambda s, x: x[:, torch.tensor([2, 0])], "index"),
    "part of a buffer": (lambda s, x: x[:, s.all[3:5]], "index"),
    "roll": (lambda s, x: asked(x, lambda x: x.roll(2, dims=1)), "roll"),
    "steps": (lambda s, x: asked(x, lambda x: x[:, ::2]), "slice"),
    "select": (lambda s, x: asked(x, lambda x: x[:, 0][:, None]), "select"),
    "unbind": (lambda s, x: torch.stack(x.unbind(1)[:2], dim=1), "unbind"),
    "roll by the width": (lambda s, x: x.roll(x.shape[3] % 3, dims=1), "roll"),
    "roll by a rounded width": (lambda s, x: x.roll(int(x.shape[3] / 7.9), dims=1), "roll"),
    "list by the height": (lambda s, x: x[:, [x.shape[2] % 3, 5]], "index"),
    "select by the height": (lambda s, x: x[:, x.shape[2] % 4][:, None], "select"),
    "a buffer that is read as well": (lambda s, x: x[:, s.all] * (1 + s.all.sum()), "sum"),
    "a list for something else as well": (lambda s, x: x[:, :, s.order][:, s.order], "index"),
}
"""Code whose positions cannot be changed -> the operator that keeps all channels."""


@pytest.mark.parametrize("name", STAYING)
def test_where_positions_cannot_be_changed_all_channels_stay(name: str) -> None:
    pick, operator = STAYING[name]
    whole = soft(picking(pick), 1, 5, 6)
    small, surgery = shrink(whole, IMAGE)
    assert (small.first[0].out_channels, surgery.numbers) == (8, ())
    assert operator in {reason.operator for reason in kept(surgery)}
    assert difference(whole, small) < 1e-6


def test_positions_that_no_file_keeps_stay() -> None:
    class Forgetting(Picking):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("all", torch.tensor([2, 0, 3]), persistent=False)
            self.last = nn.Conv2d(3, 2, 1)

        def pick(self, x: Tensor) -> Tensor:
            return x[:, self.all] if hasattr(self, "all") else x

    torch.manual_seed(0)
    whole = soft(trained(Forgetting()), 0, 6)
    small, surgery = shrink(whole, IMAGE)
    assert small.all.tolist() == [2, 0, 3]
    assert (small.first[0].out_channels, surgery.numbers) == (8, ())
    assert difference(whole, small) < 1e-6


def test_a_channel_that_is_a_tensor_of_its_own_stays() -> None:
    whole = soft(picking(lambda s, x: x[:, 5].unsqueeze(1) + x[:, :2].sum(1, True)), 0, 5)
    small, surgery = shrink(whole, IMAGE)
    assert Reason("operator", operator="select") in kept(surgery)
    assert difference(whole, small) < 1e-6


def test_what_one_buffer_picks_in_two_places_goes_together() -> None:
    class Twice(Picking):
        def __init__(self) -> None:
            super().__init__()
            self.second = conv(3, 8)

        def forward(self, x: Tensor) -> Tensor:
            other = self.second(x)[:, self.all]
            out: Tensor = self.last(self.first(x)[:, self.all].flip(1) * other)
            return out

    torch.manual_seed(0)
    whole = soft(trained(Twice()), 1, 2)
    whole.second[0].weight.data[[5, 6]] = 0
    small, _ = shrink(whole, IMAGE)
    assert small.first[0].out_channels == small.second[0].out_channels == len(small.all)
    assert difference(whole, small) < 1e-6


def test_a_rate_takes_what_can_go_and_leaves_one_of_what_is_picked() -> None:
    whole = picking(lambda s, x: torch.cat([x[:, [6, 1]], x[:, ::2], x[:, s.all]], dim=1))
    whole = zero_filters(whole, IMAGE, PruneSection(rate=0.5, scope="group"))
    small, surgery = shrink(whole, IMAGE)
    assert (small.first[0].out_channels, len(surgery.filters), kept(surgery)) == (5, 3, [])
    assert difference(whole, small) < 1e-6


class InCode(Picking):
    def pick(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, [2, 1]], x[:, ::3], x[:, self.all], x[:, self.order]], dim=1)


def cut_network() -> nn.Module:
    torch.manual_seed(0)
    small, surgery = shrink(soft(trained(InCode()), 1, 3), IMAGE)
    assert len(surgery.numbers) == 4
    assert is_rewritten(small)
    return small


def test_a_network_with_other_positions_trains_and_comes_back(tmp_path: Path) -> None:
    small = cut_network()
    image = torch.randn(2, 3, 9, 11)
    small.train()(image).sum().backward()
    assert all(parameter.grad is not None for parameter in small.parameters())
    small.eval()
    for other in brought_back(small, InCode, tmp_path):
        with torch.no_grad():
            assert torch.equal(other(image), small(image))


def test_a_network_with_other_positions_is_cut_again() -> None:
    whole = soft(cut_network(), 2, 4)
    smaller, surgery = shrink(whole, IMAGE)
    assert smaller.first[0].out_channels == 4
    assert Number("", "getitem_1:1.1", (0, 4), (0,)) in surgery.numbers
    assert difference(whole, smaller) < 1e-6


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"": {"order": [[5, 1, 0, 7], [1, 0]]}}, "order of  must be (5, 1, 0, 7)"),
        ({"": {"order": [[5, 1, 0, 6], [1, 0, 2, 3, 4]]}}, "order of  must be"),
        ({"": {"order": [[5, 1, 0, 6], 3]}}, "order of  must be"),
        ({"": {"order": [[5, 1, 0, 6], "::2"]}}, "damaged"),
        ({"": {"getitem_1:1.1": ["::2", [0]]}}, "getitem_1:1.1 must be ::2 (got ::3)"),
    ],
)
def test_positions_of_a_file_are_those_of_the_network(
    numbers: object, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "small.safetensors"
    torch.manual_seed(0)
    tc.save(InCode().eval(), path)
    with safe_open(path, "pt") as file:
        (key, text), *_ = file.metadata().items()
    content = json.dumps({**json.loads(text), "numbers": numbers})
    save_file(load_file(path), path, metadata={key: content})
    with pytest.raises(CheckpointError) as refused:
        tc.load(path, InCode)
    assert words in str(refused.value)


def test_the_report_shows_positions() -> None:
    numbers = (
        Number("block", "order", (5, 1, 0, 6), (1, 0, 2)),
        Number("block", "all", tuple(range(9)), tuple(range(5))),
        Number("", "getitem_2:1.1", "::2", (0, 1)),
        Number("", "roll:1", -5, -2),
    )
    assert list(ways_words(Surgery(2, (), (), numbers=numbers))) == [
        "numbers of channels in attributes were set: order of block from [5, 1, 0, 6] to "
        "[1, 0, 2] and all of block from 9 positions to 5 positions",
        "numbers of channels in the code were replaced, by writing forward anew: in a slice of "
        "the network from ::2 to [0, 1] and in roll of the network from 5 to 2",
    ]
