"""``evaluate`` by what a recipe names: built-in figures and functions of one's own."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import colours
import numpy as np
import pytest
import torch
from board import metadata, write_model
from torch import nn

import toolchain as tc
from toolchain import cli
from toolchain.errors import InputError, RecipeError
from toolchain.evaluating.functions import checked_figures
from toolchain.evaluating.model import network_model
from toolchain.evaluating.opening import ModelPlan
from toolchain.evaluating.running import evaluator
from toolchain.gate.candidates import of_figures
from toolchain.lineage.scoring import scores_between
from toolchain.recipe import EvaluateSection, ModelSection, load_recipe, parse_recipe
from toolchain.records.figures import DataFacts, Figures
from toolchain.records.run_folder import RunFolder
from toolchain.workflows.accuracy import AccuracyMeasure


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


def test_a_folder_whose_name_two_classes_have_is_refused(data: Path, tmp_path: Path) -> None:
    recipe = load_recipe(colours.recipe(tmp_path, "top"))
    labels = ("crane", "red", "green", "blue", "crane")  # a bird and a machine
    twice = dataclasses.replace(recipe, task=dataclasses.replace(recipe.task, labels=labels))
    assert evaluator(twice, data).samples[0].truth[1] == 5
    (data / "crane").mkdir()
    with pytest.raises(InputError, match=r"task.labels has 'crane' twice, so the folder of that"):
        evaluator(twice, data)
    (data / "crane").rmdir()


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


def test_data_that_nothing_was_named_for_are_told_what_names_it(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_model(tmp_path / "m.onnx", metadata())
    line = refused(capsys, "evaluate", path, "--data", data)
    assert "is not WIDER FACE in its official layout" in line
    assert "other data need --function (top, miou, coco, points, module:function)" in line


@pytest.mark.parametrize("option", ["--protocol paper", "--size 320x320"])
def test_options_of_wider_face_are_refused(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    recipe = colours.recipe(tmp_path, "top")
    words = ["evaluate", weights, "--recipe", recipe, "--data", data, *option.split()]
    line = refused(capsys, *words)
    name = option.split()[0]
    assert f"{name} is of WIDER FACE; leave it out with evaluate.function top" in line


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


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, data: Path, weights: Path) -> Path:
    """An output folder whose int8 file was evaluated by top."""
    room = tmp_path_factory.mktemp("exported")
    recipe, out = colours.recipe(room, "miou"), room / "out"
    assert cli.run([
        "shrink", "colours:build", "--ckpt", str(weights), "--recipe", str(recipe), "--out",
        str(out), "--formats", "onnx,int8", "--data", str(data), "--calibration", str(data),
        "--function", "top",
    ]) == 0  # fmt: skip
    return out


@pytest.mark.slow
def test_int8_is_judged_by_the_recipes_figures(exported: Path) -> None:
    certificate = RunFolder.open(exported).certificate
    (link,) = [link for link in certificate.links if link.after == "model_int8.onnx"]
    assert link.scores is not None
    (top1,) = link.scores.figures
    assert (link.scores.function, top1.name) == ("top", "top1")
    assert (top1.before, top1.after, top1.most_lost) == (16 / 18, 16 / 18, 0.01)
    assert (link.passed, link.lost) == (True, 0.0)
    report = json.loads((exported / "report.json").read_text())
    (told,) = [each["figures"] for each in report["chain"] if each["figures"]]
    assert told["figures"][0]["name"] == "top1"
    page = (exported / "report.html").read_text()
    assert "top1 0.8889 -&gt; 0.8889" in page
    assert "18 samples of colours" in page


@pytest.mark.slow
@pytest.mark.parametrize("name", ["", "model.onnx", "model_int8.onnx"])
def test_a_folder_and_its_files_are_evaluated_by_its_recipe(
    name: str,
    exported: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = ("--out", tmp_path / "eval")
    monkeypatch.chdir(exported.parent)
    found = run_json(capsys, "evaluate", Path(exported.name, name), "--data", data, *out)
    assert found["figures"] == {"top1": 16 / 18}
    assert found["subject"]["kind"] == ("onnx" if name else "network")
    own = run_json(
        capsys, "evaluate", exported / name, "--data", data, *out, "--function", "colours:share"
    )
    assert own["figures"]["right"] == 16 / 18


@pytest.mark.slow
def test_the_gate_takes_the_recipes_figures(exported: Path, data: Path) -> None:
    recipe = RunFolder.open(exported).certificate.recipe
    found = AccuracyMeasure(data)(exported / "model.onnx", recipe)
    assert isinstance(found, Figures)
    asked = EvaluateSection("colours:share", lower=("*_error",), judged=("top*", "*_error"))
    more = dataclasses.replace(found, values={**found.values, "gap_error": 0.25, "count": 18.0})
    assert dict(of_figures(more, asked)) == {
        "network/score/top1": 0.8889,
        "network/error/gap_error": 0.25,
    }


@pytest.mark.slow
def test_what_int8_loses_too_much_of_breaks_the_link(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = colours.recipe(tmp_path, "colours:worse", "[evaluate.most_lost]\nright = 0.25\n")
    assert cli.run([
        "shrink", "colours:build", "--ckpt", str(weights), "--recipe", str(recipe), "--out",
        str(tmp_path / "out"), "--formats", "onnx,int8", "--data", str(data),
    ]) == 1  # fmt: skip
    said = capsys.readouterr().out
    assert "model_int8.onnx: right 1 -> 0.5: 0.5 is lost (at most 0.25)" in " ".join(said.split())
    assert "layers in float" in said


def test_figures_of_which_less_is_better_lose_by_growing() -> None:
    recipe = parse_recipe(
        '[model]\nname = "a:b"\n[evaluate]\nfunction = "a:score"\nlower = ["rmse"]\n'
        'judged = ["rmse", "top*"]\n[evaluate.most_lost]\nrmse = 0.5\n',
        "r.toml",
    )
    before, after = (
        Figures("a:score", values, DataFacts("d", 3, 3, "0" * 64))
        for values in (
            {"rmse": 2.0, "top1": 0.5, "seen": 3.0},
            {"rmse": 2.6, "top1": 0.505, "seen": 2.0},
        )
    )
    found = scores_between(before, after, recipe, 0.01)
    assert [round(each.lost, 6) for each in found.figures] == [0.6, -0.005, 1.0]
    assert [each.holds for each in found.figures] == [False, True, True]
    assert found.problems == ("rmse 2 -> 2.6: 0.6 is lost (at most 0.5)",)
    assert found.worst is found.figures[0]
    with pytest.raises(InputError, match=r"a:score gave rmse, top1, seen of one file and x of"):
        scores_between(before, dataclasses.replace(after, values={"x": 1.0}), recipe, 0.01)


def test_what_a_function_prints_is_no_result(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = colours.recipe(tmp_path, "colours:talkative")
    out = ("--out", tmp_path / "eval")
    found = run_json(capsys, "evaluate", weights, "--recipe", recipe, "--data", data, *out)
    assert found["figures"] == {"right": 1.0}


@pytest.mark.slow
def test_a_network_that_cannot_be_built_again_is_told_with_its_file(
    exported: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    recipe = load_recipe(colours.recipe(tmp_path, "top"))
    recipe = dataclasses.replace(recipe, model=ModelSection("no_such_module:build"))
    example = torch.zeros(1, 3, *colours.SIZE)
    tc.export(network, tmp_path / "out", example=example, recipe=recipe, formats=["onnx"])
    line = refused(capsys, "evaluate", tmp_path / "out", "--data", data)
    assert "no_such_module" in line
    assert "out/model.onnx needs no code of the network's" in line
    assert tc.evaluate(tmp_path / "out" / "model.onnx", data).keys() == {"top1"}


def test_a_network_in_memory_is_evaluated_by_a_function(data: Path, tmp_path: Path) -> None:
    network = colours.build().train()
    with pytest.raises(InputError, match=r"recipe must be given with a network"):
        tc.evaluate(network, data, function="top")
    recipe = colours.recipe(tmp_path, "top")
    assert tc.evaluate(network, data, recipe=recipe) == {"top1": 16 / 18}
    own = tc.evaluate(network, str(data), recipe=recipe, function=colours.share)
    assert own["right"] == 16 / 18
    assert network.training
    with pytest.raises(InputError, match=r"^evaluate needs data"):
        tc.export(network, tmp_path / "o", example=torch.zeros(1, 3, *colours.SIZE), evaluate="top")


def test_an_ncnn_file_is_told_apart_by_its_weights(tmp_path: Path) -> None:
    """Its text alone is that of every training of one network."""
    recipe = load_recipe(colours.recipe(tmp_path, "top"))
    hashes = []
    for weights in (b"one", b"two"):
        for name, content in (("param", b"7767517"), ("bin", weights)):
            (tmp_path / f"model.ncnn.{name}").write_bytes(content)
        hashes.append(ModelPlan(tmp_path / "model.ncnn.param", recipe).sha256)
    assert hashes[0] != hashes[1]
