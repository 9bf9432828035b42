"""Whether what a network is given fits what its batch norms have learnt."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from toolchain import cli
from toolchain.checking.fitting import Fitting, LayerFit, measure_fitting
from toolchain.checking.pictures import smooth_input
from toolchain.cli.feeding import need_size
from toolchain.errors import InputError
from toolchain.recipe import InputSection, default_recipe

EXAMPLE = torch.zeros(1, 3, 32, 48)


def norm(mean: float, variance: float, channels: int = 3) -> nn.BatchNorm2d:
    """A batch norm that has learnt these."""
    made = nn.BatchNorm2d(channels, eps=0.0).eval()
    made.running_mean = torch.full((channels,), float(mean))
    made.running_var = torch.full((channels,), float(variance))
    return made


def halves(low: float, high: float) -> Tensor:
    """Half of the pixels low, half high."""
    image = torch.full((1, 3, 4, 4), float(low))
    image[..., 2:] = high
    return image


def test_figures_are_deviations_and_times_of_what_was_learnt() -> None:
    # Of -1 and 5 the mean is 2 and the variance 9; learnt: mean 1 and variance 4.
    (found,) = measure_fitting(nn.Sequential(norm(1, 4)), [(halves(-1, 5),)]).layers
    assert (found.layer, found.place) == ("0", 1)
    assert found.deviations == pytest.approx(0.5)
    assert found.times == pytest.approx(2.25)
    assert found.fits


def test_inputs_are_taken_together() -> None:
    # 0 and 2, then 4 and 6: the mean is 3, the variance 5.
    inputs = [(halves(0, 2),), (halves(4, 6),)]
    (found,) = measure_fitting(nn.Sequential(norm(3, 1)), inputs).layers
    assert (found.deviations, found.times) == (pytest.approx(0), pytest.approx(5))


@pytest.mark.parametrize(
    ("mean", "variance", "words"),
    [
        (2, 0.01, "900 times what it has learnt"),
        (2, 9000, "1/1,000 of what it has learnt"),
        (-16, 9, "6 deviations from what it has learnt"),
    ],
)
def test_what_does_not_fit_is_told_with_figures(mean: float, variance: float, words: str) -> None:
    found = measure_fitting(nn.Sequential(norm(mean, variance)), [(halves(-1, 5),)])
    assert not found.fits
    assert found.warning is not None
    assert found.warning.startswith("INPUT DOES NOT FIT the network: at batch norm 1 (0) ")
    assert words in found.warning


def test_the_first_that_does_not_fit_is_named() -> None:
    layers = (LayerFit("stem", 1, 0.1, 2.0), LayerFit("body", 2, 41.0, 1.0))
    warning = Fitting(layers).warning
    assert warning is not None
    assert "at batch norm 2 (body) the inputs' mean is 41 deviations" in warning
    assert Fitting(layers[:1]).warning is None


def test_layers_that_have_learnt_nothing_say_nothing() -> None:
    fresh, without = nn.BatchNorm2d(3), nn.BatchNorm2d(3, track_running_stats=False)
    network = nn.Sequential(fresh, without).eval()
    assert measure_fitting(network, [(halves(-100, 100),)]) == Fitting(())
    assert measure_fitting(nn.Conv2d(3, 2, 1), [(EXAMPLE,)]) == Fitting(())


def test_channels_that_are_constant_do_not_count() -> None:
    image = halves(-1, 5)
    image[:, :2] = 1e6
    (found,) = measure_fitting(nn.Sequential(norm(2, 9)), [(image,)]).layers
    assert found.fits
    assert measure_fitting(nn.Sequential(norm(2, 9)), [(torch.ones(1, 3, 4, 4),)]).layers == ()


def normalised() -> nn.Module:
    """A classifier whose batch norms have met inputs of mean 0 and a deviation of 1."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for width, following in ((3, 8), (8, 8)):
        layers += [nn.Conv2d(width, following, 3, 2, 1), nn.BatchNorm2d(following), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    for seed in range(30):
        images = smooth_input(EXAMPLE, seed, (-2.0, 2.0)).image
        network(torch.cat([images, images.flip(3)]))
    return network.eval()


def test_pixels_in_place_of_normalised_inputs_are_told() -> None:
    network = normalised()
    for section, fits in (
        (InputSection(), False),
        (InputSection(scale=1 / 255, mean=(0.45,), std=(0.225,)), True),
    ):
        shown = [(smooth_input(EXAMPLE, 100 + seed, section.given).image,) for seed in range(8)]
        assert measure_fitting(network, shown).fits is fits


# On the command line ----------------------------------------------------------------------------

MODULE = """
import torch
from test_fitting import normalised
def build():
    return normalised()
def sized():
    return normalised()
sized.input_size = (3, 32, 48)
def wrong():
    return normalised()
wrong.input_size = "large"
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of one's own."""
    name = f"own_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return name


def test_without_a_size_the_question_comes_back(
    own: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["shrink", f"{own}:build"]) == 2
    assert "say the input's size: --size HEIGHTxWIDTH, or input_size =" in capsys.readouterr().err
    (tmp_path / "r.toml").write_text(f'[model]\nname = "{own}:build"\n[input]\nscale = 0.5\n')
    assert cli.run(["shrink", f"{own}:build", "--recipe", "r.toml"]) == 2
    assert not (tmp_path / "out").exists()


def test_a_factory_or_a_recipe_may_say_the_size(own: str, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("[input]\nheight = 64\nwidth = 64\n", encoding="utf-8")
    plain = default_recipe(f"{own}:build")
    need_size(f"{own}:sized", plain, None, None)
    need_size(f"{own}:build", plain, path, None)
    need_size(f"{own}:build", plain, None, ["32x48"])
    need_size("eresfd", default_recipe("eresfd"), None, None)
    for name in ("build", "wrong"):
        with pytest.raises(InputError, match="say the input's size"):
            need_size(f"{own}:{name}", plain, None, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scale", "a"], "--scale must be numbers, such as 1/255 (got 'a')"),
        (["--scale", "1/0"], "--scale must be numbers, such as 1/255 (got '1/0')"),
        (["--scale", "1,2,3"], "--scale must be one number, such as 1/255 (got '1,2,3')"),
        (["--std", "0"], "input.std must be >= 1e-06"),
        (["--mean", "1,2"], "input.mean must have 1 or 3 entries for RGB (got 2: [1.0, 2.0])"),
    ],
)
def test_wrong_numbers_are_bad_input(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["shrink", "tiny:Tiny", "--size", "32x48", *options]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_options_take_the_place_of_the_recipes_numbers() -> None:
    from toolchain.cli.feeding import fed_as

    recipe = default_recipe("eresfd")
    assert fed_as(recipe, {"scale": None, "mean": None}) == recipe
    found = fed_as(recipe, {"scale": "1/255", "mean": ".5", "std": "0.5,0.25,0.5"}).input
    expected = InputSection(scale=1 / 255, mean=(0.5,), std=(0.5, 0.25, 0.5))
    assert found == dataclasses.replace(expected, height=480, width=640)
    assert found.given == (-2.0, 2.0)


@pytest.mark.slow
def test_a_run_says_what_it_assumes_and_that_it_does_not_fit(
    own: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lineages import quick

    import toolchain.workflows.stages.measuring as measuring

    monkeypatch.setattr(measuring, "compare_latency", quick)
    command = ["shrink", f"{own}:sized", "--formats", "onnx"]
    assert cli.run(command) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Without a recipe the input is taken as RGB pixels minus (123, 117, 104)" in said
    assert "INPUT DOES NOT FIT the network: at batch norm 1 (1)" in said
    numbers = ["--scale", "1/255", "--mean", "0.45", "--std", "0.225"]
    assert cli.run([*command, *numbers]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "INPUT DOES NOT FIT" not in said
    assert "Without a recipe" not in said
