"""ncnn's files where other files go: evaluated, bundled, gated."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from board import IN_PICTURE, metadata, picture
from ncnn_board import write_folder

from toolchain.arm.comparing import Subject
from toolchain.bundle.choosing import estimated
from toolchain.bundle.contents import expected_files, model_files, place_of
from toolchain.bundle.destination import find_destination
from toolchain.checking.pictures import as_floats, board_view, file_view
from toolchain.deploy.detector import selftest
from toolchain.detection.opening import describe, open_finder, plan_for
from toolchain.detection.protocols import PROTOCOLS
from toolchain.gate.candidates import file_of, gate_name
from toolchain.gate.metrics import is_metric
from toolchain.recipe import default_recipe
from toolchain.system.files import sha256_of

pytest.importorskip("ncnn")


@pytest.fixture
def model(made: Path, tmp_path: Path) -> Path:
    """An ncnn file in a copy of an output folder."""
    folder = Path(shutil.copytree(made, tmp_path / "copy"))
    return write_folder(folder / "model_ncnn", metadata()) / "model.ncnn.param"


def test_it_is_evaluated_as_any_detector(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run" / "model_ncnn", metadata())
    for place in (folder, folder / "model.ncnn.param"):
        plan = plan_for(place, PROTOCOLS["single"])
        subject = describe(plan).subject
        assert (subject.name, subject.kind) == ("run/model_ncnn", "ncnn")
        assert subject.settings["runtime"] == "ncnn"
        assert subject.sha256 == sha256_of(folder / "model.ncnn.param")
        boxes, scores = open_finder(plan, threads=1)(picture(), 1.0)
        assert boxes[np.argmax(scores)].tolist() == IN_PICTURE


def test_without_a_check_the_bundle_takes_the_ncnn_file_by_what_its_layers_cost(
    model: Path,
) -> None:
    folder = model.parents[1]
    paths = [folder / "model.onnx", model]
    found = {}
    for key in ("rpi4", "rpi5"):
        choice = estimated(paths, folder, find_destination(key, None, None))
        assert choice is not None
        assert choice.path == model
        found[key] = choice.why
    millions = float(found["rpi4"].split()[1])
    assert 1 < millions < 10  # 96x128 pixels are an eighth of 320x320, where it takes about 22
    assert found["rpi4"] == (
        f"about {millions} million instructions on Raspberry Pi 4B, estimated from its layers; "
        "model.onnx never checked there, and of every network's float files that were counted "
        "ncnn's took the fewest; toolchain check --target rpi4 counts"
    )
    assert found["rpi5"].startswith("about ")
    assert "on Raspberry Pi 5, estimated" in found["rpi5"]


def test_without_a_table_or_a_board_nothing_is_estimated(model: Path) -> None:
    folder, pi = model.parents[1], find_destination("rpi4", None, None)
    assert estimated([model], folder, find_destination("local", None, None)) is None
    assert estimated([folder / "model.onnx"], folder, pi) is None
    assert pi.board is not None
    other = dataclasses.replace(pi, board=dataclasses.replace(pi.board, core="cortex-a35"))
    assert estimated([model], folder, other) is None
    shutil.rmtree(folder / "chain")
    (folder / "model.onnx").unlink()
    assert estimated([model], folder, pi) is None


def test_a_bundle_holds_all_three_and_tests_itself(model: Path, tmp_path: Path) -> None:
    names = {name for name in model_files(model) if name.startswith("app/")}
    assert names == {f"app/model_ncnn/{path.name}" for path in model.parent.iterdir()}
    assert place_of(model) == "model_ncnn"
    files, _ = expected_files(model)
    there = tmp_path / "there"
    shutil.copytree(model.parent, there / "model_ncnn")
    for name, data in files.items():
        assert isinstance(data, bytes)
        (there / Path(name).name).write_bytes(data)
    assert json.loads((there / "expected.json").read_text())["model"] == "model_ncnn"
    assert selftest.main(there) == 0


def test_a_bundle_wants_no_more_than_runs_there() -> None:
    packages = find_destination("rpi4", None, None).requirements(".param")
    assert [each.partition("==")[0] for each in packages] == [
        "numpy",
        "opencv-python-headless",
        "ncnn",
    ]


def test_baselines_know_it_by_its_folder(model: Path) -> None:
    name = gate_name("model_ncnn/model.ncnn.param")
    assert name == "model_ncnn"
    assert is_metric(f"{name}/instructions")
    half = gate_name("model_ncnn/model.ncnn.param, half precision")
    assert half == "model_ncnn, half precision"
    assert file_of(model.parents[1], name) == model == file_of(model.parents[1], half)
    assert file_of(model.parents[1], "model.onnx") == model.parents[1] / "model.onnx"


def test_it_is_fed_floats_where_other_files_take_pixels(tmp_path: Path) -> None:
    recipe = default_recipe("eresfd")
    pixels = dataclasses.replace(recipe.input, dtype="uint8")
    recipe = dataclasses.replace(
        recipe, input=pixels, decode=dataclasses.replace(recipe.decode, postprocess="nms")
    )
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 8), np.uint8)
    subject = Subject("run", (), {"photo": image}, recipe)
    assert subject.for_file(tmp_path / "model.onnx") is subject
    own = subject.for_file(tmp_path / "model.ncnn.param")
    np.testing.assert_array_equal(own.inputs["photo"], as_floats(image, recipe))
    assert own.recipe is not None
    assert not own.gives_faces
    assert file_view(own.recipe) == board_view(recipe)
