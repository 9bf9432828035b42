"""A file that was changed after it was proved is refused by every command that takes a folder."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from toolchain import cli
from toolchain.arm import sysroot
from toolchain.detection.opening import describe, open_finder, plan_for
from toolchain.detection.protocols import PROTOCOLS, detections
from toolchain.errors import InputError
from toolchain.gate import running
from toolchain.recipe import parse_recipe
from toolchain.records.certificate import demand_unchanged, open_folder
from toolchain.workflows.pipeline import Job, run_shrink

SINGLE = PROTOCOLS["single"]


@pytest.fixture
def changed(made: Path, tmp_path: Path) -> Path:
    """An output folder whose main file has a byte more than it was proved with."""
    folder = Path(shutil.copytree(made, tmp_path / "changed"))
    with (folder / "model.onnx").open("ab") as stream:
        stream.write(b"x")
    return folder


COMMANDS = {
    "check": ["check", "FOLDER", "--target", "rpi4", "--file", "model.onnx"],
    "bench": ["bench", "FOLDER", "--seconds", "0"],
    "compare": ["compare", "FOLDER", "--seconds", "0"],
    "bundle": ["bundle", "FOLDER", "--target", "local"],
    "gate": ["gate", "FOLDER", "--baseline", "base.json", "--update"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_changed_file_is_refused(
    name: str,
    changed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for user in (sysroot, running):  # each binds the name when it is imported
        monkeypatch.setattr(user, "prepare", lambda *_: None)
    assert cli.run([word.replace("FOLDER", str(changed)) for word in COMMANDS[name]]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"toolchain: {changed / 'model.onnx'}: was changed after it was made")
    assert f"toolchain verify {changed}" in told
    assert [path.name for path in tmp_path.iterdir()] == ["changed"]


def test_weights_that_were_changed_are_not_evaluated(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "changed"))
    shutil.copy(folder / "chain" / "soft.safetensors", folder / "model.safetensors")
    assert cli.run(["evaluate", str(folder), "--data", str(tmp_path)]) == 2
    assert "model.safetensors: was changed after it was made" in capsys.readouterr().err


OWN = """
[model]
name = "tiny:Faces"
[input]
height = 48
width = 64
mean = [123.0, 117.0, 104.0]
[anchors]
sizes = [12, 24]
strides = [4, 8]
aspect_ratio = 1.25
"""


@pytest.mark.slow
def test_the_anchors_of_an_own_recipe_are_those_of_its_folder(
    tmp_path: Path, quick_latency: None
) -> None:
    out = tmp_path / "out"
    run_shrink(Job(parse_recipe(OWN, "a recipe"), out, formats=("onnx",)))
    plan = plan_for(out, SINGLE)
    described = describe(pickle.loads(pickle.dumps(plan)))  # it goes to other processes
    assert described.subject.settings["anchor height / width"] == "1.25"
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    image = np.asarray(cv2.resize(coarse, (64, 48)), np.uint8)
    sides = [
        detections(open_finder(plan_for(path, SINGLE), 1), image, SINGLE)
        for path in (out, out / "model.safetensors", out / "model.onnx")
    ]
    assert len(sides[2])
    np.testing.assert_allclose(sides[0], sides[2], atol=2e-3)
    np.testing.assert_allclose(sides[1], sides[2], atol=2e-3)


def test_a_file_of_another_run_is_refused(made: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "more"))
    certificate = open_folder(folder)
    demand_unchanged(folder, certificate)
    shutil.copy(folder / "model.onnx", folder / "model_other.onnx")
    with pytest.raises(InputError, match=r"model_other.onnx: is not in certificate.json"):
        demand_unchanged(folder, certificate, ["model.onnx", "model_other.onnx"])
    (folder / "model.onnx").unlink()
    with pytest.raises(InputError, match=r"model.onnx: is missing"):
        demand_unchanged(folder, certificate)
