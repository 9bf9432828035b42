"""What widths lose, on networks in which it is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from toolchain.pruning.groups import ChannelGroup, groups_of
from toolchain.recipe import AnchorSection
from toolchain.surgery.flow import trace_flow
from toolchain.widths.importance import (
    Importance,
    Levels,
    _sensitivity,
    levels_of,
    measure_importance,
    spread,
    weighed,
)
from toolchain.widths.ranking import Part, order_by_outputs

torch.set_num_threads(1)
ANCHORS = AnchorSection(sizes=(16, 32), strides=(4, 8))


class Sum(nn.Module):
    """Four filters that take the same channel by 1, 2, 4 and 8, added up."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Conv2d(4, 1, 1)
        with torch.no_grad():
            self.first.weight.zero_()
            self.first.weight[:, :2, 0, 0] = torch.tensor([[1.0, 0], [2.0, 0], [4.0, 0], [0, 8.0]])
            self.head.weight.fill_(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) -> (N, 1, H, W)."""
        out: torch.Tensor = self.head(self.norm(self.first(x)))
        return out


WHOLE = Levels()
"""Outputs in one piece."""


def looked_at(network: nn.Module, images: Sequence[torch.Tensor]) -> Importance:
    flow = trace_flow(network, torch.zeros(1, 3, 32, 32))
    groups: tuple[ChannelGroup, ...] = groups_of(network, flow, ("head",))
    widths = {group.name: range(1, group.width + 1) for group in groups}
    return measure_importance(network, flow, groups, "l1", images, WHOLE, widths, lambda _: None)


def test_what_is_lost_is_the_variance_that_is_not_explained() -> None:
    torch.manual_seed(0)
    images = [torch.randn(1, 3, 64, 64) for _ in range(4)]
    found = looked_at(Sum().eval(), images)
    # The sum is 7 a + 8 b of independent a and b; filters go by their size, smallest first.
    for width, a in ((4, 7), (3, 6), (2, 4), (1, 0)):
        explained = (a * 7 + 64) ** 2 / ((a * a + 64) * (7 * 7 + 64))
        assert found.kept("first", width) == pytest.approx(explained, abs=0.02), width
    assert found.sensitivity("first", 4) == 0
    assert found.loss({"first": 1}) == found.sensitivity("first", 1)
    assert Importance({"a": {2: 1.0, 4: 0.0}}).sensitivity("a", 3) == 1.0


def test_a_narrower_width_never_loses_less_and_nothing_is_all_lost() -> None:
    torch.manual_seed(0)
    network = Sum().eval()
    with torch.no_grad():  # 10 a - 10 a + 8 b: without the first it hurts, without both it does not
        network.head.weight[0, :, 0, 0] = torch.tensor([10.0, -5, 0, 1])
    images = [torch.randn(1, 3, 64, 64) for _ in range(4)]
    found = looked_at(network, images)
    losses = [found.sensitivity("first", width) for width in (4, 3, 2, 1)]
    assert losses[1] == pytest.approx(-math.log(64 / 164), abs=0.1)
    assert losses[1] == losses[2] == losses[3]
    with torch.no_grad():
        network.head.weight[0, 3] = 0
        network.head.weight[0, 1] = 1
    assert looked_at(network, images).sensitivity("first", 1) == pytest.approx(-math.log(1e-3))


def test_filters_go_by_what_the_outputs_lose() -> None:
    """Outputs 3 a - 2 a + 2.1 b + 2.2 c: after -2 a, 3 a hurts least, as the two go together."""
    torch.manual_seed(0)
    network = Sum().eval()
    with torch.no_grad():
        network.first.weight[:, :, 0, 0] = torch.tensor(
            [[3.0, 0, 0], [0, 2.1, 0], [-2.0, 0, 0], [0, 0, 2.2]]
        )
    flow = trace_flow(network, torch.zeros(1, 3, 32, 32))
    groups = groups_of(network, flow, ("head",))
    images = [torch.randn(1, 3, 64, 64) for _ in range(2)]
    widths = {"first": range(1, 5)}
    found = measure_importance(
        network, flow, groups, "outputs", images, WHOLE, widths, lambda _: None
    )
    assert list(found.orders["first"]) == [2, 0, 1, 3]
    assert found.pruned_channels("first", 2) == [0, 2]
    assert found.pruned_channels("first", 4) == []
    by_size = measure_importance(network, flow, groups, "l1", images, WHOLE, widths, lambda _: None)
    assert found.sensitivity("first", 2) < by_size.sensitivity("first", 2) / 2
    with torch.no_grad():
        network.first.weight[3] = 0
    found = measure_importance(
        network, flow, groups, "outputs", images, WHOLE, widths, lambda _: None
    )
    assert found.orders["first"][0] == 3
    assert found.sensitivity("first", 3) < 1e-9


def test_an_order_looks_at_evenly_spread_numbers_where_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = np.random.default_rng(0)
    whole = [(0.5, generator.normal(size=(300, 2))), (0.5, np.zeros((5, 1)))]
    sizes = [3.0, 1.0, 2.0]
    noises = [[generator.normal(size=part.shape) for _, part in whole] for _ in sizes]

    def without(index: int) -> list[Part]:
        pairs = zip(whole, noises[index], strict=True)
        return [(weight, part + sizes[index] * noise) for (weight, part), noise in pairs]

    assert order_by_outputs(whole, without, 3) == [1, 2, 0]
    monkeypatch.setattr("toolchain.widths.ranking.LARGEST", 200)
    assert order_by_outputs(whole, without, 3) == [1, 2, 0]


def test_filters_that_are_zero_already_go_first_and_lose_nothing() -> None:
    torch.manual_seed(0)
    network = Sum().eval()
    with torch.no_grad():
        network.first.weight[2] = 0  # FPGM would take it for one that is far from the others
    flow = trace_flow(network, torch.zeros(1, 3, 32, 32))
    groups = groups_of(network, flow, ("head",))
    images = [torch.randn(1, 3, 64, 64) for _ in range(2)]
    found = measure_importance(
        network, flow, groups, "fpgm", images, WHOLE, {"first": range(1, 5)}, lambda _: None
    )
    assert found.sensitivity("first", 3) < 1e-9
    assert found.sensitivity("first", 2) > 0.01


def test_outputs_are_cut_into_levels_where_they_have_them() -> None:
    levels = levels_of(ANCHORS, 16, 24)
    boxes = np.arange(2.0 * 30 * 4).reshape(2, 30, 4)
    weights, parts = zip(*levels.of(boxes), strict=True)
    assert weights == (0.5, 0.5)
    assert [part.shape for part in parts] == [(2, 24, 4), (2, 6, 4)]
    assert np.array_equal(np.concatenate(parts, axis=1), boxes)
    assert len(levels.of(boxes[:, :29])) == 1
    assert len(levels_of(None, 16, 24).of(boxes)) == 1


def test_levels_weigh_by_the_faces_that_are_found_and_none_is_given_up() -> None:
    """The first image has a face at one fine anchor, the second at six fine and two coarse ones."""

    class Found(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            logits = torch.zeros(1, 30, 2)
            logits[..., 0] = 1
            anchors = {1: [5], 2: [0, 1, 2, 3, 4, 5, 24, 25], 3: []}[int(x.max())]
            logits[:, anchors, 1] = 2
            return torch.zeros(1, 30, 4), logits

    images = [torch.full((1, 3, 16, 24), float(number)) for number in (1, 2, 3)]
    levels = levels_of(ANCHORS, 16, 24)
    found = weighed(levels, Found(), images)
    coarse = (0 + 0.25) / 2  # its share, by image
    assert found.weights == pytest.approx(((1 - coarse + 0.5) / 2, (coarse + 0.5) / 2))
    assert weighed(levels, Found(), images[2:]) == levels


def test_losses_of_parts_are_weighed() -> None:
    """Of a level that weighs a quarter all is lost, of the other nothing."""
    generator = np.random.default_rng(0)
    before = generator.normal(size=(1, 30, 2))
    after = before.copy()
    after[:, 24:] = 0
    levels = Levels((24, 6), (0.75, 0.25))

    def parts(output: NDArray[np.float64]) -> list[tuple[float, NDArray[np.float64]]]:
        return [(weight, part[0]) for weight, part in levels.of(output)]

    assert _sensitivity(parts(after), parts(before)) == pytest.approx(-math.log(1e-3) / 4)


def test_outputs_weigh_alike() -> None:
    """Of two outputs one is lost: half of what losing both would be."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 2, 1, bias=False)
            with torch.no_grad():
                self.first.weight.zero_()
                self.first.weight[:, :2, 0, 0] = torch.tensor([[1.0, 0], [0, 2.0]])

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x = self.first(x).tanh()
            return x[:, :1] * 2, x[:, 1:] * 3

    network = Two().eval()
    images = [torch.randn(1, 3, 16, 16)]
    flow = trace_flow(network, torch.zeros(1, 3, 32, 32))
    slots = (("first", 0),), (("first", 1),)
    group = ChannelGroup("first", slots)
    found = measure_importance(
        network, flow, [group], "l1", images, WHOLE, {"first": (1, 2)}, lambda _: None
    )
    assert found.sensitivity("first", 1) == pytest.approx(-math.log(1e-3) / 2)


def test_images_are_spread() -> None:
    images = [torch.full((1, 1, 1, 1), float(index)) for index in range(15)]
    assert [int(image) for image in spread(images)] == [0, 2, 4, 6, 8, 10, 12, 14]
    assert len(spread(images[:3])) == 3
