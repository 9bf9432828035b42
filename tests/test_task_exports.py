"""A network of each task from its recipe to the board: files, what they find, the self-test."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import own_networks
import pytest
import torch

import toolchain as tc
from toolchain.arm.emulation import board_program, emulator_environment, guest_python
from toolchain.arm.sysroot import Sysroot
from toolchain.arm.targets import find_target
from toolchain.bundle import building
from toolchain.bundle.contents import INSTALLER, expected_files, place_of
from toolchain.bundle.destination import find_destination
from toolchain.deploy.bundle import service
from toolchain.deploy.detector import selftest
from toolchain.deploy.detector.errors import DetectError
from toolchain.deploy.detector.opening import open_worker
from toolchain.deploy.detector.sources import read_arrays
from toolchain.deploy.detector.tasks.running import TaskRunner
from toolchain.errors import InputError
from toolchain.exporting import extra
from toolchain.recipe import parse_recipe

pytestmark = pytest.mark.slow
WITH_CONVERTER = pytest.mark.skipif(extra.lacking() is not None, reason="needs the extra tflite")
FORMATS = {"classes": "onnx,int8,ncnn", "boxes": "onnx,ncnn", "mask": "onnx,ncnn", "raw": "onnx"}


def network_of(kind: str) -> tuple[torch.nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    network = getattr(own_networks, own_networks.RECIPES[kind][0])()
    return network, torch.zeros(1, 12, 16, 20) if kind == "raw" else torch.zeros(1, 3, 64, 96)


def exported(kind: str, root: Path, **options: Any) -> tc.Exported:  # type: ignore[name-defined]
    recipe = root / "recipe.toml"
    recipe.write_text(own_networks.recipe_text(kind) + options.pop("more", ""))
    network, example = network_of(kind)
    return tc.export(network, root / "out", example=example, recipe=recipe, **options)


@pytest.fixture(scope="module", params=FORMATS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    kind = str(request.param)
    files = exported(kind, tmp_path_factory.mktemp(kind), formats=FORMATS[kind])
    assert files.complete, files.certificate.failures
    return kind, files.files


def image(colour: tuple[int, int, int]) -> Any:
    """Grey, with a block of another colour over the cell of 16 in row 1, column 2 of the input."""
    found = np.full((128, 192, 3), 120, np.uint8)
    found[32:64, 64:96] = colour
    return found


def test_every_file_finds_on_the_board_what_was_planted(made: Any) -> None:
    kind, files = made
    for path in files:
        runner = open_worker(path)
        assert isinstance(runner, TaskRunner)
        assert runner.specification.kind == kind
        facts = answers(runner)
        if kind == "boxes":
            assert [each["label"] for each in facts["boxes"]] == ["dog"]
            np.testing.assert_allclose(facts["boxes"][0]["box"], [64, 24, 96, 72], atol=0.1)
        elif kind == "classes":
            assert facts["classes"][0]["label"] == "red"
        elif kind == "mask":
            shares = {each["label"]: each["share"] for each in facts["areas"]}
            # 0.0417 in the network's cells; scores between two of them are drawn to the higher one
            assert shares == pytest.approx({"background": 0.9382, "red": 0.0618}, abs=1e-3)
        else:
            assert [each["name"] for each in facts["outputs"]] == ["maps", "level"]


def answers(runner: TaskRunner) -> dict[str, Any]:
    if not runner.sees_pictures:
        return runner.measure_arrays({"x": np.ones((1, 12, 16, 20), np.float32)}).found.facts()
    red = (0, 0, 255)
    whole = np.full((64, 96, 3), red, np.uint8)
    shown = whole if runner.specification.kind == "classes" else image(red)
    return runner.measure(shown).found.facts()


def board_of(model: Path, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Lay out what a bundle would have for its self-test; return what it expects, too."""
    files, _ = expected_files(model)
    for name, content in files.items():
        assert isinstance(content, bytes)
        (folder / name.removeprefix("app/")).write_bytes(content)
    place = model.parent if model.suffix == ".param" else model
    copy: Any = shutil.copytree if place.is_dir() else shutil.copyfile
    copy(place, folder / place_of(model))
    return folder / "expected.json", json.loads((folder / "expected.json").read_bytes())


def test_the_self_test_of_a_bundle_judges_by_the_task(
    made: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, files = made
    for number, path in enumerate(files):
        folder = tmp_path / str(number)
        folder.mkdir()
        expected, wanted = board_of(path, folder)
        assert (wanted["task"], wanted["input"]) == (
            kind, "input.npz" if kind == "raw" else "photo.png"
        )  # fmt: skip
        assert selftest.main(folder) == 0
        assert "as on the build machine" in capsys.readouterr().out
        wanted["outputs"][0][0] += 1
        expected.write_text(json.dumps(wanted))
        assert selftest.main(folder) == 1
        assert "the network's output differs by" in capsys.readouterr().err


@pytest.mark.long
def test_the_self_test_holds_on_an_emulated_board(
    made: Any, ready: Sysroot, tmp_path: Path
) -> None:
    _, files = made
    board_of(files[0], tmp_path)
    (tmp_path / "deploy").mkdir()
    board_program(tmp_path / "deploy")
    starter = shutil.copy(INSTALLER / "selftest.py", tmp_path)
    command = [*guest_python(find_target("rpi4"), ready), str(starter)]
    done = subprocess.run(
        command, env=emulator_environment(ready), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "as on the build machine" in done.stdout


@WITH_CONVERTER
def test_tflite_files_carry_the_task_too(tmp_path: Path) -> None:
    files = exported("boxes", tmp_path, formats="onnx,tflite,fp16,int8")
    assert files.complete, files.certificate.failures
    names = {"model.onnx", "model.tflite", "model_fp16.tflite", "model_int8.tflite"}
    assert names <= {path.name for path in files.files}
    for path in files.files:
        runner = open_worker(path, threads=1)
        assert isinstance(runner, TaskRunner)
        (box,) = answers(runner)["boxes"]
        assert box["label"] == "dog"
        np.testing.assert_allclose(box["box"], [64, 24, 96, 72], atol=1)


def test_a_file_of_any_size_takes_arrays_of_any(tmp_path: Path) -> None:
    files = exported("raw", tmp_path, formats="onnx", dynamic=True)
    runner = open_worker(files.files[0])
    assert isinstance(runner, TaskRunner)
    found = runner.measure_arrays({"image": np.ones((12, 9, 11), np.float32)}).found.arrays()
    assert found["maps"].shape == (1, 4, 9, 11)
    board_of(files.files[0], tmp_path)
    assert selftest.main(tmp_path) == 0


def test_a_bundle_of_any_task_is_packed(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, files = made
    found = bundled(files[0].parent, tmp_path, monkeypatch)
    assert found.faces == 0
    assert (found.found == "") == (kind in ("raw", "boxes"))  # there is nothing red on the photo


def bundled(
    folder: Path, place: Path, monkeypatch: pytest.MonkeyPatch, decoder: str | None = None
) -> building.Bundle:
    """Make a bundle with wheels that hold nothing."""
    wheels = [place / f"{name}-1.0-py3-none-any.whl" for name in ("numpy", "pip")]
    for wheel in wheels:
        shutil.make_archive(str(wheel.with_suffix("")), "zip", own_folder(place))
        Path(f"{wheel.with_suffix('')}.zip").rename(wheel)
    monkeypatch.setattr(building, "fetch_wheels", lambda *_: tuple(wheels))
    monkeypatch.setattr(building, "requirements_file", lambda *_: b"")
    local = find_destination("local", None, None)
    return building.make_bundle(
        folder, local, "onnxruntime", True, place, place, lambda _name: None, decoder
    )


DECODER = """
def decode(outputs, height, width):
    rows = outputs["output"][0].T
    return rows[:, :4], rows[:, 4:] * 0 + 0.9
"""


def test_a_decoder_is_packed_and_runs_if_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "recipe.toml"
    text = own_networks.recipe_text("boxes")
    recipe.write_text(text.replace('layout = "yolov8"', 'decoder = "mine.py:decode"'))
    network, example = network_of("boxes")
    tc.export(network, tmp_path / "out", example=example, recipe=recipe, formats="onnx")
    with pytest.raises(InputError, match=r"found by mine.py:decode, .* give --decoder mine.py:dec"):
        bundled(tmp_path / "out", tmp_path, monkeypatch)
    mine = tmp_path / "mine.py"
    with pytest.raises(InputError, match="there is no file"):
        bundled(tmp_path / "out", tmp_path, monkeypatch, f"{mine}:decode")
    mine.write_text(DECODER)
    made = bundled(tmp_path / "out", tmp_path, monkeypatch, f"{mine}:decode")
    subprocess.run(["tar", "xf", made.path], cwd=tmp_path, check=True)
    there = tmp_path / made.name
    (there / "app").rename(there / "current")  # as install.sh lays it out
    (there / "current" / "model").symlink_to("model.onnx")
    python = there / "current" / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    assert selftest.main(there / "current") == 0
    command = [str(there / "detect"), str(there / "current" / "photo.png"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert {each["score"] for each in json.loads(done.stdout)["boxes"]} == {0.9}
    named = service.own_decoder(there / "current")
    assert named == ["--decoder", f"{there / 'current'}/decoders/mine.py:decode"]


def own_folder(root: Path) -> Path:
    folder = root / "x"
    (folder / "x.dist-info").mkdir(parents=True, exist_ok=True)
    (folder / "x.dist-info" / "LICENSE").write_text("Do as you like.")
    return folder


def test_a_bundles_arrays_come_from_the_recipes_seed(made: Any, tmp_path: Path) -> None:
    kind, files = made
    if kind != "raw":
        return
    once, again = (expected_files(files[0])[0]["app/input.npz"] for _ in range(2))
    assert once == again
    assert isinstance(once, bytes)
    (tmp_path / "x.npz").write_bytes(once)
    (values,) = read_arrays(tmp_path / "x.npz").values()
    assert values.shape == (1, 12, 16, 20)
    assert 0 <= values.min() < 0.01 < 0.99 < values.max() <= 1  # what pixels become


def test_metadata_that_are_stripped_are_told(made: Any, tmp_path: Path) -> None:
    _, files = made
    model = onnx.load(files[0])
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(DetectError, match=r"m.onnx: has no 'detector' metadata, .*export it"):
        open_worker(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("classes", ('"hen"', '"hen", "owl"'), "4 labels, and the network gives 3 classes"),
        ("boxes", ('"yolov8"', '"ssd"'), r"task 'boxes' with layout 'ssd' expects .*got output"),
        ("mask", ('"mask"', '"classes"'), r"task 'classes' expects one output \(1, classes\)"),
        ("mask", ('"red"]', '"red"]\noutputs = ["no"]'), "'task.outputs' must be of output"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_made(
    kind: str, change: tuple[str, str], message: str, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(own_networks.recipe_text(kind).replace(*change))
    network, example = network_of(kind)
    with pytest.raises(InputError, match=message) as told:
        tc.export(network, tmp_path / "out", example=example, recipe=recipe)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "out").exists()


def test_a_file_of_labels_that_nobody_read_is_told(tmp_path: Path) -> None:
    text = own_networks.recipe_text("mask").replace("labels = ", "labels_file = 'a.txt' # ")
    network, example = network_of("mask")
    with pytest.raises(InputError, match=r"task.labels_file is read where .* give task.labels"):
        tc.export(network, tmp_path / "out", example=example, recipe=parse_recipe(text, "r.toml"))
