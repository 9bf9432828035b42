"""Files of any origin in a bundle: what is added to them, and what must be told first."""

from __future__ import annotations

import json
from pathlib import Path

import files_alone as files
import numpy as np
import onnx
import pytest

from toolchain.bench.feeds import Told
from toolchain.bundle.alone import Ready, made_ready
from toolchain.bundle.contents import expected_files, least_ranges, model_files
from toolchain.cli import run as run_cli
from toolchain.deploy.detector import selftest
from toolchain.deploy.detector.tasks.specification import TaskSpecification
from toolchain.errors import InputError
from toolchain.exporting.metadata import KEY
from toolchain.recipe import Recipe, parse_recipe

RECIPE = """
[model]
name = "mine:net"
[input]
scale = 0.00392156862745098
color_order = "BGR"
mean = [0.5, 0.5, 0.5]
[task]
kind = "raw"
"""


def recipe(text: str = RECIPE) -> Recipe:
    return parse_recipe(text, "test.toml")


def metadata(ready: Ready) -> TaskSpecification:
    (entry,) = [e for e in onnx.load(ready.path).metadata_props if e.key == KEY]
    return TaskSpecification.from_json(entry.value)


def unpacked(ready: Ready, folder: Path) -> Path:
    """What of a bundle the self-test reads, as it lies on the board."""
    folder.mkdir()
    expected, _ = expected_files(ready.path, ready.recipe)
    for name, content in {**expected, **model_files(ready.path, ready.card)}.items():
        place = folder / name.removeprefix("app/")
        place.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    return folder


def test_a_photo_is_fed_as_the_recipe_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = files.convolution(tmp_path / "mine.onnx", ("batch", 3, "height", "width"))
    ready = made_ready(path, recipe(), Told(size=(24, 32)), tmp_path)
    which = metadata(ready)
    assert (which.model, which.kind, which.outputs) == ("mine", "raw", ("maps",))
    assert which.pictures is not None
    assert (which.pictures.height, which.pictures.width) == (24, 32)
    assert (which.pictures.color_order, which.pictures.scale) == ("BGR", 1 / 255)
    there = unpacked(ready, tmp_path / "board")
    assert selftest.main(there) == 0
    assert "the same output, as on the build machine" in capsys.readouterr().out
    card = (there / "MODEL.md").read_text()
    assert card.startswith("# mine\n")
    assert "was not made by the toolchain" in card
    expected = json.loads((there / "expected.json").read_text())
    expected["outputs"][0][0] += 1
    (there / "expected.json").write_text(json.dumps(expected))
    assert selftest.main(there) == 1


def test_channels_may_come_last(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("Relu", ["image"], ["out"])]
    shape = (1, 16, 20, 3)
    inputs = [("image", shape, onnx.TensorProto.FLOAT)]
    path = files.save(tmp_path / "last.onnx", nodes, inputs, [("out", shape)])
    ready = made_ready(path, recipe(), Told(), tmp_path)
    which = metadata(ready)
    assert which.pictures is not None
    assert (which.pictures.layout, which.pictures.height, which.pictures.width) == ("NHWC", 16, 20)
    assert which.inputs[0].shape == shape
    assert selftest.main(unpacked(ready, tmp_path / "board")) == 0


@pytest.mark.parametrize("kind", ["two inputs", "pixels", "batch"])
def test_what_is_no_picture_of_floats_is_fed_arrays(tmp_path: Path, kind: str) -> None:
    told = Told()
    if kind == "two inputs":
        path, told = files.two_inputs(tmp_path / "a.onnx"), Told(shapes=("tokens=1x5", "mask=1x5"))
    elif kind == "pixels":
        path = files.pixels(tmp_path / "a.onnx")
    else:
        path = files.convolution(tmp_path / "a.onnx", (2, 3, 16, 16))
    ready = made_ready(path, None, told, tmp_path)
    assert metadata(ready).pictures is None
    there = unpacked(ready, tmp_path / "board")
    assert (there / "input.npz").is_file()
    assert selftest.main(there) == 0


def test_weights_beside_a_file_are_packed_into_it(tmp_path: Path) -> None:
    path = files.convolution(tmp_path / "a.onnx")
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="w.data", size_threshold=0)
    (tmp_path / "out").mkdir()
    ready = made_ready(path, recipe(), Told(), tmp_path / "out")
    assert selftest.main(unpacked(ready, tmp_path / "board")) == 0


def test_a_file_with_metadata_stays_as_it_is(tmp_path: Path) -> None:
    path = files.convolution(tmp_path / "a.onnx")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first = made_ready(path, recipe(), Told(), tmp_path / "one")
    again = made_ready(first.path, None, Told(), tmp_path / "two")
    assert again.path.read_bytes() == first.path.read_bytes()
    with pytest.raises(InputError, match=r"says itself what it takes.*leave out --recipe"):
        made_ready(first.path, recipe(), Told(), tmp_path / "two")


def test_what_is_missing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = files.convolution(tmp_path / "a.onnx")
    assert run_cli(["bundle", str(path), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert "how a photo becomes its input (image 1x3x16x16 float32) is not known" in told
    assert "give a recipe by --recipe" in told
    assert run_cli(["bundle", str(path), "--runtime", "ncnn"]) == 2
    assert "leave out --runtime" in capsys.readouterr().err
    grey = recipe(RECIPE.replace('"BGR"', '"GRAY"').replace("[0.5, 0.5, 0.5]", "[0.5]"))
    with pytest.raises(InputError, match=r"takes 3 channels, and color_order = 'GRAY'"):
        made_ready(path, grey, Told(), tmp_path)
    faces = RECIPE.partition("[task]")[0]
    faces += "[anchors]\nsizes = [8.0]\nstrides = [4]\naspect_ratio = 1.0\n"
    with pytest.raises(InputError, match=r"two outputs, boxes and logits.*say what it gives by"):
        made_ready(path, recipe(faces), Told(), tmp_path)
    note = tmp_path / "note.txt"
    note.touch()
    with pytest.raises(InputError, match="is no model file"):
        made_ready(note, None, Told(), tmp_path)


def test_boxes_of_yunets_layout_may_be_none(tmp_path: Path) -> None:
    """A picture without a face has boxes of no points, not a crash."""
    from toolchain.deploy.detector.tasks.layouts.levels import _points

    none = np.zeros(0, np.int64)
    assert _points(np.zeros((8, 10)), none, np.zeros((0, 4))).shape == (0, 5, 2)


def test_small_probabilities_may_differ_by_steps_of_one() -> None:
    found = least_ranges([[0.0, 3e-4], [-0.1, 0.2], [0.0, 1.0]], [6e-4, 0.3, 1.0], 1e-4)
    assert 1e-7 < found[0] * 1e-4 < 1e-6
    assert found[1:] == [0.3, 1.0]
