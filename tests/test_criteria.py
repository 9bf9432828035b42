"""Which filters are zeroed: the criteria against plain Python, then both scopes on networks.

FPGM and L1 are written here a second time as loops over floats, from the papers' formulas. On
random weights the choices are those of NNI 3.0's FPGMPruner and L1NormPruner as well; that was
compared by hand, NNI is no dependency.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from toolchain.errors import InputError
from toolchain.models.layouts import read_checkpoint
from toolchain.models.registry import build
from toolchain.models.weights import load_into
from toolchain.pruning import criteria as criteria_module
from toolchain.pruning.criteria import CRITERIA, choose, fpgm_scores, l1_scores
from toolchain.pruning.zeroing import zero_filters
from toolchain.recipe import Criterion, PruneSection, Scope
from toolchain.surgery.layers import Layer

torch.set_num_threads(1)

Row = Sequence[float]
EXAMPLE = torch.zeros(1, 3, 64, 64)
CRITERION_NAMES: list[Criterion] = ["fpgm", "l1"]


# The criteria, a second time --------------------------------------------------------------------


def slow_scores(filters: Sequence[Row], criterion: str) -> list[float]:
    """Sum of distances to all filters (FPGM), or sum of absolute weights (L1)."""
    if criterion == "l1":
        return [math.fsum(abs(weight) for weight in row) for row in filters]
    scores = []
    for row in filters:
        distances = []
        for other in filters:
            squares = [(a - b) ** 2 for a, b in zip(row, other, strict=True)]
            distances.append(math.sqrt(math.fsum(squares)))
        scores.append(math.fsum(distances))
    return scores


def slow_choice(filters: Sequence[Row], rate: Fraction, criterion: str) -> list[int]:
    scores = slow_scores(filters, criterion)
    order = sorted(range(len(filters)), key=lambda index: (scores[index], index))
    return sorted(order[: math.floor(rate * len(filters))])


def random_filters(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


sizes = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31))
percents = st.integers(0, 99)
criteria = st.sampled_from(CRITERION_NAMES)


@given(sizes, criteria)
@settings(deadline=None)
def test_scores_are_those_of_the_papers(size: tuple[int, int, int], criterion: Criterion) -> None:
    filters = random_filters(*size)
    expected = slow_scores(filters.tolist(), criterion)
    assert CRITERIA[criterion](filters).tolist() == pytest.approx(expected, rel=1e-13, abs=1e-13)


@given(sizes, percents, criteria)
@settings(deadline=None)
def test_choice_is_that_of_the_papers(
    size: tuple[int, int, int], percent: int, criterion: Criterion
) -> None:
    filters = random_filters(*size)
    if size[0] == 2 or size[1] == 1:
        filters = (filters * 8).round()  # there filters tie in truth: compute without rounding
    expected = slow_choice(filters.tolist(), Fraction(percent, 100), criterion)
    assert choose(filters, percent / 100, criterion) == expected


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=14), percents, criteria)
@settings(deadline=None)
def test_ties_go_by_index(weights: list[int], percent: int, criterion: Criterion) -> None:
    """Whole numbers in one dimension: every sum is exact, and many are equal."""
    filters = torch.tensor(weights, dtype=torch.float32)[:, None]
    expected = slow_choice(
        [[float(weight)] for weight in weights], Fraction(percent, 100), criterion
    )
    assert choose(filters, percent / 100, criterion) == expected


def test_fpgm_by_hand() -> None:
    """Points 0, 1, 3 and 10 on a line: 14, 12, 12 and 26. A right triangle of sides 3, 4, 5."""
    line = torch.tensor([[0.0], [1], [3], [10]])
    assert fpgm_scores(line).tolist() == [14, 12, 12, 26]
    assert [choose(line, rate, "fpgm") for rate in (0.24, 0.25, 0.5, 0.75)] == [
        [],
        [1],
        [1, 2],
        [0, 1, 2],
    ]
    assert fpgm_scores(torch.tensor([[0.0, 0], [3, 0], [0, 4]])).tolist() == [7, 8, 9]


def test_l1_by_hand() -> None:
    filters = torch.tensor([[1.0, -2], [0, 0.5], [-3, 3]])
    assert l1_scores(filters).tolist() == [3, 0.5, 6]
    assert choose(filters, 0.67, "l1") == [0, 1]


@given(st.integers(1, 99), st.integers(1, 130))
@settings(deadline=None, max_examples=300)
def test_count_is_the_floor_of_the_exact_product(percent: int, n: int) -> None:
    """In floats 0.29 * 100 is 28.999999999999996; of 100 filters 29 go all the same."""
    filters = torch.arange(float(n))[:, None]
    assert choose(filters, percent / 100, "l1") == list(range(percent * n // 100))


@pytest.mark.parametrize(
    ("rate", "n", "count"),
    [
        (0.1, 10, 1),
        (0.3, 10, 3),
        (0.7, 10, 7),
        (0.29, 100, 29),
        (0.57, 100, 57),
        (0.1, 9, 0),
        (0.1, 16, 1),
        (0.5, 4, 2),
        (1 / 3, 3, 1),
    ],
)
def test_counts_that_rounding_could_get_wrong(rate: float, n: int, count: int) -> None:
    assert len(choose(random_filters(n, 4, n), rate, "fpgm")) == count


@given(sizes.filter(lambda size: size[0] >= 3), st.integers(0, 11))
@settings(deadline=None)
def test_a_sign_flip_matters_to_fpgm_alone(size: tuple[int, int, int], at: int) -> None:
    """FPGM is about distances between filters; on |w| (torch-pruning's) a flip changes nothing."""
    filters = random_filters(*size)
    flipped = filters.clone()
    flipped[at % len(filters)] *= -1
    assert not torch.equal(fpgm_scores(filters), fpgm_scores(flipped))
    assert torch.equal(l1_scores(filters), l1_scores(flipped))


def test_a_sign_flip_changes_the_choice_of_fpgm() -> None:
    near = torch.tensor([[4.0], [5], [6], [1]])
    assert choose(near, 0.5, "fpgm") == [0, 1]
    far = torch.tensor([[-4.0], [5], [6], [1]])
    assert choose(far, 0.5, "fpgm") == [1, 3]


def test_filters_that_are_zero_already_are_counted_first_if_asked() -> None:
    """FPGM alone takes the zero filter for one that is far from all others."""
    filters = torch.tensor([[5.0], [6], [0], [5.5], [-1]])
    assert choose(filters, 0.4, "fpgm") == [0, 3]
    assert choose(filters, 0.4, "fpgm", zeros_first=True) == [0, 2]
    assert choose(filters, 0.0, "fpgm", zeros_first=True) == []


def test_equal_filters_are_at_distance_zero_exactly() -> None:
    """So a filter that is there twice goes first, and the one with the lower index."""
    row = torch.full((1, 1000), 0.1)
    assert fpgm_scores(row.repeat(3, 1)).tolist() == [0, 0, 0]
    filters = random_filters(5, 9, 1)
    filters[3] = filters[1]
    scores = fpgm_scores(filters)
    assert scores[1] == scores[3]


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


# Large layers, criteria of one's own, transposed convolutions ------------------------------------


@given(st.integers(2, 12), st.integers(1, 12), st.integers(0, 2**31))
@settings(deadline=None)
def test_products_and_differences_give_the_same_scores(n: int, d: int, seed: int) -> None:
    filters = random_filters(n, d, seed).double()
    products = criteria_module._by_products(filters)
    assert products.tolist() == pytest.approx(fpgm_scores(filters).tolist(), rel=1e-6, abs=1e-6)


def test_products_are_taken_of_large_layers_and_equal_filters_tie(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    filters = random_filters(9, 40, 1)
    filters[[2, 7]], filters[[3, 5, 8]] = filters[4].clone(), 0.0
    expected = fpgm_scores(filters)
    monkeypatch.setattr(criteria_module, "PAIRWISE", 0)
    scores = fpgm_scores(filters)
    assert torch.allclose(scores, expected, rtol=1e-13)
    assert len({float(scores[index]) for index in (2, 4, 7)}) == 1
    assert len({float(scores[index]) for index in (3, 5, 8)}) == 1


def test_a_criterion_of_ones_own_chooses_its_smallest_first() -> None:
    filters = torch.tensor([[3.0, 0], [0, -1], [2, 2]])
    assert choose(filters, 0.67, lambda rows: -rows[:, 0]) == [0, 2]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (torch.zeros(3, 1), r"a score for each filter, shape \(3,\), .*got shape \(3, 1\)"),
        (torch.tensor([0.0, math.nan, 1]), "finite scores .got nan for filter 1."),
        ([0.0, 1.0, 2.0], "a tensor of 3 scores .got list."),
    ],
)
def test_what_a_criterion_returns_is_checked(returned: object, message: str) -> None:
    def mine(filters: Tensor) -> Tensor:
        return returned  # type: ignore[return-value]

    with pytest.raises(InputError, match=f"mine must return {message}"):
        choose(torch.ones(3, 2), 0.5, mine)


def test_zeroing_a_transposed_convolution_with_groups_takes_its_filters() -> None:
    layer = Layer("up", nn.ConvTranspose2d(4, 6, 3, groups=2))
    before = layer.filters().detach().clone()
    layer.zero([0, 4])
    assert layer.zero_filters().tolist() == [True, False, False, False, True, False]
    rest = [1, 2, 3, 5]
    assert torch.equal(layer.filters()[rest], before[rest])
    assert layer.bias is not None
    assert layer.bias[[0, 4]].tolist() == [0, 0]
