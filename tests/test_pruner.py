"""Soft filter pruning in a loop of one's own: what is chosen, zeroed, held and kept."""

from __future__ import annotations

import copy
import io
import math
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pruned import BRANCH, EXAMPLE, STREAM, new, pruner_of, same, sgd, train, zero_rows
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import toolchain as tc
from toolchain.library.amounts import gone_of
from toolchain.pruning.zeroing import zero_filters
from toolchain.recipe import PruneSection
from toolchain.surgery.removing import shrink

torch.set_num_threads(1)


# What is chosen ---------------------------------------------------------------------------------


def test_a_step_zeroes_the_rate_of_each_group_in_all_that_writes_it() -> None:
    net = new()
    pruner = pruner_of(net)
    assert [(g.name, g.layers, g.width, g.gone, g.stays) for g in pruner.groups] == [
        (STREAM, (STREAM, "outer.0"), 8, 2, 6),
        (BRANCH, (BRANCH,), 12, 3, 9),
    ]
    assert pruner.sparsity() == 0
    pruner.step()
    gone = list(pruner.chosen[STREAM])
    assert len(gone) == 2
    for conv, norm in ((net.stem[0], net.stem[1]), (net.outer[0], net.outer[1])):
        assert zero_rows(conv.weight) == gone
        assert [bool((t[gone] == 0).all()) for t in (conv.bias, norm.weight, norm.bias)] == [
            True
        ] * 3
    assert len(zero_rows(net.inner[0].weight)) == 3


@pytest.mark.parametrize("scope", ["group", "layer"])
@pytest.mark.parametrize("criterion", ["fpgm", "l1"])
def test_it_chooses_what_the_command_shrink_chooses(scope: Any, criterion: Any) -> None:
    net = new()
    section = PruneSection(rate=0.25, scope=scope, criterion=criterion, protected=())
    expected = zero_filters(net, EXAMPLE, section).state_dict()
    soft = tc.prune(net, EXAMPLE, rate=0.25, scope=scope, criterion=criterion)
    assert same(soft.state_dict(), expected)


def test_all_that_is_zeroed_can_be_shrunk_away() -> None:
    soft = tc.prune(new(), EXAMPLE, rate=0.25)
    small, _ = shrink(soft, EXAMPLE)
    assert [small.get_submodule(n).weight.shape[0] for n in (STREAM, BRANCH)] == [6, 9]


@given(st.integers(0, 2**31), st.floats(0.125, 0.9))
@settings(deadline=None, max_examples=10)
def test_a_second_step_in_a_row_changes_nothing(seed: int, rate: float) -> None:
    net = new(seed)
    pruner = pruner_of(net, rate=rate)
    pruner.step()
    state, chosen = copy.deepcopy(net.state_dict()), dict(pruner.chosen)
    pruner.step()
    assert same(net.state_dict(), state)
    assert dict(pruner.chosen) == chosen


def test_rates_go_by_the_first_pattern_that_matches_and_the_smallest_of_a_group() -> None:
    rates = {"inner.*": 0.5, "inner.0": 0.1, "stem.*": 0.75, "outer.*": 0.25}
    assert {g.name: g.gone for g in pruner_of(new(), rate=rates).groups} == {STREAM: 2, BRANCH: 6}
    only = pruner_of(new(), rate={"stem.*": 0.75, "inner": 0.25})
    assert {g.name: g.gone for g in only.groups} == {STREAM: 0, BRANCH: 3}


@pytest.mark.parametrize(
    ("width", "rate", "stays"), [(64, 0.3, 48), (20, 0.3, 16), (10, 0.3, 8), (6, 0.3, 6)]
)
def test_rounding_goes_up(width: int, rate: float, stays: int) -> None:
    assert width - gone_of(rate, width, 8) == stays


@given(st.integers(1, 600), st.floats(0, 0.99), st.integers(1, 64))
def test_rounding_never_takes_more_than_is_asked_for(width: int, rate: float, by: int) -> None:
    gone = gone_of(rate, width, by)
    assert 0 <= gone <= gone_of(rate, width) == math.floor(rate * width + 1e-9)
    assert gone == 0 or (width - gone) % by == 0


def test_widths_say_what_stays() -> None:
    pruner = tc.SoftPruner(new(), EXAMPLE, widths={"outer.0": 5})
    assert {g.name: g.stays for g in pruner.groups} == {STREAM: 5, BRANCH: 12}


def parameters_of(net: nn.Module) -> int:
    """Return those of convolutions with a bias: batch norm is folded into them."""
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    return sum(layer.weight.numel() + layer.out_channels for layer in layers)


def macs_of(net: nn.Module) -> int:
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    return sum(layer.weight.numel() * 16 * 16 for layer in layers)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("unit", "count", "share"),
    [
        ("parameters", parameters_of, 0.7),
        ("macs", macs_of, 0.5),
        ("parameters", parameters_of, 0.4),
    ],
)
def test_a_target_is_met_by_the_mildest_rate(
    unit: str, count: Callable[[nn.Module], int], share: float
) -> None:
    target = round(share * count(new()))

    def left(rate: float) -> int:
        return count(shrink(tc.prune(new(), EXAMPLE, rate=rate), EXAMPLE)[0])

    small, _ = shrink(tc.prune(new(), EXAMPLE, **{unit: target}), EXAMPLE)
    rates = [number / 12 for number in range(1, 12)]
    mildest = next(rate for rate in rates if left(rate) <= target)
    assert count(small) == left(mildest) <= target
    reached = tc.SoftPruner(new(), EXAMPLE, **{unit: share}).reached
    assert reached is not None
    assert (reached.unpruned, reached.budget) == (count(new()), int(share * count(new())))
    assert (reached.cost, reached.rate) == (left(mildest), mildest)


def test_a_criterion_of_ones_own_is_given_filters_side_by_side() -> None:
    seen: list[tuple[int, ...]] = []

    def last_first(filters: Tensor) -> Tensor:
        seen.append(tuple(filters.shape))
        assert filters.dtype == torch.float32
        return -torch.arange(len(filters))

    net = new().bfloat16()
    pruner = tc.SoftPruner(net, EXAMPLE.bfloat16(), rate=0.25, criterion=last_first)
    pruner.step()
    assert seen == [(8, 3 * 9 + 12), (12, 8 * 9)]
    assert pruner.chosen == {STREAM: (6, 7), BRANCH: (9, 10, 11)}


@pytest.mark.parametrize("ignored", [["inner.*"], ["inner"], ["inner.0"], "module"])
def test_what_is_ignored_stays_whole(ignored: Any) -> None:
    net = new()
    pruner = pruner_of(net, ignored=[net.inner] if ignored == "module" else ignored)
    assert [group.name for group in pruner.groups] == [STREAM]
    assert pruner.left_out["inner.0"] == "it is ignored"
    assert pruner.left_out["head"].endswith("part of the network's output")


# Soft, and held ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [sgd, lambda net: torch.optim.AdamW(net.parameters(), lr=1e-2)], ids=["SGD", "AdamW"]
)
def test_zeros_come_back_until_they_are_held(
    make: Callable[[nn.Module], torch.optim.Optimizer],
) -> None:
    net = new().train()
    pruner, optimizer = pruner_of(net), make(net)
    handle = pruner.attach(optimizer)
    train(net, optimizer, 2)
    pruner.step()
    train(net, optimizer, 1)
    assert zero_rows(net.stem[0].weight) == zero_rows(net.inner[0].weight) == []
    pruner.step()
    pruner.hold()
    held = copy.deepcopy(pruner.chosen)
    train(net, optimizer, 5)
    assert zero_rows(net.stem[0].weight) == zero_rows(net.outer[0].weight) == list(held[STREAM])
    assert not net.stem[1].bias[list(held[STREAM])].any()
    pruner.step()
    assert pruner.chosen == held
    handle.remove()
    train(net, optimizer, 1)
    assert zero_rows(net.stem[0].weight) == []
    pruner.apply()
    assert zero_rows(net.stem[0].weight) == list(held[STREAM])


def test_hold_alone_chooses_first_and_apply_before_it_does_nothing() -> None:
    net = new()
    pruner = pruner_of(net)
    pruner.apply()
    assert (zero_rows(net.stem[0].weight), pruner.chosen, pruner.held) == ([], {}, False)
    pruner.hold()
    assert (len(zero_rows(net.stem[0].weight)), pruner.held) == (2, True)


def test_held_zeros_stay_with_a_grad_scaler_and_accumulated_gradients() -> None:
    """The scaler leaves a step out whose gradients are not finite: nothing may change then."""
    net = new().train()
    pruner, optimizer = pruner_of(net), sgd(net)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    pruner.attach(optimizer)
    train(net, optimizer, 2)
    pruner.hold()
    gone = list(pruner.chosen[STREAM])
    for broken in (False, True, False):
        optimizer.zero_grad()
        for _ in range(2):
            with torch.autocast("cpu", torch.bfloat16):
                loss = net(torch.randn(2, 3, 16, 16)).float().square().mean()
            scaler.scale(loss / 2).backward()
        if broken:
            net.head.weight.grad.fill_(math.inf)
        before = net.head.weight.detach().clone()
        scaler.step(optimizer)
        scaler.update()
        assert torch.equal(net.head.weight, before) is broken
        assert zero_rows(net.stem[0].weight) == gone


def test_an_optimizer_that_wraps_another_is_looked_into() -> None:
    net = new().train()
    pruner, optimizer = pruner_of(net), sgd(net)
    pruner.attach(SimpleNamespace(optimizer=optimizer))  # type: ignore[arg-type]
    pruner.hold()
    train(net, optimizer, 2)
    assert zero_rows(net.stem[0].weight) == list(pruner.chosen[STREAM])
    with pytest.raises(tc.InputError, match=r"takes a torch\.optim\.Optimizer .got Net"):
        pruner.attach(net)  # type: ignore[arg-type]


def test_an_average_of_weights_is_zeroed_on_request() -> None:
    net = new().train()
    optimizer = sgd(net)
    average = AveragedModel(net, multi_avg_fn=None)
    pruner = pruner_of(net)
    train(net, optimizer, 1)
    pruner.hold()
    average.update_parameters(net)
    pruner.apply(average)
    gone = list(pruner.chosen[STREAM])
    assert zero_rows(average.module.stem[0].weight) == gone
    assert average.module.stem[0].weight is not net.stem[0].weight


# Kept and gone on with ----------------------------------------------------------------------------


@pytest.mark.parametrize("held", [False, True])
def test_a_pruner_goes_on_where_it_was(held: bool) -> None:
    net = new().train()
    pruner, optimizer = pruner_of(net), sgd(net)
    train(net, optimizer, 2)
    pruner.step()
    if held:
        pruner.hold()
    kept = io.BytesIO()
    torch.save(pruner.state_dict(), kept)
    kept.seek(0)
    other = new(1)
    again = pruner_of(other)
    again.load_state_dict(torch.load(kept, weights_only=True))
    assert (again.held, again.chosen, again.sparsity()) == (held, pruner.chosen, pruner.sparsity())
    assert zero_rows(other.stem[0].weight) == (list(pruner.chosen[STREAM]) if held else [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": 0.5}, "other stays: stem.0 has 6 there and 4 here"),
        ({"criterion": "l1"}, "other criterion: fpgm there and l1 here"),
        ({"ignored": ["inner.*"]}, "other widths: inner.0 has 12 there and None here"),
    ],
)
def test_a_state_of_another_pruner_is_refused(arguments: dict[str, Any], message: str) -> None:
    state = pruner_of(new()).state_dict()
    with pytest.raises(tc.RecipeError, match=re.escape(message)):
        pruner_of(new(), **arguments).load_state_dict(state)
    with pytest.raises(tc.RecipeError, match=r"not one of SoftPruner\.state_dict"):
        pruner_of(new()).load_state_dict({})


def test_the_table_says_what_goes_and_what_stays() -> None:
    pruner = pruner_of(new())
    assert "none chosen yet" in pruner.summary()
    pruner.step()
    lines = pruner.summary().splitlines()
    assert lines[1].split() == [STREAM, "2", "8", "2", "2"]
    assert lines[2].split() == [BRANCH, "1", "12", "3", "3"]
    # two of stem's filters (27 + bias), of outer's (12 + bias), of two batch norms; 3 of inner's.
    zeroed = 2 * (28 + 13 + 4) + 3 * (73 + 2)
    total = sum(parameter.numel() for parameter in new().parameters())
    assert pruner.sparsity() == zeroed / total
    assert lines[3] == f"{zeroed / total:.1%} of all parameters zeroed (may come back)"
    assert lines[4].startswith("head stays whole: ")
