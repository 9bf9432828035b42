"""The programs of ``recipes/examples`` run, and end with what they promise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from toolchain.recipes.examples import (
    classifier_from_checkpoint,
    gate_your_model,
    lightning_style_loop,
    own_training_loop,
    resuming,
    shapes_to_boxes,
    shapes_to_masks,
    shrink_and_export,
)

if TYPE_CHECKING:
    from toolchain.arm.sysroot import Sysroot

torch.set_num_threads(1)

PROGRAMS = sorted(Path(resuming.__file__).parent.glob("[!_]*.py"))


def widths(network: nn.Module) -> list[int]:
    return [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)]


def outputs(network: nn.Module, *shape: int) -> torch.Tensor:
    with torch.no_grad():
        found = network.eval()(torch.rand(*shape, generator=torch.Generator().manual_seed(3)))
    return torch.cat([each.flatten() for each in (found if isinstance(found, tuple) else (found,))])


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60


def test_a_detector_of_ones_own_ends_smaller_and_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    soft, small = own_training_loop.main(epochs=2, steps=3)
    assert widths(small) == [12, 16, 20, 1, 4]  # 10, 15 and 20 by the rate, in multiples of 4
    assert torch.allclose(outputs(small, 1, 3, 64, 64), outputs(soft, 1, 3, 64, 64), atol=1e-5)
    assert "(held)" in capsys.readouterr().out


def test_hooks_as_of_lightning_end_smaller_and_the_same() -> None:
    soft, small = lightning_style_loop.main()
    assert sum(parameter.numel() for parameter in small.parameters()) <= 800
    assert torch.allclose(outputs(small, 1, 1, 16, 16), outputs(soft, 1, 1, 16, 16), atol=1e-5)


def test_a_checkpoint_ends_smaller_and_the_same(tmp_path: Path) -> None:
    soft, small = classifier_from_checkpoint.main(tmp_path)
    assert widths(small) == [24, 24, 24, 16, 24]
    assert torch.allclose(outputs(small, 1, 3, 32, 32), outputs(soft, 1, 3, 32, 32), atol=1e-5)
    kept = torch.load(tmp_path / "small.pth", weights_only=True)
    small.load_state_dict(kept)


def test_a_training_that_is_resumed_ends_bit_for_bit_the_same(tmp_path: Path) -> None:
    whole, parts = resuming.main(tmp_path)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name]), name
    assert len((whole[0].weight.flatten(1) == 0).all(dim=1).nonzero()) == 2


def test_what_is_shrunk_is_saved_and_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], quick_latency: None
) -> None:
    small, again, files = shrink_and_export.main(tmp_path)
    assert widths(again) == [12, 12, 2]
    assert torch.equal(outputs(again, 1, 3, 64, 64), outputs(small.network, 1, 3, 64, 64))
    assert [path.name for path in files.files] == ["model.onnx", "model_int8.onnx"]
    printed = capsys.readouterr().out
    assert "stem.0: 16 -> 12 channels" in printed
    assert printed.endswith("complete\n")


@pytest.mark.slow
def test_a_gate_of_ones_own_stops_a_wider_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], quick_latency: None, ready: Sysroot
) -> None:
    baseline = tmp_path / "baseline.json"
    assert gate_your_model.main(baseline, tmp_path / "first") == 0
    assert gate_your_model.main(baseline, tmp_path / "wider", width=16) == 1
    assert "instructions" in capsys.readouterr().out.partition("WORSE")[0].splitlines()[-1]


@pytest.mark.long
def test_a_detector_of_shapes_keeps_its_precision_in_int8(tmp_path: Path) -> None:
    found = shapes_to_boxes.main(tmp_path)
    assert list(found) == ["trained", "model.onnx", "model_int8.onnx"]
    assert found["model.onnx"] == found["trained"] > 0.9
    assert found["model_int8.onnx"] >= found["trained"] - 0.02


@pytest.mark.long
def test_masks_of_shapes_keep_their_overlap_in_int8(tmp_path: Path) -> None:
    found = shapes_to_masks.main(tmp_path)
    assert list(found) == ["trained", "model.onnx", "model_int8.onnx"]
    assert found["model.onnx"] == pytest.approx(found["trained"], abs=1e-3)
    assert found["trained"] > 0.7
    assert found["model_int8.onnx"] >= found["trained"] - 0.02
