"""A classifier of real digits goes the whole road, and each step's top-1 is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

import toolchain as tc
from toolchain import cli
from toolchain.evaluating.model import Model
from toolchain.records.run_folder import RunFolder

pytest.importorskip("sklearn")
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    from toolchain.recipes.examples import digits_to_int8

    folder = tmp_path_factory.mktemp("digits")
    return folder, digits_to_int8.main(folder)


def test_little_is_lost_on_the_way(road: tuple[Path, dict[str, float]]) -> None:
    folder, found = road
    assert list(found) == ["trained", "model.onnx", "model_int8.onnx"]
    assert found["trained"] > 0.96
    assert found["model.onnx"] == found["trained"]
    assert found["model_int8.onnx"] > found["trained"] - 0.01
    certificate = RunFolder.open(folder / "out").certificate
    assert certificate.is_complete
    (link,) = [link for link in certificate.links if link.scores]
    assert link.scores is not None
    told = {each.name: (each.before, each.after) for each in link.scores.figures}
    assert told["top1"] == (found["model.onnx"], found["model_int8.onnx"])
    assert "360 samples of data" in link.scores.data


def test_the_command_line_says_the_same(
    road: tuple[Path, dict[str, float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, found = road
    asked = ["evaluate", str(folder / "out" / "model_int8.onnx"), "--data", str(folder / "data")]
    assert cli.run([*asked, "--out", str(tmp_path), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["figures"]["top1"] == found["model_int8.onnx"]
    assert content["figures"]["top5"] > 0.99


def wrong(model: Model, data: Path) -> Mapping[str, float]:
    """The share that is wrong, of which less is better."""
    digits = sorted(data.rglob("*.png"))
    right = [int(model(path)[0].argmax()) == int(path.parent.name) for path in digits]
    return {"error": 1 - sum(right) / len(right)}


def test_a_function_of_ones_own_agrees_with_top(road: tuple[Path, dict[str, float]]) -> None:
    folder, found = road
    own = tc.evaluate(folder / "out" / "model.onnx", folder / "data", function=wrong)
    assert own["error"] == pytest.approx(1 - found["model.onnx"])
