"""Weights that are computed anew in every run become plain, value for value."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from toolchain.checking.cost import count_parameters
from toolchain.errors import CheckpointError
from toolchain.models.plain_weights import make_plain, plainly
from toolchain.models.weights import save_native
from toolchain.recipe import default_recipe, override
from toolchain.workflows.pipeline import Job, run_shrink
from toolchain.zoo.sources import load_network

IMAGE = torch.linspace(-2, 2, 3 * 12 * 10).reshape(1, 3, 12, 10)
COUNT = (16 * 3 * 9 + 16) + (12 * 16 * 9 + 12) + (16 * 12 * 9 + 16) + (2 * 16 + 2)


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, quick_latency: None) -> None:
    monkeypatch.chdir(Path(__file__).parent)


class Doubled(nn.Module):
    """A parametrisation of one's own."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight * 2


class Shaken(nn.Module):
    """A parametrisation that is never the same."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight + torch.rand_like(weight)


def old_weight_norm(layer: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.nn.utils.weight_norm(layer)


def mask_twice(layer: nn.Module) -> None:
    prune.ln_structured(layer, "weight", 0.5, n=1, dim=0)
    prune.l1_unstructured(layer, "weight", 0.2)


WAYS: dict[str, Callable[[nn.Module], object]] = {
    "A mask (torch.nn.utils.prune)": mask_twice,
    "Weight norm": parametrizations.weight_norm,
    "Weight norm of old": old_weight_norm,
    "Spectral norm": parametrizations.spectral_norm,
    "Spectral norm of old": torch.nn.utils.spectral_norm,
    "The parametrisation Doubled": lambda layer: parametrize.register_parametrization(
        layer, "weight", Doubled()
    ),
}


@pytest.mark.parametrize("kind", WAYS)
def test_a_computed_weight_becomes_plain_and_gives_the_same(kind: str) -> None:
    network = tiny.Convolutions()
    WAYS[kind](network.inner)
    network.eval()
    with torch.no_grad():
        before = network(IMAGE)
        (note,) = make_plain(network)
        assert torch.equal(network(IMAGE), before)
    assert note.startswith(f"{kind.removesuffix(' of old')} of inner.weight gives plain weights")
    assert type(network.inner) is nn.Conv2d
    assert set(network.state_dict()) == set(tiny.Convolutions().state_dict())
    assert isinstance(network.inner.weight, nn.Parameter)


def test_a_frozen_weight_becomes_a_frozen_parameter() -> None:
    network = tiny.weight_normed().requires_grad_(False)
    make_plain(network)
    assert isinstance(network.inner.weight, nn.Parameter)
    assert not network.inner.weight.requires_grad


def test_a_weight_that_is_never_the_same_is_left_alone() -> None:
    network = tiny.Convolutions()
    parametrize.register_parametrization(network.inner, "weight", Shaken())
    assert make_plain(network) == ()
    assert parametrize.is_parametrized(network.inner)


@pytest.mark.parametrize("kind", WAYS)
def test_the_deployed_count_is_that_of_the_plain_weight(kind: str) -> None:
    network = tiny.Convolutions()
    WAYS[kind](network.inner)
    assert count_parameters(network.eval()) == (COUNT, 0)
    assert "inner.weight" not in network.state_dict()  # the network itself stays as it is


@pytest.mark.parametrize("plain", [False, True])
def test_weights_load_whether_the_file_has_them_plain_or_not(plain: bool, tmp_path: Path) -> None:
    given = tiny.weight_normed().eval()
    with torch.no_grad():
        expected = given(IMAGE)
        if plain:
            make_plain(given)
    torch.save(given.state_dict(), tmp_path / "weights.pth")
    loaded = load_network(default_recipe("tiny:weight_normed"), tmp_path / "weights.pth")
    with torch.no_grad():
        assert torch.equal(loaded.network(IMAGE), expected)
    assert any("Weight norm of inner.weight" in note for note in loaded.notes)


def test_weights_that_fit_neither_way_are_refused_for_what_they_are() -> None:
    def refuse(network: nn.Module) -> None:
        raise CheckpointError("fits not")

    with pytest.raises(CheckpointError, match="fits not"):
        plainly(tiny.weight_normed(), refuse)


@pytest.mark.slow
def test_a_masked_network_is_zeroed_where_its_mask_is_and_shrinks(tmp_path: Path) -> None:
    """Of 16 channels of the stream four are masked in both layers that write it."""
    report = run_shrink(Job(default_recipe("tiny:masked"), tmp_path / "out", formats=("onnx",)))
    after = {layer.layer: layer.out_channels_after for layer in report.surgery.layers}
    assert (after["stem"], after["end"]) == (12 + kept(report.surgery), 12 + kept(report.surgery))
    assert report.surgery.removal is not None
    assert report.surgery.removal.zeroed == 8
    assert any("A mask (torch.nn.utils.prune) of stem.weight" in note for note in report.notes)


def kept(surgery: object) -> int:
    """How many of the four masked channels of ``stem`` carry the constants of the others."""
    return sum(f.verdict == "kept" and f.layer == "stem" for f in surgery.filters)  # type: ignore


@pytest.mark.slow
def test_a_layer_with_weight_norm_is_pruned_like_any_other(tmp_path: Path) -> None:
    own = override(default_recipe("tiny:weight_normed"), {"prune.rate": 0.5})
    report = run_shrink(Job(own, tmp_path / "out", formats=("onnx",)))
    after = {layer.layer: layer.out_channels_after for layer in report.surgery.layers}
    assert after["inner"] == 6
    assert report.cost_before.deployed_parameters == COUNT
    again = load_network(
        default_recipe("tiny:weight_normed"), tmp_path / "out" / "model.safetensors"
    )
    assert again.network.inner.out_channels == 6


def test_a_native_file_of_plain_weights_is_taken(tmp_path: Path) -> None:
    network = tiny.weight_normed().eval()
    make_plain(network)
    save_native(copy.deepcopy(network), tmp_path / "w.safetensors", {"model": "tiny:weight_normed"})
    loaded = load_network(default_recipe("tiny:weight_normed"), tmp_path / "w.safetensors")
    assert torch.equal(loaded.network.inner.weight, network.inner.weight)
