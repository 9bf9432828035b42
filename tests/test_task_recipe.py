"""``[task]``: what a network is for, in a recipe and in a file's metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchain.checking.pictures import Photo, board_view, photo_input
from toolchain.deploy.detector.errors import DetectError
from toolchain.deploy.detector.tasks.specification import TaskSpecification
from toolchain.errors import RecipeError
from toolchain.exporting.task_metadata import Ends, task_entry
from toolchain.recipe import Recipe, default_recipe, load_recipe, override, parse_recipe
from toolchain.recipe.writing import as_toml

HEAD = '[model]\nname = "mine:Net"\n'
ANCHORS = "[anchors]\nsizes = [16]\nstrides = [16]\n"
ENDS = Ends((("image", (1, 3, 64, 96), "float32"),), ("a", "b"))


def recipe(text: str) -> Recipe:
    return parse_recipe(HEAD + text, "r.toml")


def metadata(which: Recipe, ends: Ends = ENDS, **options: Any) -> dict[str, Any]:
    options = {"dynamic": False, "layout": "NCHW", **options}
    return {"schema": 4, "model": "m", "trained": True, **task_entry(which, ends, **options)}


def test_a_network_with_anchors_finds_faces_and_another_is_raw() -> None:
    assert recipe("").task_kind == "raw"
    assert recipe(ANCHORS).task_kind == "faces"
    assert default_recipe("eresfd").task_kind == "faces"
    assert recipe('[task]\nkind = "mask"\n').task_kind == "mask"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[task]\nkind = "face"\n', r"r.toml:4: task.kind must be one of faces, boxes"),
        ('[task]\nkind = "faces"\n', r"r.toml:4: task.kind of faces needs \[anchors\]"),
        (ANCHORS + '[task]\nkind = "boxes"\n', r"task.kind of boxes goes without \[anchors\]"),
        ("[task]\nlabels = [1]\n", r"task.labels must be str \(got 1\)"),
        ("[task]\nthreshold = 2\n", r"task.threshold must be >= 0 and <= 1"),
        ("[task]\nanchors = [[[1, 2, 3]]]\n", "task.anchors must have 2 entries"),
        ("[task]\nanchors = [[[1, 2]]]\n", r"task.anchors must have one list per stride \(0"),
        (ANCHORS + '[input]\nfit = "crop"\n', r"input.fit must be letterbox for faces"),
        ('[input]\nfit = "zoom"\n', "input.fit must be one of letterbox, stretch, crop"),
    ],
)
def test_what_does_not_go_together_is_told_with_its_line(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(text)


def test_a_change_on_the_command_line_is_checked_too() -> None:
    with pytest.raises(RecipeError, match=r"task.kind of mask goes without \[anchors\]"):
        override(default_recipe("eresfd"), {"task.kind": "mask"})


def test_labels_come_from_a_file_beside_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(HEAD + '[task]\nkind = "classes"\nlabels_file = "names.txt"\n')
    with pytest.raises(RecipeError, match=r"r.toml: task.labels_file 'names.txt' cannot be read"):
        load_recipe(path)
    (tmp_path / "names.txt").write_text("cat\n\nwild boar\n")
    assert load_recipe(path).task.labels == ("cat", "wild boar")
    names, text = tmp_path / "names.txt", "cat\r\n\r\nwild boar\r\n"
    names.write_bytes(text.encode("utf-8-sig"))  # as an editor of Windows saves it
    path.write_bytes(path.read_text().encode("utf-8-sig"))
    assert load_recipe(path).task.labels == ("cat", "wild boar")
    for content, message in (("Käse".encode("cp1252"), "is not in UTF-8"), (b"\n", "no names")):
        names.write_bytes(content)
        with pytest.raises(RecipeError, match=rf"r.toml: task.labels_file 'names.txt'.*{message}"):
            load_recipe(path)


def test_a_task_is_written_as_it_was_read() -> None:
    text = (
        '[task]\nkind = "boxes"\nlayout = "ssd"\nlabels = ["a", "b"]\nstrides = [8, 16]\n'
        "anchors = [[[4, 5], [6, 7]], [[8, 9]]]\n"
    )
    assert parse_recipe(as_toml(recipe(text)), "again.toml") == recipe(text)


def test_a_file_says_its_task_to_the_board() -> None:
    which = recipe(
        '[input]\nheight = 64\nwidth = 96\nfit = "stretch"\n[task]\nkind = "boxes"\n'
        'layout = "ssd"\noutputs = ["b"]\nstrides = [8]\nanchors = [[[4, 5]]]\n'
        "[decode]\nscore_threshold = 0.25\n"
    )
    found = TaskSpecification.from_json(json.dumps(metadata(which)))
    assert (found.kind, found.layout, found.read, found.outputs) == (
        "boxes",
        "ssd",
        ("b",),
        ("a", "b"),
    )
    assert (found.strides, found.anchors, found.score_threshold) == ((8,), (((4.0, 5.0),),), 0.25)
    assert found.pictures is not None
    assert (found.pictures.height, found.pictures.width, found.pictures.fit) == (64, 96, "stretch")
    last = metadata(which, layout="NHWC")
    assert (last["input"]["layout"], last["inputs"][0]["shape"]) == ("NHWC", [1, 64, 96, 3])
    free = metadata(which, dynamic=True)
    assert (free["input"]["height"], free["inputs"][0]["shape"]) == (None, [1, 3, None, None])


def test_masks_and_points_have_a_threshold_of_a_half_unless_it_is_said() -> None:
    assert metadata(recipe('[task]\nkind = "mask"\n'))["decode"]["score_threshold"] == 0.5
    said = recipe('[task]\nkind = "mask"\nthreshold = 0.3\n')
    assert metadata(said)["decode"]["score_threshold"] == 0.3


@pytest.mark.parametrize("shape", [(1, 12, 64, 96), (1, 1, 64, 96), (1, 16)])
def test_what_is_not_as_many_channels_as_photos_have_is_arrays(shape: tuple[int, ...]) -> None:
    table = metadata(recipe(""), Ends((("x", shape, "float32"),), ("y",)))
    assert table["input"] is None
    assert TaskSpecification.from_json(json.dumps(table)).pictures is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("task__kind", "faces"),
        ("task__layout", None),
        ("task__labels", "cat"),
        ("task__outputs", ["c"]),
        ("task__activation", "tanh"),
        ("task__anchors", [[[1]]]),
        ("task__strides", [0.5]),
        ("task__top", 0),
        ("decode__variances", [0.1]),
        ("outputs", []),
        ("inputs", []),
        ("input__width", None),
        ("input__mean", [1.0]),
        ("input__name", "picture"),
        ("input__fit", "zoom"),
    ],
)
def test_wrong_metadata_are_named(path: str, value: object) -> None:
    table = metadata(recipe(""))
    *parents, last = path.split("__")
    place = table
    for key in parents:
        place = place[key]
    place[last] = value
    with pytest.raises(DetectError) as caught:
        TaskSpecification.from_json(json.dumps(table))
    assert f"'{path.replace('__', '.')}' must be" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_photos_are_fitted_as_the_recipe_says() -> None:
    pixels = np.zeros((128, 192, 3), np.uint8)
    pixels[32:64, 64:96] = (0, 0, 255)
    which = recipe('[input]\nheight = 64\nwidth = 64\nmean = [0.0]\nfit = "crop"\n')
    image = photo_input(Photo("a", pixels), which, board_view(which)).image
    assert tuple(image.shape) == (1, 3, 64, 64)
    reds = (image[0, 0] > 200).nonzero()
    assert (reds.min(dim=0).values.tolist(), reds.max(dim=0).values.tolist()) == (
        [16, 16],
        [31, 31],
    )
