"""Soft filter pruning of networks of any kind: what is left as it was, and what is refused."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pruned import BRANCH, EXAMPLE, STREAM, Net, new, pruner_of, same, sgd, train, zero_rows
from torch import Tensor, multiprocessing, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel

import toolchain as tc

torch.set_num_threads(1)


# The network as it is -----------------------------------------------------------------------------


def facts(net: nn.Module) -> list[object]:
    return [
        [(n, m.training, type(m), len(m._forward_hooks)) for n, m in net.named_modules()],
        [(n, p.dtype, p.device, p.stride(), p.requires_grad) for n, p in net.named_parameters()],
        [None if p.grad is None else p.grad.sum().item() for p in net.parameters()],
        [(n, b.clone().tolist()) for n, b in net.named_buffers()],
    ]


def plain(net: nn.Module) -> nn.Module:
    return net


# torch.compile loads parts of torch that warn of others.
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    "wrap",
    [plain, torch.compile, nn.DataParallel, AveragedModel],
    ids=["plain", "compiled", "DataParallel", "averaged"],
)
def test_a_network_is_left_as_it_was_in_any_wrapper(wrap: Callable[[nn.Module], Any]) -> None:
    net = new().train().to(memory_format=torch.channels_last)
    net.stem.eval()
    net.head.bias.requires_grad_(False)
    train(net, torch.optim.SGD(net.parameters(), lr=0.0), 1)
    net.inner.register_forward_hook(lambda *_: None)
    wrapped = wrap(net)
    inner = wrapped.module if isinstance(wrapped, AveragedModel) else net
    before, random = facts(wrapped), torch.get_rng_state()
    pruner = pruner_of(wrapped)
    assert same(inner.state_dict(), net.state_dict())
    pruner.step()
    assert facts(wrapped) == before
    assert torch.equal(torch.get_rng_state(), random)
    assert same(inner.state_dict(), tc.prune(net, EXAMPLE, rate=0.25).state_dict())


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_part_may_be_compiled() -> None:
    net, whole = new(), new()
    net.inner = torch.compile(net.inner)  # type: ignore[assignment]
    pruner = pruner_of(net, ignored=[net.inner])
    assert [group.name for group in pruner.groups] == [STREAM]
    pruner_of(net).step()
    expected = tc.prune(whole, EXAMPLE, rate=0.25).state_dict()
    state = {name.replace("_orig_mod.", ""): t for name, t in net.state_dict().items()}
    assert same(state, expected)


def test_a_pruned_copy_leaves_the_network_whole() -> None:
    net = new().train().bfloat16()
    before = copy.deepcopy(net.state_dict())
    soft = tc.prune(nn.DataParallel(net), EXAMPLE, rate=0.25)
    assert same(net.state_dict(), before)
    assert isinstance(soft, Net)
    assert (soft.training, soft.head.weight.dtype) == (True, torch.bfloat16)
    assert len(zero_rows(soft.stem[0].weight)) == 2


class TwoInputs(Net):
    """Takes an image and a mask, and returns a record."""

    def forward(self, image: Tensor, mask: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        return {"scores": super().forward(image * mask)}


@pytest.mark.parametrize(
    "example",
    [
        (EXAMPLE, torch.ones(1, 1, 16, 16)),
        {"mask": torch.ones(1, 1, 16, 16), "image": EXAMPLE},
    ],
    ids=["tuple", "dict"],
)
def test_an_example_is_a_tuple_or_a_dict(example: Any) -> None:
    torch.manual_seed(0)
    net = TwoInputs()
    pruner = tc.SoftPruner(net, example, rate=0.25)
    pruner.step()
    assert {g.name: g.gone for g in pruner.groups} == {STREAM: 2, BRANCH: 3}
    assert len(zero_rows(net.stem[0].weight)) == 2


def test_layers_with_computed_weights_stay_and_are_named() -> None:
    net = new()
    parametrizations.weight_norm(net.inner[0])
    pruner = pruner_of(net)
    assert [group.name for group in pruner.groups] == [STREAM]
    assert pruner.left_out["inner.0"].startswith("its weight is computed")
    pruner.step()
    assert len(zero_rows(net.stem[0].weight)) == 2


def _rank(rank: int, folder: Path) -> None:
    """Train as one of two processes on photos of its own, pruned and then held."""
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    net = DistributedDataParallel(new().train())
    pruner, optimizer = pruner_of(net, rate={"stem.*": 0.25, "outer.*": 0.25}), sgd(net)
    pruner.attach(optimizer)
    for step in range(4):
        optimizer.zero_grad()
        generator = torch.Generator().manual_seed(10 * rank + step)
        net(torch.randn(2, 3, 16, 16, generator=generator)).square().mean().backward()
        optimizer.step()
        pruner.step()
        if step == 2:
            pruner.hold()
    state = {name: tensor for name, tensor in net.module.state_dict().items() if "num" not in name}
    torch.save((dict(pruner.chosen), state), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_processes_of_a_distributed_training_choose_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    multiprocessing.spawn(_rank, (tmp_path,), nprocs=2)
    chosen, state = torch.load(tmp_path / "0.pt")
    other_chosen, other = torch.load(tmp_path / "1.pt")
    assert chosen == other_chosen
    assert same(*({n: t for n, t in each.items() if "running" not in n} for each in (state, other)))
    assert zero_rows(state["stem.0.weight"]) == list(chosen[STREAM])
    assert len(chosen[STREAM]) == 2


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": 5.0}, "prune.rate must be >= 0 and < 1 (got 5.0)"),
        ({"rate": {"stem.*": 1.0}}, "prune.rate.stem.* must be >= 0 and < 1 (got 1.0)"),
        ({"rate": {"stm.0": 0.5}}, "rate: no layer's name matches 'stm.0'; did you mean 'stem.0'?"),
        ({"rate": {}}, "rate must name a layer"),
        ({"rate": 0.05}, "a rate of 0.05 takes no filter of any layer; give at least 1 / 12"),
        ({"rate": 0.25, "round_to": 16}, "or no round_to"),
        ({"rate": None}, "exactly one of rate, parameters, macs, widths and instructions"),
        ({"parameters": 100}, "(got rate and parameters)"),
        ({"rate": None, "parameters": 0}, "parameters must be >= 1"),
        ({"criterion": "l2"}, "criterion must be fpgm, l1 or a callable (got 'l2')"),
        ({"criterion": 3}, "criterion must be fpgm, l1 or a callable (got 3)"),
        ({"scope": "net"}, "prune.scope must be one of group, layer"),
        ({"ignored": "head.*"}, "ignored must be a list"),
        ({"ignored": ["heads"]}, "no layer's name matches 'heads'; did you mean 'head'?"),
        ({"ignored": [nn.ReLU()]}, "ignored: a ReLU is no module of this network"),
        ({"round_to": 0}, "round_to must be >= 1"),
        ({"rate": None, "macs": 1.5}, "macs must be a whole number, or a share > 0 and < 1"),
        ({"rate": None, "macs": "half"}, "macs must be int (got 'half')"),
        ({"rate": None, "widths": {"stem.0": 9}}, "its width must be >= 1 and <= 8 (got 9)"),
        ({"rate": None, "widths": {"stem.0": 4}, "round_to": 2}, "widths are exact"),
        ({"rate": None, "widths": {"stem.0": 4}, "scope": "layer"}, "scope must be group"),
    ],
)
def test_arguments_are_held_to_their_ranges(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(tc.RecipeError, match=re.escape(message)):
        pruner_of(new(), **arguments)


def test_a_target_out_of_reach_is_told_with_what_can_be_reached() -> None:
    with pytest.raises(tc.InputError, match=r"parameters=0.01 is out of reach: the highest rate"):
        tc.SoftPruner(new(), EXAMPLE, parameters=0.01)
    with pytest.raises(tc.InputError, match=r"parameters=10 is out of reach: the highest rate"):
        tc.SoftPruner(new(), EXAMPLE, parameters=10)


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ("image", "example must be a tensor, a tuple of arguments or a dict"),
        ((), "with a tensor among them"),
        (torch.zeros(1, 3, 8, 8, device="meta"), "example must have values"),
    ],
)
def test_an_example_that_is_none_is_refused(example: Any, message: str) -> None:
    with pytest.raises(tc.InputError, match=message):
        tc.SoftPruner(new(), example, rate=0.25)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (torch.zeros(1), r"network must be a torch\.nn\.Module \(got Tensor\)"),
        (nn.Sequential(nn.Conv2d(4, 4, 1)), "does not run on the example, 1x3x16x16"),
        (nn.Sequential(nn.Conv2d(3, 4, 1)), "no filter can be removed .0 stays: they are part"),
        (nn.Conv2d(3, 4, 1, device="meta"), "on the device meta"),
    ],
)
def test_what_is_no_network_to_prune_is_refused(net: Any, message: str) -> None:
    with pytest.raises(tc.ModelError, match=message):
        tc.SoftPruner(net, EXAMPLE, rate=0.25)


def test_weights_that_are_not_finite_are_told_and_left() -> None:
    net = new()
    pruner = pruner_of(net)
    net.inner[0].weight.data[3] = math.nan
    before = net.stem[0].weight.detach().clone()
    with pytest.raises(tc.InputError, match=r"inner\.0\.weight is not finite"):
        pruner.step()
    assert torch.equal(net.stem[0].weight, before)


def test_a_network_whose_layers_changed_is_told() -> None:
    net = new()
    pruner = pruner_of(net)
    net.inner[0] = nn.Conv2d(8, 6, 3, padding=1)
    with pytest.raises(tc.ModelError, match=r"inner\.0\.weight was \(12, 8, 3, 3\) .* and is \(6,"):
        pruner.step()
