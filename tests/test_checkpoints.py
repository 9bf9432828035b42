"""Weights from strangers: every layout is read, and what is written comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoints import (
    MODELS,
    WEIGHT,
    assert_holds,
    five_files,
    load,
    random_state,
    saved,
)
from safetensors.torch import save_file
from torch import Tensor, nn

from toolchain.models.layouts import read_checkpoint
from toolchain.models.registry import build
from toolchain.models.weights import load_into, save_native, unique_state
from toolchain.pruning.zeroing import zero_filters
from toolchain.recipe import PruneSection
from toolchain.surgery.removing import shrink
from toolchain.system.files import sha256_of

torch.set_num_threads(1)


# Layouts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("zip_format", [True, False])
def test_flat_state_dict(tmp_path: Path, model: str, zip_format: bool) -> None:
    state = random_state(model)
    path = saved(tmp_path / "flat.pth", state, _use_new_zipfile_serialization=zip_format)
    checkpoint, network = load(path, model)
    assert_holds(network, state)
    assert (checkpoint.name, checkpoint.layout) == ("flat.pth", f"{model}/flat")
    assert (checkpoint.model, checkpoint.aspect_ratio) == (model, 1.0)
    assert checkpoint.sha256 == sha256_of(path)


def test_epoch_and_weight(tmp_path: Path) -> None:
    state = random_state("extd")
    checkpoint, network = load(saved(tmp_path / "e.pth", {"epoch": 3, "weight": state}), "extd")
    assert_holds(network, state)
    assert (checkpoint.layout, checkpoint.aspect_ratio) == ("extd/epoch-weight", 1.0)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "weight"])
def test_state_dict_under_a_usual_key(tmp_path: Path, key: str) -> None:
    state = random_state()
    checkpoint, network = load(saved(tmp_path / "w.pth", {"epoch": 3, key: state}))
    assert_holds(network, state)
    assert checkpoint.layout == "eresfd/flat"


@pytest.mark.parametrize("model", MODELS)
def test_prefix_of_data_parallel_is_taken_off(tmp_path: Path, model: str) -> None:
    state = random_state(model)
    path = saved(tmp_path / "p.pth", {f"module.{key}": value for key, value in state.items()})
    checkpoint, network = load(path, model)
    assert_holds(network, state)
    assert checkpoint.model == model


@pytest.mark.parametrize("by", ["folder", "prefix"])
def test_five_files_have_anchors_higher_than_wide(tmp_path: Path, by: str) -> None:
    state = random_state()
    folder = five_files(tmp_path / "face", state)
    checkpoint, network = load(folder if by == "folder" else folder / "face.pth")
    assert_holds(network, state)
    assert (checkpoint.name, checkpoint.layout) == ("face.pth", "eresfd/clovaai")
    assert (checkpoint.model, checkpoint.aspect_ratio) == ("eresfd", 1.25)


def test_digest_of_five_files_changes_with_each_of_them(tmp_path: Path) -> None:
    state = random_state()
    folder = five_files(tmp_path / "face", state)
    digests = [read_checkpoint(folder).sha256]
    for part in ("base", "loc", "conf"):
        key = next(key for key in state if key.startswith(f"{part}."))
        five_files(folder, {**state, key: state[key] + 1})
        digests.append(read_checkpoint(folder).sha256)
    assert len(set(digests)) == 4
    five_files(folder, state)
    assert read_checkpoint(folder).sha256 == digests[0]


def test_counters_of_batch_norm_may_be_missing(tmp_path: Path) -> None:
    state = random_state()
    small = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    assert len(small) < len(state)
    _, network = load(saved(tmp_path / "old.pth", small))
    assert_holds(network, state)


def test_state_dict_of_a_network_of_ones_own_is_plain(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    checkpoint = read_checkpoint(saved(tmp_path / "own.pth", network.state_dict()))
    assert (checkpoint.layout, checkpoint.model, checkpoint.aspect_ratio) == ("plain", None, None)
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    load_into(other, checkpoint, "mine:factory")
    assert_holds(other, dict(network.state_dict()))


def test_safetensors_without_our_metadata_are_plain(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    save_file(random_state(), path)
    checkpoint, network = load(path)
    assert (checkpoint.layout, checkpoint.aspect_ratio) == ("plain", None)
    assert_holds(network, random_state())


@pytest.mark.parametrize("model", MODELS)
def test_native_file_brings_model_and_ratio(tmp_path: Path, model: str) -> None:
    network = build(model, 11)
    path = tmp_path / "n.safetensors"
    save_native(network, path, {"model": model, "aspect_ratio": 1.5, "trained": False})
    checkpoint, loaded = load(path, model)
    assert_holds(loaded, random_state(model))
    assert (checkpoint.layout, checkpoint.model) == ("native", model)
    assert checkpoint.aspect_ratio == 1.5
    assert checkpoint.metadata["trained"] is False
    assert checkpoint.metadata["widths"]["loc.0.weight"] == [4, 16 if model == "eresfd" else 64]


PUBLISHED = {
    "upstream/eresfd": ("eresfd/clovaai", 1.25),
    "upstream/eresfd/eresfd_16.pth": ("eresfd/clovaai", 1.25),
    "upstream/extd/EXTD_64.pth": ("extd/flat", 1.0),
    "paper/eresfd/ERES.pth": ("eresfd/flat", 1.0),
    "paper/eresfd/ERES10_FPGM.pth": ("eresfd/flat", 1.0),
    "paper/eresfd/ERES50_L1.pth": ("eresfd/flat", 1.0),
    "paper/extd/EXTD.pth": ("extd/flat", 1.0),
    "paper/extd/EXTD50_FPGM.pth": ("extd/flat", 1.0),
}


@pytest.mark.parametrize("file", PUBLISHED)
def test_published_checkpoint(shared: Path, file: str) -> None:
    layout, ratio = PUBLISHED[file]
    model = layout.split("/")[0]
    checkpoint, network = load(shared / "weights" / file, model)
    assert (checkpoint.layout, checkpoint.aspect_ratio) == (layout, ratio)
    found = network.state_dict()
    assert checkpoint.state.keys() == found.keys()
    assert all(torch.equal(checkpoint.state[key], found[key]) for key in found)


# There and back again ---------------------------------------------------------------------------

IMAGE = torch.randn(1, 3, 97, 66, generator=torch.Generator().manual_seed(1)) * 64


def outputs(network: nn.Module) -> list[Tensor]:
    with torch.no_grad():
        return list(network(IMAGE))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("eresfd", "group"), id="eresfd-group"),
        pytest.param(("eresfd", "layer"), id="eresfd-layer", marks=pytest.mark.slow),
        pytest.param(("extd", "group"), id="extd-group", marks=pytest.mark.slow),
    ],
)
def narrowed(request: pytest.FixtureRequest) -> tuple[str, nn.Module]:
    """A network with half of its filters zeroed, after the surgery."""
    model, scope = request.param
    example = torch.zeros(1, 3, 64, 64)
    soft = zero_filters(build(model, 11), example, PruneSection(rate=0.5, scope=scope))
    small, _ = shrink(soft, example)
    return model, small


@pytest.mark.slow
def test_narrowed_network_comes_back_bit_by_bit(
    tmp_path: Path, narrowed: tuple[str, nn.Module]
) -> None:
    model, network = narrowed
    before = sum(parameter.numel() for parameter in build(model).parameters())
    after = sum(parameter.numel() for parameter in network.parameters())
    assert after < 0.95 * before
    save_native(network, tmp_path / "n.safetensors", {"model": model, "aspect_ratio": 1.25})
    _, loaded = load(tmp_path / "n.safetensors", model)
    assert sum(parameter.numel() for parameter in loaded.parameters()) == after
    assert all(torch.equal(a, b) for a, b in zip(outputs(network), outputs(loaded), strict=True))


def test_modules_of_a_loaded_network_know_their_widths(
    tmp_path: Path, narrowed: tuple[str, nn.Module]
) -> None:
    model, network = narrowed
    save_native(network, tmp_path / "n.safetensors", {"model": model})
    _, loaded = load(tmp_path / "n.safetensors", model)
    for name, module in network.named_modules():
        other = loaded.get_submodule(name)
        assert repr(module) == repr(other), name


def test_the_same_network_gives_the_same_bytes(
    tmp_path: Path, narrowed: tuple[str, nn.Module]
) -> None:
    model, network = narrowed
    metadata = {"model": model, "aspect_ratio": 1.25}
    paths = [tmp_path / name for name in ("a.safetensors", "b.safetensors", "c.safetensors")]
    save_native(network, paths[0], metadata)
    save_native(network, paths[1], dict(reversed(metadata.items())))
    _, loaded = load(paths[0], model)
    save_native(loaded, paths[2], metadata)
    assert paths[0].read_bytes() == paths[1].read_bytes() == paths[2].read_bytes()
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_another_weight_gives_other_bytes(tmp_path: Path) -> None:
    network = build("eresfd")
    save_native(network, tmp_path / "a.safetensors", {"model": "eresfd"})
    with torch.no_grad():
        network.get_parameter(WEIGHT)[0, 0, 0, 0] += 1
    save_native(network, tmp_path / "b.safetensors", {"model": "eresfd"})
    first, second = (tmp_path / name for name in ("a.safetensors", "b.safetensors"))
    assert first.read_bytes() != second.read_bytes()


class Tied(nn.Module):
    """One weight under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4, bias=False)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x))
        return out


def test_a_tensor_with_two_names_is_saved_under_both(tmp_path: Path) -> None:
    network = Tied()
    state = unique_state(network)
    assert list(state) == ["first.weight", "second.weight"]
    pointers = {tensor.untyped_storage().data_ptr() for tensor in state.values()}
    assert len(pointers) == 2
    save_native(network, tmp_path / "t.safetensors", {"model": "mine:Tied"})
    other = Tied()
    load_into(other, read_checkpoint(tmp_path / "t.safetensors"), "mine:Tied")
    assert_holds(other, dict(network.state_dict()))


class EveryLayer(nn.Module):
    """One of each kind of layer that the surgery narrows."""

    def __init__(self, c: int = 6, out: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, c, 3, bias=False),
            nn.BatchNorm2d(c),
            nn.PReLU(c),
            nn.Conv2d(c, 2 * c, 3, groups=c),
            nn.ConvTranspose2d(2 * c, 2 * c, 2, stride=2, groups=2 * c),
            nn.ConvTranspose2d(2 * c, c, 2, stride=2),
            nn.Flatten(),
            nn.Linear(c * 16 * 16, out),
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result


def test_every_kind_of_layer_can_be_narrowed_and_gets_new_biases(tmp_path: Path) -> None:
    small = EveryLayer(4, 5).eval()
    convolution = small.layers[0]
    assert isinstance(convolution, nn.Conv2d)
    convolution.bias = nn.Parameter(torch.ones(4))  # as the surgery adds one
    save_native(small, tmp_path / "e.safetensors", {"model": "mine:EveryLayer"})
    loaded = EveryLayer().eval()
    load_into(loaded, read_checkpoint(tmp_path / "e.safetensors"), "mine:EveryLayer")
    assert repr(loaded) == repr(small)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(loaded(x), small(x))
