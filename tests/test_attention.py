"""Attention: queries, keys and values lose as many channels of every head, or whole heads."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from networks.attention import ApartAttention, MapAttention, SelfAttention, in_tokens
from networks.layers import Apply
from torch import Tensor, nn
from torch.nn import functional as F

import toolchain as tc
from toolchain.pruning.zeroing import zero_filters
from toolchain.recipe import PruneSection
from toolchain.records.reasons import Reason
from toolchain.records.stages import Number, Surgery
from toolchain.report.run.ways import ways_words
from toolchain.surgery.removing import Cut, cut

IMAGE = torch.zeros(1, 3, 6, 8)
ATTENTION = "scaled_dot_product_attention"
SIZES = ((6, 8), (5, 7), (12, 10))


def made(attention: nn.Module, *, maps: bool = False) -> nn.Module:
    """A convolution to 16 channels, attention among its pixels, a head."""
    block = attention if maps else Apply(in_tokens, attention)
    network = nn.Sequential(nn.Conv2d(3, 16, 1), block, nn.Conv2d(16, 2, 3, padding=1))
    generator = torch.Generator().manual_seed(3)
    for parameter in network.parameters():
        parameter.data.normal_(0.1, 0.4, generator=generator)
    return network.eval()


def attention_of(network: nn.Module) -> nn.Module:
    kinds = SelfAttention | ApartAttention | MapAttention | Heads | Masked | Twice
    return next(module for module in network.modules() if isinstance(module, kinds))


def done(soft: nn.Module) -> Cut:
    """The surgery, whose network is the same function in float64 at several sizes."""
    found = cut(soft, IMAGE)
    assert found.exact is not None
    for height, width in SIZES:
        image = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2
        with torch.no_grad():
            a = copy.deepcopy(soft).double()(image.double())
            assert float((a - found.exact(image.double())).abs().max() / a.abs().max()) < 1e-12
    return found


def pruned(network: nn.Module) -> Cut:
    prune = PruneSection(rate=0.25, scope="group", protected=())
    return done(zero_filters(network, IMAGE, prune))


def kept(surgery: Surgery) -> set[Reason]:
    return {item.reason for item in surgery.filters if item.verdict == "kept"}


def widths(network: nn.Module) -> list[int]:
    return [
        len(module.weight)
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]


@pytest.mark.parametrize("fused", [False, True])
def test_heads_lose_as_many_queries_keys_and_values(fused: bool) -> None:
    found = pruned(made(SelfAttention(16, 8, fused=fused)))
    assert (widths(found.network), kept(found.surgery)) == ([12, 36, 12, 2], set())
    assert attention_of(found.network).scale == 8**-0.5


def test_layers_apart_that_divide_the_embedding_are_narrowed_by_other_numbers() -> None:
    found = pruned(made(ApartAttention(16, fused=False)))
    assert (widths(found.network), kept(found.surgery)) == ([12, 12, 12, 12, 12, 2], set())
    assert {number.after for number in found.surgery.numbers} == {6, 12}


def test_the_scale_that_the_operator_takes_from_the_width_becomes_a_number() -> None:
    network = made(ApartAttention(16, fused=True))
    found = pruned(network)
    assert (widths(found.network), kept(found.surgery)) == ([12, 12, 12, 12, 12, 2], set())
    assert Number("1.part_0", f"{ATTENTION}:scale", 8, 8) in found.surgery.numbers
    assert "a root in 1.part_0 stays that of 8" in " ".join(ways_words(found.surgery))


@pytest.mark.parametrize("name", ["power", "root"])
def test_the_root_of_a_shape_stays_what_it_is(name: str) -> None:
    attention: nn.Module = SelfAttention(16, 8, fused=False, own_width=True)
    found = pruned(made(attention if name == "power" else Masked(rooted)))
    assert kept(found.surgery) == set()
    assert widths(found.network)[1] == (36 if name == "power" else 12)


def rooted(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT / math.sqrt(k.size(-1))).softmax(-1) @ v


class Unwritable(ApartAttention):
    """Code with optional arguments is not written anew."""

    def forward(self, x: Tensor, mask: None = None) -> Tensor:
        return super().forward(x)


def test_a_scale_in_code_that_stays_as_it_is_keeps_queries_and_keys() -> None:
    network = made(Unwritable(16, fused=True))
    for layer in (attention_of(network).q, attention_of(network).k):
        layer.weight.data[[3, 11]] = layer.bias.data[[3, 11]] = 0
    found = done(network)
    assert kept(found.surgery) == {Reason("operator", operator=ATTENTION)}


class Weigher(nn.Module):
    """Attention of what it is given."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)


class Twice(nn.Module):
    """One module weighs by queries of two layers, of these widths."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.q = nn.ModuleList(nn.Linear(16, width) for width in widths)
        self.k = nn.ModuleList(nn.Linear(16, width) for width in widths)
        self.v, self.weigh = nn.Linear(16, 16), Weigher()

    def forward(self, x: Tensor) -> Tensor:
        for q, k in zip(self.q, self.k, strict=True):
            x = x + self.weigh(q(x), k(x), self.v(x))
        return x


@pytest.mark.parametrize("both", [(8, 8), (8, 4), (4, 8)])
def test_one_scale_for_queries_of_several_layers_keeps_them(both: tuple[int, int]) -> None:
    found = pruned(made(Twice(*both)))
    assert widths(found.network)[1:5] == [*both, *both]


def test_maps_lose_keys_and_values_apart() -> None:
    found = pruned(made(MapAttention(16), maps=True))
    assert (widths(found.network), kept(found.surgery)) == ([12, 24, 12, 12, 2], set())
    assert attention_of(found.network).scale == 4**-0.5


def test_a_key_of_zeros_frees_its_query() -> None:
    network = made(ApartAttention(16, fused=False))
    attention = attention_of(network)
    attention.k.weight.data[[3, 11]] = attention.k.bias.data[[3, 11]] = 0
    assert widths(done(network).network) == [16, 14, 14, 16, 16, 2]


def test_a_query_that_is_constant_and_not_zero_stays() -> None:
    """Times a key that depends on the image it still weighs the tokens."""
    network = made(ApartAttention(16, fused=False))
    attention_of(network).q.weight.data[[3, 11]] = 0
    found = done(network)
    assert widths(found.network)[1:3] == [16, 16]
    (reason,) = kept(found.surgery)
    assert (reason.code, reason.layers) == ("still_written", ("1.part_0.k",))


def test_a_value_that_is_constant_passes_weights_that_sum_to_one() -> None:
    network = made(ApartAttention(16, fused=True))
    attention_of(network).v.weight.data[[3, 11]] = 0
    found = done(network)
    assert (widths(found.network)[3], kept(found.surgery)) == (14, set())


class Heads(nn.Module):
    """Many narrow heads: what can go is a head."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.width = 8, 2
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))
        self.proj = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        count, tokens, _ = x.shape

        def divided(layer: nn.Module) -> Tensor:
            out: Tensor = layer(x).view(count, tokens, self.heads, self.width).transpose(1, 2)
            return out

        q, k, v = divided(self.q), divided(self.k), divided(self.v)
        weights = (q @ k.transpose(-2, -1) * 0.7).softmax(-1)
        out: Tensor = self.proj((weights @ v).transpose(1, 2).flatten(2))
        return out


def test_heads_go_as_a_whole_where_they_are_many() -> None:
    found = pruned(made(Heads()))
    assert (widths(found.network), kept(found.surgery)) == ([12, 12, 12, 12, 12, 2], set())
    assert [(number.before, number.after) for number in found.surgery.numbers] == [(8, 6)]


class Masked(nn.Module):
    """Weights over the first tokens alone."""

    def __init__(self, weigh: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))
        self.weigh = weigh

    def forward(self, x: Tensor) -> Tensor:
        return self.weigh(self.q(x), self.k(x), self.v(x))


def fused_under_a_mask(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    seen = torch.arange(k.shape[1]) < 9
    mask = torch.where(seen, 0.0, -30.0).to(q).expand(q.shape[1], -1)
    return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], mask, scale=0.3)[:, 0]


PRODUCTS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "einsum": lambda q, k, v: torch.einsum(
        "nij,njc->nic", torch.einsum("nic,njc->nij", q, k).softmax(-1), v
    ),
    "of channels first": lambda q, k, v: (v.mT @ (q @ k.mT).softmax(-1)).mT,
    "linear": lambda q, k, v: q.sigmoid().sub(0.5) @ (k.mT @ v.tanh()),
    "under a mask": fused_under_a_mask,
    "causal": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.2),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_in_other_words_lose_nothing(name: str) -> None:
    network = made(Masked(PRODUCTS[name]))
    found = pruned(network)
    assert kept(found.surgery) == set()
    left = {"linear": [16, 16]}.get(name, [12, 12])
    assert widths(found.network)[1:3] == left


@pytest.mark.parametrize("fused", [False, True])
def test_attention_comes_back_from_its_file(tmp_path: Path, fused: bool) -> None:
    small = pruned(made(ApartAttention(16, fused=fused))).network
    tc.save(small, tmp_path / "small.safetensors")
    again = tc.load(
        tmp_path / "small.safetensors", lambda: made(ApartAttention(16, fused=fused))
    ).eval()
    with torch.no_grad():
        assert torch.equal(again(IMAGE + 1), small(IMAGE + 1))


class Weighed(nn.Module):
    """A constant of the network's own times keys."""

    def __init__(self) -> None:
        super().__init__()
        self.k, self.v, self.q = nn.Linear(16, 8), nn.Linear(16, 16), nn.Parameter(torch.ones(4, 8))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = (self.q @ self.k(x).mT).softmax(-1) @ self.v(x)
        return x + out.mean(1, keepdim=True)


def test_a_fixed_query_keeps_the_keys() -> None:
    network = made(Weighed())
    network[1].part_0.k.weight.data[3] = network[1].part_0.k.bias.data[3] = 0
    found = done(network)
    assert network[1].part_0.k.out_features == 8
    assert widths(found.network)[1] == 8


def test_both_factors_constant_and_not_zero_stay_and_are_named() -> None:
    network = made(ApartAttention(16, fused=False))
    for layer in (attention_of(network).q, attention_of(network).k):
        layer.weight.data[[3, 11]] = 0
    found = done(network)
    assert kept(found.surgery) == {Reason("product", operator="bmm")}


class Whole(nn.Module):
    """A shape is given whole, not side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Conv2d(16, 16, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).flatten(2) for layer in (self.q, self.k, self.v))
        out: Tensor = x + (v @ (q.mT @ k).softmax(-1).mT).view(x.shape)
        return out


def test_values_that_are_viewed_as_the_embedding_lose_as_many() -> None:
    found = pruned(made(Whole(), maps=True))
    assert (widths(found.network), kept(found.surgery)) == ([12, 12, 12, 12, 2], set())


def test_attention_behind_a_norm_loses_what_the_embedding_keeps() -> None:
    """As in vision transformers: the code divides and joins by the embedding's own width."""
    network = made(nn.Sequential(nn.LayerNorm(16), ApartAttention(16, fused=False)))
    found = pruned(network)
    assert (widths(found.network), kept(found.surgery)) == ([16, 12, 12, 12, 16, 2], set())
