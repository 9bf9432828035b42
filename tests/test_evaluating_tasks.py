"""mIoU, COCO's mAP and points: read as on the board, and scored as can be counted by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import colours
import cv2
import numpy as np
import pytest
import torch
from torch import nn

from toolchain.errors import InputError
from toolchain.evaluating import boxes
from toolchain.evaluating.model import Model, network_model
from toolchain.evaluating.running import evaluator
from toolchain.recipe import Recipe, load_recipe, override

HEIGHT, WIDTH = colours.SIZE


def figures(network: Any, recipe: Recipe, data: Path, *names: str) -> dict[str, float]:
    model: Model = network_model("x", recipe, network, names)
    return dict(evaluator(recipe, data).figures(model).values)


# Masks --------------------------------------------------------------------------------------------


def halves(data: Path, scale: int = 1, wrong_columns: int = 0) -> Path:
    """One picture, blue at the left and green at the right, and its mask."""
    for name in ("images", "masks"):
        (data / name).mkdir(parents=True)
    pixels = np.zeros((HEIGHT * scale, WIDTH * scale, 3), np.uint8)
    half = WIDTH * scale // 2
    pixels[:, :half, 0], pixels[:, half:, 1] = 200, 200
    mask = np.zeros(pixels.shape[:2], np.uint8)
    mask[:, half - wrong_columns :] = 1
    cv2.imwrite(str(data / "images" / "one.png"), pixels)
    cv2.imwrite(str(data / "masks" / "one.png"), mask)
    return data


@pytest.mark.parametrize("scale", [1, 3])
def test_a_perfect_mask_has_an_overlap_of_one(scale: int, tmp_path: Path) -> None:
    recipe = load_recipe(colours.recipe(tmp_path, "miou"))
    found = figures(colours.Areas(), recipe, halves(tmp_path / "data", scale))
    assert found == {"miou": 1.0, "pixel_accuracy": 1.0}


def test_overlap_is_that_of_each_class(tmp_path: Path) -> None:
    recipe = load_recipe(colours.recipe(tmp_path, "miou"))
    data = halves(tmp_path / "data", wrong_columns=2)
    found = figures(colours.Areas(), recipe, data)
    # 24 columns: blue in 12 of which 10 are right; green in 12, and 14 by the mask
    assert found["miou"] == pytest.approx((10 / 12 + 12 / 14) / 2)
    assert found["pixel_accuracy"] == pytest.approx(22 / 24)
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[:, :12] = 0
    cv2.imwrite(str(data / "masks" / "one.png"), mask)
    assert figures(colours.Areas(), recipe, data) == {"miou": 1.0, "pixel_accuracy": 1.0}


def test_a_mask_of_more_classes_than_the_network_has_is_told(tmp_path: Path) -> None:
    recipe = load_recipe(colours.recipe(tmp_path, "miou"))
    data = halves(tmp_path / "data")
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[0, 0] = 3
    cv2.imwrite(str(data / "masks" / "one.png"), mask)
    with pytest.raises(InputError, match=r"masks/one.png: has class 3, and x gives 3 classes, num"):
        figures(colours.Areas(), recipe, data)


def test_masks_that_are_none_are_told(tmp_path: Path) -> None:
    recipe = load_recipe(colours.recipe(tmp_path, "miou"))
    with pytest.raises(InputError, match=r"has no folder 'images'; evaluate.function 'miou'"):
        evaluator(recipe, tmp_path)
    data = halves(tmp_path / "data")
    for mask, message in (
        (np.zeros((4, 4), np.uint8), r"masks/one.png: is 4x4 pixels, and its picture 24x16"),
        (np.zeros((HEIGHT, WIDTH, 3), np.uint8), r"one channel of 8 or 16 bits.*got uint8"),
        (np.full((HEIGHT, WIDTH), 255, np.uint8), r"hold no class: every pixel is 255"),
    ):
        cv2.imwrite(str(data / "masks" / "one.png"), mask)
        with pytest.raises(InputError, match=message):
            figures(colours.Areas(), recipe, data)
    (data / "masks" / "one.png").unlink()
    with pytest.raises(InputError, match=r"images/one.png: has no mask .*masks/one.png"):
        evaluator(recipe, data)
    with pytest.raises(InputError, match=r"x on images/one.png: task 'mask'.*expects one output"):
        figures(colours.build(), recipe, halves(tmp_path / "other"))


# Boxes --------------------------------------------------------------------------------------------


def annotated(data: Path, *annotations: tuple[int, list[float]]) -> Path:
    """One picture of the network's size, with boxes (category, left, top, width, height)."""
    (data / "images").mkdir(parents=True)
    cv2.imwrite(str(data / "images" / "a.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    table = {
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "not there.png"}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}],
        "annotations": [
            {"id": number, "image_id": 7, "category_id": category, "bbox": box}
            for number, (category, box) in enumerate(annotations)
        ],
    }
    (data / "annotations.json").write_text(json.dumps(table))
    return data


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    pytest.importorskip("pycocotools")
    text = '\n[task]\nkind = "boxes"\nlayout = "corners"\n'
    return load_recipe(colours.recipe(tmp_path, "coco", text))


CAT, DOG = [12.0, 4, 8, 8], [2.0, 2, 8, 8]


def test_boxes_that_are_right_have_a_precision_of_one(recipe: Recipe, tmp_path: Path) -> None:
    data = annotated(tmp_path / "data", (3, CAT), (5, DOG))
    found = figures(colours.Planted(), recipe, data, "boxes", "scores")
    assert found == pytest.approx({"map": 1, "map50": 1, "map75": 1, "recall": 1})
    named = override(recipe, {"task.labels": ["dog", "cat"]})  # the other way about: all wrong
    assert figures(colours.Planted(), named, data, "boxes", "scores")["map"] == 0.0


def test_a_box_that_is_missed_halves_the_recall(recipe: Recipe, tmp_path: Path) -> None:
    data = annotated(tmp_path / "data", (3, CAT), (5, DOG), (5, [20.0, 12, 4, 4]))
    found = figures(colours.Planted(), recipe, data, "boxes", "scores")
    # of dogs one of two, the first: 51 of 101 points of recall; of cats all
    assert found["map50"] == pytest.approx((1 + 51 / 101) / 2)
    assert found["recall"] == pytest.approx((1 + 1 / 2) / 2)


def test_a_box_beside_the_place_counts_at_low_overlaps_alone(
    recipe: Recipe, tmp_path: Path
) -> None:
    data = annotated(tmp_path / "data", (3, [12.0, 4, 8, 6]), (5, DOG))  # an overlap of 0.75
    found = figures(colours.Planted(), recipe, data, "boxes", "scores")
    assert (found["map50"], found["map75"]) == pytest.approx((1, 1))
    assert found["map"] == pytest.approx((1 + 6 / 10) / 2)  # 0.5, 0.55, ..., 0.75


def test_annotations_that_are_none_are_told(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"wants annotations.json, or one file in annotations/"):
        evaluator(recipe, tmp_path)
    data = annotated(tmp_path / "data", (3, CAT))
    path = data / "annotations.json"
    whole = json.loads(path.read_text())
    for change, message in (
        ({"images": [{"id": 7, "file_name": "../a.png"}]}, r"'../a.png' leads out of the folder"),
        ({"images": [{"id": 7, "file_name": "b.png"}]}, r"none of its 1 photos is in"),
        ({"annotations": []}, r"has no boxes of the photos that are here"),
        ({"categories": None}, r"is not in COCO's format"),
        ({"annotations": [{"image_id": 7, "category_id": 3, "bbox": [1]}]}, r"a box must be left"),
        (
            {"annotations": [{"id": 2, "image_id": 7, "category_id": 99, "bbox": [1, 2, 3, 4]}]},
            r"annotation 2 has category_id 99, which is not among its categories",
        ),
        (
            {"annotations": [{"image_id": 99, "category_id": 3, "bbox": [1, 2, 3, 4]}]},
            r"annotation \? has image_id 99, which is not among its images",
        ),
    ):
        path.write_text(json.dumps({**whole, **change}))
        with pytest.raises(InputError, match=message):
            evaluator(recipe, data)
    path.write_text("{")
    with pytest.raises(InputError, match=r"annotations.json: cannot be read"):
        evaluator(recipe, data)
    path.write_text(json.dumps({**whole, "categories": [{"id": 3, "name": "cat"}]}))
    with pytest.raises(InputError, match=r"x gives class 1, and there are 1 categories; name"):
        figures(colours.Planted(), recipe, data, "boxes", "scores")
    with pytest.raises(InputError, match=r"the category 'cat' is no class of task.labels"):
        evaluator(override(recipe, {"task.labels": ["dog"]}), data)


def test_a_decoder_of_ones_own_is_no_layout(recipe: Recipe, tmp_path: Path) -> None:
    data = annotated(tmp_path / "data", (3, CAT))
    with pytest.raises(InputError, match=r"task.decoder is own.py:boxes; score its boxes by"):
        evaluator(override(recipe, {"task.decoder": "own.py:boxes"}), data)


def test_how_to_get_pycocotools_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "find_spec", lambda name: None)
    recipe = load_recipe(colours.recipe(tmp_path, "coco"))
    with pytest.raises(InputError, match=r"needs pycocotools, which is not installed; run .*coco"):
        evaluator(recipe, tmp_path)


def test_faces_are_scored_as_boxes_of_one_class(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    from toolchain.models.registry import build
    from toolchain.recipe import default_recipe

    recipe = override(
        default_recipe("eresfd"),
        {"evaluate.function": "coco", "input.height": 64, "input.width": 64},
    )
    data = annotated(tmp_path / "data", (3, CAT))
    found = figures(build("eresfd", 1), recipe, data, "loc", "logits")
    assert set(found) == {"map", "map50", "map75", "recall"}


# Points -------------------------------------------------------------------------------------------


class Corners(nn.Module):
    """Two points at shares of the sides, whatever the picture: (0.25, 0.5) and (0.75, 0.5)."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[0.25, 0.5, 0.75, 0.5]]) + 0 * images.mean()


def dots(data: Path, text: str) -> Path:
    (data / "images").mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(data / "images" / "a.png"), np.zeros((30, 40, 3), np.uint8))  # diagonal: 50
    (data / "points.json").write_text(text)
    return data


def points_recipe(folder: Path) -> Recipe:
    path = colours.recipe(folder, "points")
    path.write_text(path.read_text() + '[task]\nkind = "points"\nlayout = "shares"\n')
    return override(load_recipe(path), {"input.fit": "stretch"})


def test_points_are_scored_by_shares_of_the_diagonal(tmp_path: Path) -> None:
    recipe = points_recipe(tmp_path)
    data = dots(tmp_path / "data", '{"a.png": [[10, 18], [30, 15]], "gone.png": [[1, 2], null]}')
    assert figures(Corners(), recipe, data) == {"distance": 0.03, "pck": 0.5}  # 3 of 50, and none
    dots(data, '{"a.png": [[10, 17], null]}')
    found = figures(Corners(), recipe, data)
    assert found == {"distance": pytest.approx(0.04), "pck": 1.0}
    assert recipe.evaluate.is_lower("distance")
    assert not recipe.evaluate.is_lower("pck")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "points.json: cannot be read .*wants"),
        ("[]", r"points.json: must be \{"),
        (
            '{"a.png": [[1, 2, 3]]}',
            r"'a.png' must have a list of \[x, y\], or null .*got \[\[1, 2, 3",
        ),
        ('{"a.png": [[1, NaN]]}', "'a.png' must have a list"),
        ('{"../a.png": []}', "leads out of the folder"),
        ('{"b.png": [[1, 2]]}', "none of its 1 photos is in"),
        ('{"a.png": [null, null]}', "has no points of the photos that are here"),
        ('{"a.png": [[1, 2]]}', "x gives 2 points, and points.json has 1 for images/a.png; list"),
    ],
)
def test_points_that_do_not_fit_are_told(text: str, message: str, tmp_path: Path) -> None:
    data = dots(tmp_path / "data", text)
    with pytest.raises(InputError, match=message):
        figures(Corners(), points_recipe(tmp_path), data)
