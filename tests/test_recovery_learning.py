"""A part of a network learns, and the rest stays as it is, to the bit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from teaching import Residual, images, trained
from torch import nn

import toolchain as tc
from toolchain.errors import InputError
from toolchain.recovery.learning import let_learn
from toolchain.recovery.norms import average_batch_norm

EXAMPLE = torch.zeros(1, 3, 16, 16)


def recovered(before: nn.Module, **options: Any) -> nn.Module:
    torch.manual_seed(1)
    return tc.recover(before, EXAMPLE, images=images(48), rate=0.3, steps=10, **options)


def changed(before: nn.Module, after: nn.Module) -> set[str]:
    """Names of top modules in which anything that is not zeroed differs."""
    ours, theirs = before.state_dict(), after.state_dict()
    return {
        name.partition(".")[0]
        for name, tensor in ours.items()
        if not torch.equal(torch.where(theirs[name] == 0, 0, tensor), theirs[name])
    }


def test_only_what_is_named_learns_and_statistics_stay_elsewhere() -> None:
    before = trained(Residual(classes=3))
    tops = {name for name, module in before.named_children() if [*module.parameters()]}
    last = [name for name, _ in before.named_children() if name in tops][-1]
    after = recovered(before, learn=[last])
    assert changed(before, after) == {last}
    assert changed(before, recovered(before)) == tops
    assert all(parameter.requires_grad for parameter in after.parameters())
    assert tc.shrink(after, EXAMPLE) is not None


@pytest.mark.parametrize(
    ("learn", "words"),
    [
        (["heads"], "no module's name matches 'heads'"),
        ([], "learn must be a list"),
        ("fc", "learn must be a list"),
    ],
)
def test_what_cannot_learn_is_refused(learn: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        recovered(trained(Residual()), learn=learn)


def test_a_module_without_weights_cannot_learn() -> None:
    with pytest.raises(InputError, match="there are no weights in 1"):
        let_learn(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), ["1"])


def test_what_is_within_a_module_learns_with_it() -> None:
    whole = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), nn.Conv2d(4, 4, 1))
    staying = let_learn(copy.deepcopy(whole), ["0"])
    assert staying == {"", "1"}
    assert let_learn(copy.deepcopy(whole), ["0.*"]) == {"", "0", "1"}
    assert let_learn(copy.deepcopy(whole), None) == frozenset()


def test_statistics_of_what_stays_are_not_averaged() -> None:
    network = trained(Residual())
    norms = [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    before = {name: network.get_submodule(name).running_mean.clone() for name in norms}
    average_batch_norm(network, [((5 * images(4),), {})], staying=norms[1:])
    same = [torch.equal(network.get_submodule(n).running_mean, before[n]) for n in norms]
    assert same == [False] + [True] * (len(norms) - 1)
