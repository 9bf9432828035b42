"""Filters that go in blocks: how many, of which groups, in recipes and in Python."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import toolchain
from toolchain.errors import InputError, RecipeError
from toolchain.pruning.blocks import counts_in_blocks
from toolchain.pruning.zeroing import zero_filters
from toolchain.recipe import PruneSection, default_recipe, override
from toolchain.records.cost_tables import GroupCost
from toolchain.widths.planning import plan_filters
from toolchain.zoo.sources import load_member


@dataclass(frozen=True)
class Group:
    name: str
    width: int
    layers: tuple[str, ...] = ("one",)


def counts(widths: list[int], rate: float, align: int) -> list[int]:
    groups = [Group(str(index), width) for index, width in enumerate(widths)]
    rates = {group.name: rate for group in groups}
    return list(counts_in_blocks(groups, rates, align).values())


def test_the_first_groups_lose_a_block_until_the_rate_is_met() -> None:
    assert counts([16] * 5, 0.1, 4) == [4, 4, 0, 0, 0]
    assert counts([16] * 5, 0.25, 4) == [4] * 5
    assert counts([16] * 5, 0.0, 4) == [0] * 5


def test_a_block_is_taken_where_it_goes_least_beyond_the_rate() -> None:
    assert counts([8, 64, 16], 0.05, 4) == [0, 8, 0]  # 4.4 of 88: one block of 64, then another
    assert counts([4, 3, 16], 0.1, 4) == [0, 0, 4]  # four and fewer stay


def test_what_stays_of_an_odd_width_is_a_multiple() -> None:
    assert counts([10], 0.1, 4) == [2]
    assert counts([10], 0.3, 4) == [6]


def test_a_filter_counts_for_every_layer_that_writes_it() -> None:
    stream = Group("stream", 16, ("a", "b", "c"))
    found = counts_in_blocks([stream, Group("inner", 16)], {"stream": 0.1, "inner": 0.1}, 4)
    assert found == {"stream": 4, "inner": 0}


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=12),
    st.floats(0.0, 0.9),
    st.integers(1, 8),
)
def test_at_least_the_rate_goes_where_there_is_enough(
    widths: list[int], rate: float, align: int
) -> None:
    gone = counts(widths, rate, align)
    left = [width - lost for width, lost in zip(widths, gone, strict=True)]
    assert all(stays % align == 0 for stays, lost in zip(left, gone, strict=True) if lost)
    assert all(stays >= min(align, width) for stays, width in zip(left, widths, strict=True))
    met = sum(gone) >= rate * sum(widths) - 1e-6
    assert met or all(stays <= align for stays in left)


def losses_of(groups: list[Group], per_filter: list[float]) -> dict[str, dict[int, float]]:
    return {
        group.name: {width: each * (group.width - width) for width in (4, 8, 12, 16)}
        for group, each in zip(groups, per_filter, strict=True)
    }


def test_a_plan_takes_blocks_where_that_loses_least() -> None:
    groups = [Group("a", 16), Group("b", 16), Group("c", 16, ("one", "two"))]
    chosen = plan_filters(groups, losses_of(groups, [1.0, 0.5, 3.0]), 0.1)  # 6.4 of 64
    assert chosen.widths == {"a": 16, "b": 8, "c": 16}
    assert chosen.cost == 56
    shared = plan_filters(groups, losses_of(groups, [1.0, 0.9, 1.1]), 0.1)
    assert shared.widths == {"a": 16, "b": 16, "c": 12}  # two layers lose four each
    with pytest.raises(InputError, match="out of reach: the least that any widths need is 16"):
        plan_filters(groups, losses_of(groups, [1.0, 1.0, 1.0]), 0.9)


def test_costs_of_multiples_alone_are_left_for_a_plan() -> None:
    every = GroupCost("a", ("a",), (1, 2, 3, 4, 5, 6), (10, 20, 30, 40, 50, 60))
    assert every.aligned(4) == GroupCost("a", ("a",), (4, 6), (40, 60))
    assert every.aligned(1) == every


def tower() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(16, 2, 1))


def test_a_recipe_zeroes_in_blocks() -> None:
    network, prune = tower(), PruneSection(rate=0.1, align=4, protected=())
    zeroed = zero_filters(network, torch.zeros(1, 3, 8, 8), prune)
    gone = [
        int((layer.weight.flatten(1).abs().sum(dim=1) == 0).sum())
        for layer in zeroed
        if isinstance(layer, nn.Conv2d)
    ]
    assert gone == [4, 0, 0]


def test_layers_one_by_one_lose_no_blocks() -> None:
    prune = PruneSection(rate=0.1, align=4, scope="layer", protected=())
    with pytest.raises(RecipeError, match=r"prune\.align is of groups"):
        zero_filters(tower(), torch.zeros(1, 3, 8, 8), prune)


def test_a_pruner_loses_blocks() -> None:
    pruner = toolchain.SoftPruner(tower(), torch.zeros(1, 3, 8, 8), rate=0.3, align=4)
    assert [group.stays for group in pruner.groups] == [8, 12]
    with pytest.raises(RecipeError, match="neither round_to nor widths"):
        toolchain.SoftPruner(tower(), torch.zeros(1, 3, 8, 8), rate=0.3, align=4, round_to=4)


def test_a_rate_that_no_shipped_network_stands_for_takes_blocks_of_the_whole_one() -> None:
    wanted = override(default_recipe("eresfd"), {"prune.rate": 0.9, "prune.align": 4})
    loaded = load_member(wanted)
    assert loaded is not None
    assert loaded.member is not None
    assert loaded.member["rate"] == 0.0
    assert loaded.recipe.prune.rate == 0.9
