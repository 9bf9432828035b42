"""``evaluate`` by what a recipe names: built-in figures and functions of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import colours
import numpy as np
import pytest
import torch

from toolchain import cli
from toolchain.errors import InputError, RecipeError
from toolchain.evaluating.functions import checked_figures
from toolchain.evaluating.model import network_model
from toolchain.evaluating.running import evaluator
from toolchain.recipe import load_recipe, parse_recipe


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colours.draw(tmp_path_factory.mktemp("data") / "colours", wrong=2)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "colours.pth"
    torch.save(colours.build().state_dict(), path)
    return path


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert cli.run([*map(str, arguments), "--json"]) == 0, capsys.readouterr().err
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert cli.run([*map(str, arguments)]) == 2
    line = capsys.readouterr().err
    assert "Traceback" not in line
    return line


def test_top_counts_what_is_first(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = colours.recipe(tmp_path, "top"), tmp_path / "eval"
    asked = ("evaluate", weights, "--recipe", recipe, "--data", data, "--out", out)
    found = run_json(capsys, *asked)
    assert found["figures"] == {"top1": 16 / 18}
    assert (found["function"], found["subject"]["kind"]) == ("top", "network")
    assert (found["data"]["samples"], found["whole_set"], found["resumed"]) == (18, True, 0)
    assert json.loads((out / "eval.json").read_text()) == found
    assert "top1" in (out / "report.html").read_text()
    assert run_json(capsys, *asked)["resumed"] == 18


def test_an_evaluation_goes_on_where_it_was(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = colours.recipe(tmp_path, "top"), tmp_path / "eval"
    asked = ("evaluate", weights, "--recipe", recipe, "--data", data, "--out", out)
    run_json(capsys, *asked)
    (kept,) = out.glob("*/results.jsonl")
    lines = kept.read_text().splitlines()
    kept.write_text("\n".join(lines[:7]) + '\n{"name": "half')
    found = run_json(capsys, *asked)
    assert (found["resumed"], found["figures"]) == (7, {"top1": 16 / 18})
    assert run_json(capsys, *asked)["resumed"] == 18
    other = colours.draw(tmp_path / "other")
    line = refused(capsys, *asked[:5], other, "--out", out)
    assert "holds results of another run (data was" in line


def test_a_limit_is_told(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = colours.recipe(tmp_path, "top")
    found = run_json(
        capsys, "evaluate", weights, "--recipe", recipe, "--data", data, "--limit", 3,
        "--out", tmp_path / "eval",
    )  # fmt: skip
    assert (found["data"]["samples"], found["data"]["listed"], found["whole_set"]) == (3, 18, False)


def test_a_picture_that_cannot_be_read_counts_as_wrong(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, recipe = colours.draw(tmp_path / "data"), colours.recipe(tmp_path, "top")
    (data / "red" / "0.png").write_bytes(b"no picture")
    out = ("--out", tmp_path / "eval")
    found = run_json(capsys, "evaluate", weights, "--recipe", recipe, "--data", data, *out)
    assert found["figures"]["top1"] == 17 / 18
    assert found["broken"][0]["name"] == "red/0.png"


def test_a_function_of_ones_own_is_called(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = colours.recipe(tmp_path, "colours:share")
    out = ("--out", tmp_path / "eval")
    found = run_json(capsys, "evaluate", weights, "--recipe", recipe, "--data", data, *out)
    assert found["figures"]["right"] == 16 / 18
    # (60 - 0) / 2 is the mean of the noise in every channel: 120 of 255 is what is left
    assert found["figures"]["gap_error"] == pytest.approx(1 - 120 / 255, abs=0.02)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("broken", r"colours:broken on colours.pth failed: ValueError: no labels in colours "
         r"\(colours.py, line \d+\)"),
        ("nothing", r"colours:nothing on colours.pth must return figures by name.*\(got none\)"),
        ("words", r"right must be a number \(got str\)"),
        ("not_a_number", r"right is nan, no number that can be compared"),
        ("strange_name", r"a figure's name must be of letters, digits"),
        ("a_number", r"must return figures by name, such as.*\(got float\)"),
        ("share_", r"module colours has no function 'share_'; did you mean 'share'\?"),
    ],
)  # fmt: skip
def test_a_function_that_gives_no_figures_is_told_in_a_line(
    function: str, message: str, data: Path, weights: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(colours.recipe(tmp_path, f"colours:{function}"))
    with pytest.raises(InputError, match=message):
        evaluator(recipe, data).figures(network_model(weights.name, recipe, colours.build()))


def test_a_module_that_is_not_there_is_told(data: Path, tmp_path: Path) -> None:
    recipe = load_recipe(colours.recipe(tmp_path, "no_such_module:score"))
    with pytest.raises(InputError, match=r"cannot import 'no_such_module' from"):
        evaluator(recipe, data)


def test_tensors_of_one_value_are_figures() -> None:
    assert checked_figures({"a": torch.tensor(0.5), "b": np.float64(2)}, "x") == {"a": 0.5, "b": 2}
    with pytest.raises(InputError, match=r"a must be a number \(got Tensor\)"):
        checked_figures({"a": torch.zeros(2)}, "x")


def test_unknown_functions_are_refused_with_the_line() -> None:
    text = '[model]\nname = "a:b"\n[evaluate]\nfunction = "topp"\n'
    with pytest.raises(RecipeError, match=r"r.toml:4: evaluate.function must be.*'top'"):
        parse_recipe(text, "r.toml")


def test_folders_that_fit_no_class_are_refused(data: Path, weights: Path, tmp_path: Path) -> None:
    recipe = load_recipe(colours.recipe(tmp_path, "top"))
    with pytest.raises(InputError, match=r"has no folders; evaluate.function 'top' wants one"):
        evaluator(recipe, data / "red")
    more = colours.draw(tmp_path / "more")
    (more / "violet").mkdir()
    with pytest.raises(InputError, match=r"x gives 3 scores, and there are 4 classes; name all"):
        evaluator(recipe, more).figures(network_model("x", recipe, colours.build()))


def test_batches_are_run_one_by_one(tmp_path: Path) -> None:
    recipe = load_recipe(colours.recipe(tmp_path, "top"))
    model = network_model("x", recipe, colours.build())
    batch = torch.rand(5, 3, *colours.SIZE, dtype=torch.float64)
    (found,) = model.run(batch)
    expected = colours.build()(batch.float()).detach().numpy()
    assert np.allclose(found, expected, atol=1e-6)
    grey = np.full((8, 8), 51, np.uint8)
    assert model.feed(grey).shape == (1, 3, *colours.SIZE)
    assert model(grey)[0].shape == (1, 3)


def test_options_of_wider_face_are_refused(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = colours.recipe(tmp_path, "top")
    line = refused(
        capsys, "evaluate", weights, "--recipe", recipe, "--data", data, "--protocol", "paper"
    )
    assert "--protocol is of WIDER FACE; leave it out with evaluate.function top" in line


def test_a_file_on_its_own_needs_a_recipe(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(b"x")
    line = refused(capsys, "evaluate", path, "--data", data, "--function", "top")
    assert "lies in no output folder" in line
    assert "--recipe" in line
    recipe = colours.recipe(tmp_path, "top")
    line = refused(capsys, "evaluate", path, "--data", data, "--recipe", recipe)
    assert "other.onnx: cannot be opened" in line
