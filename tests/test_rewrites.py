"""Activations in the form that runtimes execute fast: the same values, to the last bit."""

from __future__ import annotations

import copy

import onnx
import pytest
import torch
from torch import nn

from toolchain.exporting.onnx_file import export_onnx
from toolchain.exporting.rewriting import Rewrites
from toolchain.exporting.rewriting.activations import rewrite_activations
from toolchain.models.registry import build


def network(*slopes: float) -> nn.Sequential:
    shared = nn.PReLU(len(slopes))
    with torch.no_grad():
        shared.weight.copy_(torch.tensor(slopes))
    return nn.Sequential(nn.Conv2d(3, 4, 3), shared, nn.Sequential(nn.Conv2d(4, 4, 1), shared))


@pytest.mark.parametrize("slopes", [(0.25,), (0.1,), (-0.3,), (0.0,), (0.7, 0.7, 0.7, 0.7)])
def test_one_slope_becomes_leaky(slopes: tuple[float, ...]) -> None:
    plain = network(*slopes)
    fast = copy.deepcopy(plain)
    assert rewrite_activations(fast) == 2
    assert not any(isinstance(module, nn.PReLU) for module in fast.modules())
    image = torch.randn(2, 3, 9, 9)
    assert torch.equal(plain(image), fast(image))


@pytest.mark.parametrize("slopes", [(0.1, 0.2, 0.1, 0.1), (float("nan"),)])
def test_others_stay(slopes: tuple[float, ...]) -> None:
    stays = network(*slopes)
    assert rewrite_activations(stays) == 0
    assert any(isinstance(module, nn.PReLU) for module in stays.modules())


@pytest.mark.slow
def test_extd_goes_out_without_prelu(tmp_path_factory: pytest.TempPathFactory) -> None:
    small = build("extd")
    path = tmp_path_factory.mktemp("extd") / "model.onnx"
    names = ("loc", "logits")
    export_onnx(
        small,
        torch.zeros(1, 3, 64, 64),
        path,
        output_names=names,
        metadata={},
        rewrites=Rewrites(("leaky",)),
    )
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert "LeakyRelu" in kinds
    assert "PRelu" not in kinds
    assert any(isinstance(module, nn.PReLU) for module in small.modules())  # ours is untouched
