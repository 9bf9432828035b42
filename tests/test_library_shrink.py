"""``tc.shrink``, ``tc.save``, ``tc.load``, ``tc.export``, ``tc.verify`` on networks in memory."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import toolchain as tc
import toolchain.workflows.stages.measuring as measuring
from toolchain.checking.latency import compare_latency
from toolchain.recipe import default_recipe, override
from toolchain.surgery import removing

PIXELS = override(default_recipe("tiny:Tiny"), {"input.dtype": "uint8"})


class Residual(nn.Module):
    """A stream of 12 channels, and a block of 8 between."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12))
        self.inner = nn.Conv2d(12, 8, 3, padding=1)
        self.end = nn.Conv2d(8, 12, 1)
        self.head = nn.Conv2d(12, 2, 1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 2, H, W)."""
        x = self.stem(image).relu()
        return self.head(x + self.end(self.inner(x).relu()))


class Gated(nn.Module):
    """Called by keywords, and gives a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.last = nn.Conv2d(8, 4, 3)

    def forward(self, *, image: Tensor, gate: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W), (N, 1) -> (N, 4, H - 4, W - 4)."""
        return {"map": self.last(self.first(image).relu()) * gate[:, :, None, None]}


class Pooled(nn.Module):
    """A classifier whose depthwise layer shares its scale with nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2)
        self.deep = nn.Conv2d(8, 8, 3, groups=8)
        self.head = nn.Linear(8, 5)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 5)."""
        return self.head(self.deep(self.first(image).relu()).mean((2, 3)))


IMAGE = torch.zeros(1, 3, 24, 32)


def zeroed(network: nn.Module, layer: str, count: int, constant: float = 0.0) -> nn.Module:
    """Zero filters; the bias, where there is one, gives a constant in their place."""
    convolution = network.get_submodule(layer)
    with torch.no_grad():
        convolution.weight[:count] = 0
        if convolution.bias is not None:
            convolution.bias[:count] = constant
    return network


def residual() -> Residual:
    network = Residual()
    zeroed(network, "inner", 3, constant=0.7)
    return network


def plain() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 3))


CASES = [
    (residual, "inner", 5),
    (lambda: zeroed(Pooled(), "first", 2, 0.3), "first", 6),
    (lambda: zeroed(plain(), "0", 4), "0", 2),
]


@pytest.mark.parametrize(("make", "layer", "width"), CASES)
def test_a_smaller_network_gives_the_same(make, layer: str, width: int) -> None:
    network = make()
    small = tc.shrink(network, IMAGE)
    assert small.network.get_submodule(layer).out_channels == width
    image = torch.randn(2, 3, 31, 45)
    expected, found = network.eval()(image), small.network.eval()(image)
    assert torch.allclose(expected, found, rtol=0, atol=2e-6)
    assert type(small.network) is type(network)
    assert small.proof.exact is not None
    assert small.proof.exact.passed
    assert small.report.parameters_after < small.report.parameters_before
    assert f"{layer}: " in str(small.report)
    assert "in float64" in str(small.proof)


def test_the_network_that_was_given_stays_as_it_is() -> None:
    network = residual().train()
    network.head.eval()
    network.inner.weight.requires_grad_(False)
    network(torch.randn(1, 3, 16, 16)).sum().backward()
    calls: list[int] = []
    network.head.register_forward_hook(lambda *_: calls.append(1))
    before = copy.deepcopy(network.state_dict())
    gradient = network.end.weight.grad.clone()
    random = torch.get_rng_state()
    small = tc.shrink(network, IMAGE)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(network.end.weight.grad, gradient)
    assert network.training
    assert not network.head.training
    assert small.network.training
    assert not small.network.head.training
    assert not small.network.inner.weight.requires_grad
    assert small.network.end.weight.requires_grad


def test_a_smaller_network_learns() -> None:
    small = tc.shrink(residual().train(), IMAGE).network
    optimizer = torch.optim.SGD(small.parameters(), 0.1)
    before = small.inner.weight.detach().clone()
    small(torch.randn(2, 3, 16, 16)).square().mean().backward()
    optimizer.step()
    assert not torch.equal(small.inner.weight, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_types_stay(dtype: torch.dtype) -> None:
    network = residual().to(dtype).eval()
    small = tc.shrink(network, IMAGE)
    assert {each.dtype for each in small.network.parameters()} == {dtype}
    image = torch.randn(1, 3, 16, 16).to(dtype)
    coarse = torch.finfo(dtype).eps * 8 * float(network(image).detach().abs().max())
    assert (network(image) - small.network(image)).abs().max() <= coarse


def compiled(network: nn.Module) -> nn.Module:
    return torch.compile(network, backend="eager")


@pytest.mark.parametrize("wrap", [nn.DataParallel, compiled])
def test_wrappers_are_looked_through(wrap) -> None:
    small = tc.shrink(wrap(residual()), IMAGE)
    assert type(small.network) is Residual


def test_keywords_in_and_a_dictionary_out() -> None:
    network = zeroed(Gated(), "first", 3, constant=0.5)
    small = tc.shrink(network, {"image": IMAGE, "gate": torch.ones(1, 1)})
    assert small.network.first.out_channels == 5
    image, gate = torch.randn(2, 3, 20, 20), torch.rand(2, 1)
    expected, found = (each(image=image, gate=gate)["map"] for each in (network, small.network))
    assert torch.allclose(expected, found, rtol=0, atol=2e-6)


def test_what_is_wrong_is_told_in_one_line() -> None:
    with pytest.raises(tc.ModelError, match=r"must be a torch\.nn\.Module"):
        tc.shrink("network", IMAGE)  # type: ignore[arg-type]
    with pytest.raises(tc.InputError, match="example must be a tensor"):
        tc.shrink(residual(), 3)  # type: ignore[arg-type]
    with pytest.raises(tc.ModelError, match="does not run on the example"):
        tc.shrink(residual(), torch.zeros(1, 5, 16, 16))
    with pytest.raises(tc.RecipeError, match=r"must be >= 0 and <= 0.001 \(got 5.0\)"):
        tc.shrink(residual(), IMAGE, limit=5.0)
    with pytest.raises(tc.InputError, match="example must be given with a network"):
        tc.export(residual(), "nowhere")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"formats": ["onxx"]}, r"^formats must be of onnx, tflite, .* \(got onxx\)"),
        ({"formats": "int8", "calibration": "nowhere"}, "^calibration nowhere: is no folder"),
        ({"out": __file__}, r"\.py is a file; out must name a folder"),
        ({"recipe": PIXELS}, "^input.dtype = 'uint8' of the recipe is for face detec"),
    ],
)
def test_messages_name_the_arguments_of_python(
    arguments: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(tc.InputError, match=message):
        tc.export(residual(), **{"out": tmp_path / "out", "example": IMAGE, **arguments})
    with pytest.raises(tc.InputError, match=r"^target rpi9: .*add one by a Target of your own\)"):
        tc.check(tmp_path, target="rpi9")


class Moody(Residual):
    """Decides by the image."""

    def forward(self, image: Tensor) -> Tensor:
        """The same, for bright images the other way round."""
        out = super().forward(image)
        return -out if bool(image.mean() > 0) else out


def test_a_network_that_decides_by_the_image_is_refused() -> None:
    with pytest.raises(tc.AnalysisError, match="decides by values"):
        tc.shrink(zeroed(Moody(), "inner", 3), IMAGE)


def test_a_surgery_that_is_not_exact_is_not_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = removing._add_to_bias
    monkeypatch.setattr(removing, "_add_to_bias", lambda layer, shift: real(layer, shift + 0.1))
    with pytest.raises(tc.ProofError):
        tc.shrink(residual(), IMAGE)


# Saved and loaded -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_network_comes_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    small = tc.shrink(residual().to(dtype), IMAGE)
    assert small.network.end.bias is not None
    loaded = tc.load(tc.save(small, tmp_path / "small.safetensors"), Residual)
    ours, theirs = small.network.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert all(ours[name].dtype == theirs[name].dtype for name in ours)
    image = torch.randn(2, 3, 16, 16).to(dtype)
    assert torch.equal(small.network.eval()(image), loaded.eval()(image))
    loaded.train()(image).float().square().mean().backward()
    assert all(parameter.grad is not None for parameter in loaded.parameters())


def test_a_bias_that_the_surgery_made_is_saved_too(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 2, 3, bias=False))
    small = tc.shrink(zeroed(network, "0", 4, constant=1.0), IMAGE)
    assert small.network[1].bias is not None
    tc.save(small, tmp_path / "small.safetensors")
    build = lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 2, 3, bias=False))  # noqa: E731
    loaded = tc.load(tmp_path / "small.safetensors", build)
    assert torch.equal(loaded[1].bias, small.network[1].bias)


def test_a_parameter_that_modules_share_stays_shared(tmp_path: Path) -> None:
    def tied() -> nn.Module:
        network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.PReLU(6), nn.Conv2d(6, 6, 1), nn.PReLU(6))
        network[3].weight = network[1].weight
        return network

    narrow = tied()
    for index in (0, 2):
        layer = narrow[index]
        layer.weight = nn.Parameter(layer.weight[:4, : 3 if index == 0 else 4].detach().clone())
        layer.bias = nn.Parameter(layer.bias[:4].detach().clone())
    narrow[1].weight = narrow[3].weight = nn.Parameter(torch.rand(4))
    loaded = tc.load(tc.save(narrow, tmp_path / "tied.safetensors"), tied)
    assert loaded[1].weight is loaded[3].weight
    assert torch.equal(loaded[1].weight, narrow[1].weight)


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tc.save(tc.shrink(residual(), IMAGE), tmp_path / "small.safetensors")
    with pytest.raises(tc.CheckpointError, match=r"small.safetensors"):
        tc.load(path, Pooled)
    narrow = tc.load(path, Residual)
    wide = tc.save(Residual(), tmp_path / "wide.safetensors")
    with pytest.raises(tc.CheckpointError, match=r"no larger than the network's \(5, 12, 3, 3\)"):
        tc.load(wide, lambda: narrow)
    torch.save(Residual().state_dict(), tmp_path / "plain.pth")
    with pytest.raises(tc.CheckpointError, match=r"was not written by tc\.save"):
        tc.load(tmp_path / "plain.pth", Residual)
    with pytest.raises(tc.ModelError, match=r"must return a torch\.nn\.Module"):
        tc.load(path, lambda: 3)  # type: ignore[arg-type,return-value]


# Exported ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[tc.Shrunk, tc.Exported, list[str]]:
    small, heard = tc.shrink(residual().eval(), IMAGE), list[str]()
    images = torch.randn(24, *IMAGE.shape[1:], generator=torch.Generator().manual_seed(0))
    with pytest.MonkeyPatch.context() as patch:
        brief = lambda *files: compare_latency(*files, seconds=0.0)  # noqa: E731
        patch.setattr(measuring, "compare_latency", brief)
        out = tmp_path_factory.mktemp("exported") / "out"
        files = tc.export(
            small, out, formats=["onnx", "int8"], calibration=images, on_stage=heard.append
        )
    return small, files, heard


@pytest.mark.slow
def test_files_give_what_the_network_gives(exported) -> None:
    small, files, heard = exported
    assert [path.name for path in files.files] == ["model.onnx", "model_int8.onnx"]
    assert files.complete
    assert heard[:2] == ["load", "shrink"]
    assert [each.name for each in files.report.stages][-1] == "other formats and their proof"
    session = onnxruntime.InferenceSession(files.folder / "model.onnx")
    image = torch.randn(*IMAGE.shape)
    (found,) = session.run(None, {"image": image.numpy()})
    assert torch.allclose(small.network(image), torch.from_numpy(found), rtol=0, atol=1e-5)
    assert files.certificate.calibration is not None
    assert files.certificate.calibration.inputs == 20  # and 4 held out


def test_a_folder_is_verified_with_its_factory_or_its_name(exported) -> None:
    _, files, _ = exported
    found = tc.verify(files, Residual, seed=3)
    assert found.passed
    assert len(found.links) == len(files.certificate.links)
    assert tc.verify(files.folder, seed=4).passed


def test_the_weights_of_an_output_folder_are_loaded_too(exported) -> None:
    small, files, _ = exported
    loaded = tc.load(files.folder / "model.safetensors", Residual)
    assert torch.equal(loaded.inner.weight, small.network.inner.weight)


@pytest.mark.slow
def test_an_export_that_is_interrupted_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(measuring, "measure_cost", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tc.export(residual(), tmp_path / "out", example=IMAGE, formats="onnx")
    assert list(tmp_path.iterdir()) == []


def test_calibration_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(tc.InputError, match=r"inputs \(1, 3, 24, 32\).*got \(1, 3, 8, 8\)"):
        tc.export(
            residual(),
            tmp_path / "out",
            example=IMAGE,
            formats=["int8"],
            calibration=torch.randn(4, 3, 8, 8),
        )
    assert list(tmp_path.iterdir()) == []
