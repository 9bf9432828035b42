"""What a network takes: plain parameters, possible values, all of its tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from strangers import PLAIN_WEIGHTS, Small, State, assert_same, drawn, load, refusal, saved, under
from torch import nn
from torch.nn.utils import parametrizations, prune, weight_norm

from toolchain.models.choosing import Choice

# Masks and weight norm ----------------------------------------------------------------------------


def test_masked_weights_are_multiplied(tmp_path: Path) -> None:
    network = Small()
    network.load_state_dict(PLAIN_WEIGHTS)
    prune.l1_unstructured(network.body[0], "weight", amount=0.5)
    prune.random_structured(network.head, "weight", amount=2, dim=0)
    prune.l1_unstructured(network.head, "bias", amount=1)
    state = network.state_dict()
    expected = PLAIN_WEIGHTS | {
        name: state[f"{name}_orig"] * state[f"{name}_mask"]
        for name in ("body.0.weight", "head.weight", "head.bias")
    }
    assert int((expected["body.0.weight"] == 0).sum()) == 108
    found, notes = load(saved(tmp_path, under("module.", state)))
    assert_same(found, expected)
    assert notes[1:] == (
        "Made plain in w.pth: 3 parameters, each multiplied with its mask (torch.nn.utils.prune).",
    )


def test_a_masked_network_keeps_its_names(tmp_path: Path) -> None:
    network, other = Small(), Small()
    for each in (network, other):
        prune.l1_unstructured(each.body[0], "weight", amount=0.5)
    found, notes = load(saved(tmp_path, network.state_dict()), network=other)
    assert_same(found, dict(network.state_dict()))
    assert notes == ()


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize("dim", [0, 1, 3, None])
def test_weight_norm_is_made_plain_exactly(tmp_path: Path, dim: int | None) -> None:
    network = Small().eval()
    network.load_state_dict(drawn(7))
    weight_norm(network.body[0], dim=dim)
    with torch.no_grad():
        network.body[0].weight_g.mul_(1.7)
    network(torch.zeros(1, 3, 5, 5))  # computes the weight anew
    expected = drawn(7) | {"body.0.weight": network.body[0].weight.detach()}
    assert not torch.allclose(expected["body.0.weight"], drawn(7)["body.0.weight"])
    found, notes = load(saved(tmp_path, network.state_dict()))
    assert_same(found, expected)
    (note,) = notes
    assert note == (
        "Made plain in w.pth: 1 parameter computed from direction and length (weight norm)."
    )


def test_weight_norm_as_a_parametrisation(tmp_path: Path) -> None:
    network = Small()
    network.load_state_dict(PLAIN_WEIGHTS)
    parametrizations.weight_norm(network.body[0])
    with torch.no_grad():
        network.body[0].parametrizations.weight.original0.mul_(0.3)
    state = network.state_dict()
    assert "body.0.parametrizations.weight.original1" in state
    found, _ = load(saved(tmp_path, under("model.", state)))
    assert_same(found, PLAIN_WEIGHTS | {"body.0.weight": network.body[0].weight.detach()})


@pytest.mark.parametrize("older", [True, False])
def test_spectral_norm_is_refused_with_what_to_do(tmp_path: Path, older: bool) -> None:
    network = Small()
    norm = nn.utils.spectral_norm if older else parametrizations.spectral_norm
    norm(network.body[0])
    message = refusal(saved(tmp_path, network.state_dict()))
    assert "1 tensor missing (body.0.weight)" in message
    assert "before saving call torch.nn.utils.parametrize.remove_parametrizations" in message


# Types and values ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_are_taken_into_the_networks_and_told(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    state = {n: t.to(dtype) if t.is_floating_point() else t for n, t in PLAIN_WEIGHTS.items()}
    found, notes = load(saved(tmp_path, state))
    assert_same(found, {n: t.to(PLAIN_WEIGHTS[n].dtype) for n, t in state.items()})
    name = str(dtype).removeprefix("torch.")
    assert notes == (
        f"Taken into the network's float32: 7 of 8 tensors of w.pth, which are {name}.",
    )


def changed(name: str, *values: float) -> State:
    tensor = PLAIN_WEIGHTS[name].clone()
    tensor.view(-1)[: len(values)] = torch.tensor(values)
    return PLAIN_WEIGHTS | {name: tensor}


NAN, INF = float("nan"), float("inf")
VALUES: dict[str, tuple[State, str]] = {
    "a weight that is NaN": (
        changed("head.weight", NAN, NAN),
        "head.weight is NaN or infinite in 2 of 32 values; the training diverged",
    ),
    "a variance that is infinite": (
        changed("body.1.running_var", INF),
        "body.1.running_var is NaN or infinite in 1 of 8 values",
    ),
    "variances below zero": (
        changed("body.1.running_var", -1.0, -1e-6, -3.0),
        "body.1.running_var is below zero in 3 of 8 values, which no variance can be",
    ),
    "integers for weights": (
        PLAIN_WEIGHTS | {"head.weight": torch.ones(4, 8, 1, 1, dtype=torch.int8)},
        "head.weight holds int8, the network's are float32",
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_impossible_values_are_refused_by_tensor_and_count(tmp_path: Path, name: str) -> None:
    state, words = VALUES[name]
    assert words in refusal(saved(tmp_path, {"state_dict": under("model.", state)}))


def test_values_too_large_for_the_networks_type(tmp_path: Path) -> None:
    state = changed("head.weight", 1e5, -1e6, 3.0)
    message = refusal(saved(tmp_path, state), network=Small().half())
    assert "head.weight is too large for the network's float16 in 2 of 32 values; build" in message


def test_types_of_eight_bits_are_checked_too(tmp_path: Path) -> None:
    state = {
        name: tensor.to(torch.float8_e4m3fn) if tensor.is_floating_point() else tensor
        for name, tensor in PLAIN_WEIGHTS.items()
    }
    found, _ = load(saved(tmp_path, state))
    assert_same(found, {name: t.to(PLAIN_WEIGHTS[name].dtype) for name, t in state.items()})
    state["head.bias"] = torch.tensor([1.0, NAN, 2.0, 3.0]).to(torch.float8_e4m3fn)
    assert "head.bias is NaN or infinite in 1 of 4 values" in refusal(saved(tmp_path, state))


def test_values_that_are_not_taken_do_not_matter(tmp_path: Path) -> None:
    content = {"model": PLAIN_WEIGHTS, "ema": changed("head.weight", NAN)}
    found, _ = load(saved(tmp_path, content))
    assert_same(found, PLAIN_WEIGHTS)
    assert "head.weight is NaN or infinite in 1 of 32 values" in refusal(
        tmp_path / "w.pth", Choice(ema=True)
    )


def test_a_variance_of_zero_is_one(tmp_path: Path) -> None:
    state = changed("body.1.running_var", 0.0)
    found, _ = load(saved(tmp_path, state))
    assert_same(found, state)


# What does not fit --------------------------------------------------------------------------------


def lacking(*names: str) -> State:
    return {name: tensor for name, tensor in PLAIN_WEIGHTS.items() if name not in names}


MISFITS: dict[str, tuple[Any, str]] = {
    "another number of classes": (
        PLAIN_WEIGHTS | {"head.weight": torch.ones(2, 8, 1, 1), "head.bias": torch.ones(2)},
        "head.weight must be of shape (4, 8, 1, 1) (got (2, 8, 1, 1)), and 1 more of another "
        "shape; the file's head has 2 outputs, the network's 4: build the network with as many",
    ),
    "a prefix that almost fits": (
        {"model": under("net.", lacking("head.bias"))},
        "mine:Small: 'model', without the prefix 'net.': 1 tensor missing (head.bias)",
    ),
    "parameters alone": (
        lacking("body.1.running_mean", "body.1.running_var", "body.1.num_batches_tracked"),
        "2 tensors missing (body.1.running_mean, body.1.running_var); batch norm's running "
        "statistics are buffers: save network.state_dict(), not the parameters alone",
    ),
    "more under the prefix": (
        under("model.", PLAIN_WEIGHTS | {"neck.weight": torch.ones(1)}),
        "without the prefix 'model.': 1 tensor not known (neck.weight)",
    ),
    "another network": (
        {"state_dict": {f"layers.{i}.w": torch.ones(1) for i in range(5)}},
        "mine:Small: 'state_dict': 7 tensors missing (body.0.weight, body.1.weight, body.1.bias "
        "and 4 more); 5 tensors not known (layers.0.w, layers.1.w, layers.2.w and 2 more)",
    ),
    "a name in two lines": (
        PLAIN_WEIGHTS | {"more\nthan one": torch.ones(1)},
        r"1 tensor not known ('more\nthan one')",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_is_told_with_help(tmp_path: Path, name: str) -> None:
    content, words = MISFITS[name]
    assert words in refusal(saved(tmp_path, content))
