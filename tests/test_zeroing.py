"""Which filters are zeroed in networks: both scopes, and the published checkpoints."""

from __future__ import annotations

import copy
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from literal_criteria import (
    CRITERION_NAMES,
    EXAMPLE,
    slow_choice,
)
from torch import Tensor, nn

from toolchain.models.layouts import read_checkpoint
from toolchain.models.registry import build
from toolchain.models.weights import load_into
from toolchain.pruning.zeroing import zero_filters
from toolchain.recipe import Criterion, PruneSection, Scope

torch.set_num_threads(1)


# Scope layer ------------------------------------------------------------------------------------


class Assortment(nn.Module):
    """Plain, depthwise, grouped and transposed convolutions, a linear layer, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 3, bias=False)
        self.norm = nn.BatchNorm2d(10)
        self.depthwise = nn.Conv2d(10, 20, 3, groups=10)
        self.grouped = nn.Conv2d(20, 12, 3, groups=4)
        self.up = nn.ConvTranspose2d(12, 7, 2, stride=2)
        self.up_grouped = nn.ConvTranspose2d(7 + 1, 6, 2, groups=2)
        self.head = nn.Conv2d(6, 8, 1)
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(self.grouped(self.depthwise(self.norm(self.stem(x)))))
        x = self.up_grouped(torch.cat([x, x[:, :1]], 1))
        out: Tensor = self.linear(self.head(x).mean((2, 3)))
        return out


def filter_rows(module: nn.Module) -> list[list[float]]:
    """The weights that make each output channel, by loops over the weight's own layout."""
    assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    weight, groups = module.weight.detach(), module.groups
    if isinstance(module, nn.Conv2d):
        return [weight[i].flatten().tolist() for i in range(module.out_channels)]
    per_group_in, per_group_out = module.in_channels // groups, module.out_channels // groups
    rows = []
    for channel in range(module.out_channels):
        group, within = divmod(channel, per_group_out)
        inputs = range(group * per_group_in, (group + 1) * per_group_in)
        rows.append([value for i in inputs for value in weight[i, within].flatten().tolist()])
    return rows


def zero_rows(module: nn.Module) -> list[int]:
    if isinstance(module, nn.Conv2d):
        alive = module.weight.detach().flatten(1).any(dim=1)
        return (~alive).nonzero().flatten().tolist()
    return [i for i, row in enumerate(filter_rows(module)) if not any(row)]


def convolutions(network: nn.Module) -> dict[str, nn.Conv2d | nn.ConvTranspose2d]:
    found = network.named_modules()
    return {name: m for name, m in found if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)}


def assortment() -> nn.Module:
    torch.manual_seed(4)
    return Assortment().eval()


@pytest.mark.parametrize("criterion", CRITERION_NAMES)
@pytest.mark.parametrize("percent", [10, 30, 50, 90])
def test_layer_scope_zeroes_each_convolution_by_itself(criterion: Criterion, percent: int) -> None:
    before = assortment()
    prune = PruneSection(percent / 100, criterion, "layer", ("head",))
    after = zero_filters(before, EXAMPLE, prune)
    for name, module in convolutions(after).items():
        original = before.get_submodule(name)
        rows = filter_rows(original)
        chosen = [] if name == "head" else slow_choice(rows, Fraction(percent, 100), criterion)
        assert zero_rows(module) == chosen, name
        assert [row for i, row in enumerate(filter_rows(module)) if i not in chosen] == [
            row for i, row in enumerate(rows) if i not in chosen
        ], name
        if module.bias is not None:
            zeroed = (module.bias == 0).nonzero().flatten().tolist()
            assert zeroed == chosen, name
    for name in ("norm", "linear", "head"):
        for key, value in after.get_submodule(name).state_dict().items():
            assert torch.equal(value, before.get_submodule(name).state_dict()[key])


def test_a_zeroed_filter_writes_a_zero_channel() -> None:
    """Also of grouped and transposed convolutions, whose weights are laid out otherwise."""
    network = zero_filters(assortment(), EXAMPLE, PruneSection(0.5, "fpgm", "layer", ()))
    written: dict[str, Tensor] = {}
    for name, module in convolutions(network).items():
        module.register_forward_hook(lambda _, __, out, name=name: written.update({name: out}))
    with torch.no_grad():
        network(torch.randn(2, 3, 20, 20, generator=torch.Generator().manual_seed(1)))
    for name, module in convolutions(network).items():
        silent = [i for i in range(module.out_channels) if not bool(written[name][:, i].any())]
        assert silent == zero_rows(module), name
        assert len(silent) == module.out_channels // 2


@pytest.mark.parametrize("model", ["eresfd", "extd"])
@pytest.mark.parametrize("percent", [10, 50])
def test_layer_scope_on_the_detectors(model: str, percent: int) -> None:
    before = build(model, 3)
    after = zero_filters(
        before, EXAMPLE, PruneSection(percent / 100, "fpgm", "layer", ("loc.*", "conf.*"))
    )
    for name, module in convolutions(after).items():
        rows = filter_rows(before.get_submodule(name))
        head = name.startswith(("loc.", "conf."))
        expected = 0 if head else percent * len(rows) // 100
        assert len(zero_rows(module)) == expected, name
        if model == "eresfd" and not head and len(rows) <= 8:
            assert zero_rows(module) == slow_choice(rows, Fraction(percent, 100), "fpgm"), name
    zeroed = {f"{name}.weight" for name in convolutions(after)}
    zeroed |= {f"{name}.bias" for name in convolutions(after)}
    for key, value in after.state_dict().items():
        if key not in zeroed:
            assert torch.equal(value, before.state_dict()[key]), key


# Scope group ------------------------------------------------------------------------------------


class Residual(nn.Module):
    """A stem, a block whose end is added to the stem, and a head: two dependency groups."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 9, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(9)
        self.inner = nn.Conv2d(9, 14, 3, padding=1)
        self.inner_norm = nn.BatchNorm2d(14)
        self.end = nn.Conv2d(14, 9, 1, bias=False)
        self.end_norm = nn.BatchNorm2d(9)
        self.head = nn.Conv2d(9, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_norm(self.stem(x))
        inner = self.inner_norm(self.inner(x.relu())).relu()
        out: Tensor = self.head(x + self.end_norm(self.end(inner)))
        return out


def with_norms(network: nn.Module, seed: int = 6) -> nn.Module:
    """Give every batch norm a scale and a shift, so that a zero among them was written."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.uniform_(0.1, 0.5, generator=generator)
    return network.eval()


def zero_entries(norm: nn.Module) -> list[int]:
    assert isinstance(norm, nn.BatchNorm2d)
    both = (norm.weight == 0) & (norm.bias == 0)
    either = (norm.weight == 0) | (norm.bias == 0)
    assert torch.equal(both, either)
    return both.nonzero().flatten().tolist()


@pytest.mark.parametrize("criterion", CRITERION_NAMES)
@pytest.mark.parametrize("percent", [12, 34, 50, 78])
def test_group_scope_scores_a_channel_by_all_that_write_it(
    criterion: Criterion, percent: int
) -> None:
    torch.manual_seed(8)
    before = with_norms(Residual())
    prune = PruneSection(percent / 100, criterion, "group", ("head",))
    after = zero_filters(before, EXAMPLE, prune)
    rows = {name: filter_rows(before.get_submodule(name)) for name in ("stem", "inner", "end")}
    stream = [a + b for a, b in zip(rows["stem"], rows["end"], strict=True)]
    rate = Fraction(percent, 100)
    expected = {
        "stem": slow_choice(stream, rate, criterion),
        "end": slow_choice(stream, rate, criterion),
        "inner": slow_choice(rows["inner"], rate, criterion),
    }
    for name, chosen in expected.items():
        assert zero_rows(after.get_submodule(name)) == chosen, name
        assert zero_entries(after.get_submodule(f"{name}_norm")) == chosen, name
    bias = after.get_parameter("inner.bias")
    assert (bias == 0).nonzero().flatten().tolist() == expected["inner"]
    assert torch.equal(after.get_parameter("head.weight"), before.get_parameter("head.weight"))


def test_a_group_with_a_protected_member_is_left_alone() -> None:
    before = with_norms(Residual())
    after = zero_filters(before, EXAMPLE, PruneSection(0.5, "l1", "group", ("head", "end")))
    assert zero_rows(after.get_submodule("stem")) == []
    assert zero_rows(after.get_submodule("end")) == []
    assert zero_entries(after.get_submodule("stem_norm")) == []
    assert len(zero_rows(after.get_submodule("inner"))) == 7


def test_the_networks_outputs_are_left_alone() -> None:
    """Channels that the network returns cannot go, whatever the patterns say."""
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3)).eval()
    after = zero_filters(network, EXAMPLE, PruneSection(0.5, "l1", "group", ()))
    assert len(zero_rows(after.get_submodule("0"))) == 4
    assert zero_rows(after.get_submodule("2")) == []


def stage(number: int, blocks: int, *more: str) -> list[str]:
    """All that write EResFD's stream at one resolution."""
    name = f"base.m0.b2_{number}"
    ends = [f"{name}.{block}.res_layer.3" for block in range(blocks)]
    return [f"{name}.0.shortcut_layer.0", *ends, *(f"base.m0.fpn.{end}.conv.0" for end in more)]


STREAMS = {
    "eresfd": [
        ["base.conv3.0", "base.conv4.res_layer.3"],
        stage(1, 3, "itm.0"),
        stage(2, 3, "itm.1"),
        stage(3, 3, "itm.2"),
        stage(4, 2, "laterals.0", "laterals.1", "laterals.2", "laterals.3", "itm.3"),
        stage(5, 2, "laterals.4"),
    ],
    "extd": [
        ["base.0.0", "base.1.conv.0", "base.1.conv.3"]
        + [f"base.{block}.conv.6" for block in (2, 3, 4, 5)]
        + [f"upfeat.{level}.{layer}" for level in range(5) for layer in (0, 1)],
        *([f"base.{block}.conv.0", f"base.{block}.conv.3"] for block in (2, 3, 4, 5)),
    ],
}
"""Convolutions that write the same channels, read off the papers' drawings; others are alone.
A depthwise convolution writes the channels that it reads."""


@pytest.fixture(scope="module", params=["eresfd", "extd"])
def grouped(request: pytest.FixtureRequest) -> tuple[str, nn.Module, nn.Module]:
    """A detector before and after 30 % of each group are zeroed."""
    before = with_norms(build(request.param, 3))
    return request.param, before, zero_filters(before, EXAMPLE, PruneSection(0.3))


def test_group_scope_zeroes_the_same_channel_in_every_writer(
    grouped: tuple[str, nn.Module, nn.Module],
) -> None:
    model, before, after = grouped
    shared = [name for names in STREAMS[model] for name in names]
    assert len(shared) == len(set(shared))
    names = [name for name in convolutions(after) if not name.startswith(("loc.", "conf."))]
    assert set(shared) <= set(names)
    for group in [*STREAMS[model], *([name] for name in names if name not in shared)]:
        rows = [
            [weight for row in channel for weight in row]
            for channel in zip(
                *(filter_rows(before.get_submodule(name)) for name in group), strict=True
            )
        ]
        chosen = zero_rows(after.get_submodule(group[0]))
        assert len(chosen) == 3 * len(rows) // 10, group
        for name in group:
            assert zero_rows(after.get_submodule(name)) == chosen, name
        if len(rows) <= 16:
            assert chosen == slow_choice(rows, Fraction(3, 10), "fpgm"), group


def test_group_scope_zeroes_scale_and_shift_with_the_filter(
    grouped: tuple[str, nn.Module, nn.Module],
) -> None:
    """So that the channel is zero behind the batch norm, and no constant is left of it."""
    _, _, after = grouped
    modules = dict(after.named_modules())
    norms = 0
    for name, module in modules.items():
        if isinstance(module, nn.BatchNorm2d):
            owner, _, index = name.rpartition(".")
            writer = modules[f"{owner}.{int(index) - 1}"]
            assert isinstance(writer, nn.Conv2d)
            assert zero_entries(module) == zero_rows(writer), name
            norms += 1
    assert norms == {"eresfd": 75, "extd": 20}[grouped[0]]


def test_group_scope_leaves_the_rest_alone(grouped: tuple[str, nn.Module, nn.Module]) -> None:
    _, before, after = grouped
    original = before.state_dict()
    for key, value in after.state_dict().items():
        changed = value != original[key]
        assert not bool(value[changed].any()), key
        if key.startswith(("loc.", "conf.")) or "running" in key or "fpn.w1" in key:
            assert not bool(changed.any()), key


# Both scopes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["layer", "group"])
@pytest.mark.parametrize("criterion", CRITERION_NAMES)
def test_zeroing_repeats_bit_by_bit_and_spares_its_input(
    scope: Scope, criterion: Criterion
) -> None:
    torch.manual_seed(8)
    network = with_norms(Residual())
    original = copy.deepcopy(network.state_dict())
    prune = PruneSection(0.4, criterion, scope, ("head",))
    first, second = (zero_filters(network, EXAMPLE, prune).state_dict() for _ in range(2))
    assert any(not torch.equal(first[key], original[key]) for key in original)
    assert all(torch.equal(first[key], second[key]) for key in original)
    assert all(torch.equal(network.state_dict()[key], original[key]) for key in original)


@pytest.mark.parametrize("rate", [None, 0.0])
@pytest.mark.parametrize("scope", ["layer", "group"])
def test_without_a_rate_nothing_is_zeroed(scope: Scope, rate: float | None) -> None:
    network = with_norms(Residual())
    after = zero_filters(network, EXAMPLE, PruneSection(rate, "fpgm", scope, ()))
    assert after is not network
    for key, value in after.state_dict().items():
        assert torch.equal(value, network.state_dict()[key])


# The published soft-pruned checkpoints ----------------------------------------------------------

PUBLISHED: dict[str, tuple[str, int, dict[str, int]]] = {
    "eresfd/ERES.pth": ("eresfd", 0, {}),
    "eresfd/ERES10_FPGM.pth": (
        "eresfd",
        10,
        {
            "base.m0.b2_3.2.res_layer.0": 3,
            "base.m0.b2_5.1.res_layer.0": 2,
            "base.m0.fpn.laterals.4.conv.0": 2,
            "base.m0.fpn.itm.2.conv.0": 2,
            "base.m0.fpn.itm.3.conv.0": 3,
        },
    ),
    "eresfd/ERES30_FPGM.pth": (
        "eresfd",
        30,
        {
            "base.m0.b2_5.1.res_layer.0": 6,
            "base.m0.fpn.laterals.4.conv.0": 7,
            "base.m0.fpn.itm.3.conv.0": 6,
            "base.m0.FEM_5.res_branch3.3": 2,
        },
    ),
    "eresfd/ERES50_FPGM.pth": (
        "eresfd",
        50,
        {"base.m0.fpn.laterals.4.conv.0": 11, "base.m0.fpn.itm.3.conv.0": 11},
    ),
    "eresfd/ERES50_L1.pth": (
        "eresfd",
        50,
        {"base.m0.fpn.laterals.4.conv.0": 14, "base.m0.fpn.itm.3.conv.0": 12},
    ),
    "extd/EXTD.pth": ("extd", 0, {}),
    "extd/EXTD10_FPGM.pth": (
        "extd",
        10,
        {"upfeat.0.1": 7, "upfeat.1.1": 7, "upfeat.2.1": 12, "upfeat.3.1": 10},
    ),
    "extd/EXTD50_FPGM.pth": ("extd", 50, {}),
}
"""File -> model, percent, and the layers with more zero filters than were pruned: their filters
died of weight decay behind a scale of almost zero."""


@pytest.mark.parametrize("file", PUBLISHED)
def test_published_checkpoints_have_as_many_zero_filters(shared: Path, file: str) -> None:
    model, percent, more = PUBLISHED[file]
    network = build(model)
    load_into(network, read_checkpoint(shared / "weights" / "paper" / file), model)
    for name, module in convolutions(network).items():
        head = name.startswith(("loc.", "conf."))
        pruned = 0 if head else percent * module.out_channels // 100
        assert len(zero_rows(module)) == more.get(name, pruned), name
        assert more.get(name, pruned + 1) > pruned
