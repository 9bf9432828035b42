"""TFLite files by the real converter and the real runtime; only where the extra is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toolchain.checking.parity import random_inputs
from toolchain.checking.tflite import run_tflite
from toolchain.deploy import detect
from toolchain.errors import ExportError
from toolchain.exporting.extra import PINS, lacking
from toolchain.exporting.tflite import export_tflite
from toolchain.exporting.tflite_quantised import TfliteQuantiser
from toolchain.lineage import verifying
from toolchain.recipe import default_recipe, override
from toolchain.records.certificate import NAME, read_certificate
from toolchain.workflows.pipeline import Job, run_shrink

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(lacking() is not None, reason=f"{lacking()}"),
    pytest.mark.filterwarnings("ignore"),  # the converter's own
]


class Nearest(nn.Module):
    """Resizes by scales that are not whole, which converters round each in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, image: Tensor) -> Tensor:
        small = self.conv(image)
        return F.interpolate(small, size=(29, 53), mode="nearest")


class Inner(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return torch.special.bessel_j1(image)


class Unknown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.strange = Inner()

    def forward(self, image: Tensor) -> Tensor:
        return self.strange(self.conv(image))


def unknown() -> nn.Module:
    """For the command line: test_tflite:unknown."""
    return Unknown()


def test_the_pins_are_those_of_the_project() -> None:
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    for package, version in PINS.items():
        assert f'"{package}=={version}"' in text


def test_nearest_is_resized_as_pytorch_does(tmp_path: Path) -> None:
    network = Nearest().eval()
    example = torch.zeros(1, 3, 17, 33)
    export_tflite(network, example, tmp_path / "a.tflite", output_names=["y"], metadata={"a": "b"})
    (noise,) = random_inputs([(1, 3, 17, 33)], 0)
    (found,) = run_tflite(tmp_path / "a.tflite")(noise.image)
    with torch.no_grad():
        expected = network(noise.image).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.ptp(expected))
    assert detect.tflite_metadata((tmp_path / "a.tflite").read_bytes(), "a") == "b"


def test_outputs_of_an_int8_layer_stay_float32(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 7 * 7, 5)
    network, path = nn.Sequential(*layers).eval(), tmp_path / "a.tflite"
    export_tflite(network, torch.zeros(1, 1, 16, 16), path, output_names=["y"], metadata={"a": "b"})
    inputs = random_inputs([(1, 1, 16, 16)], 0)[0].image
    quantiser = TfliteQuantiser(path.read_bytes(), [inputs.numpy().transpose(0, 2, 3, 1)], {})
    (tmp_path / "b.tflite").write_bytes(quantiser.quantised(quantiser.operators))
    (expected,), (found,) = run_tflite(path)(inputs), run_tflite(tmp_path / "b.tflite")(inputs)
    assert found.dtype == np.float32
    assert 0 < np.abs(found - expected).max() < 0.05 * np.ptp(expected)


def test_an_unknown_operator_is_named_with_its_layer(tmp_path: Path) -> None:
    with pytest.raises(
        ExportError, match=r"does not know the operator aten.special_bessel_j1.default of layer "
    ) as caught:
        export_tflite(
            Unknown().eval(),
            torch.zeros(1, 3, 32, 32),
            tmp_path / "a.tflite",
            output_names=["y"],
            metadata={},
        )
    assert "strange" in str(caught.value)
    assert not (tmp_path / "a.tflite").exists()


@pytest.mark.parametrize("model", ["eresfd", "extd"])
def test_all_formats_of_a_detector(model: str, tmp_path: Path, quick_latency: None) -> None:
    sizes = {"input.height": 160, "input.width": 224, "prune.rate": 0.3}
    recipe = override(default_recipe(model), sizes)
    report = run_shrink(Job(recipe, tmp_path / "out"))
    certificate = read_certificate(tmp_path / "out" / NAME)
    assert certificate == report.certificate
    assert certificate.is_complete, certificate.failures
    costs = {link.after: link for link in certificate.links}
    assert (costs["model.tflite"].worst or 1) <= 2e-5
    assert 0 < (costs["model_fp16.tflite"].mean or 1) <= 1e-3
    assert 1e-4 < (costs["model_int8.tflite"].mean or 1) <= 0.05
    size = {file.name: file.size_bytes for file in certificate.files}
    # EXTD's int8 is no smaller than its half: every call of a block has scales of its own.
    assert max(size["model_int8.tflite"], size["model_fp16.tflite"]) < size["model.tflite"]
    for name in ("model.tflite", "model_fp16.tflite", "model_int8.tflite"):
        detector = detect.Detector(tmp_path / "out" / name, threads=1)
        assert detector.specification.layout == "NHWC"
        assert detector.size == (160, 224)
    assert verifying.verify(tmp_path / "out", 3, lambda _name: None).passed


def test_a_network_of_ones_own_takes_the_same_road(
    tmp_path: Path, quick_latency: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    recipe = override(
        default_recipe("test_tflite:unknown"), {"input.height": 32, "input.width": 48}
    )
    with pytest.raises(ExportError, match="cannot be exported to ONNX"):
        run_shrink(Job(recipe, tmp_path / "out"))
