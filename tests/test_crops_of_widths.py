"""Crops that widths are looked at on: faces of all sizes, of photos hardly scaled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from widerface import make_wider

from toolchain.data.wider import Split, read_split
from toolchain.errors import DataError, InputError
from toolchain.recipe import Recipe, default_recipe, override
from toolchain.widths import crops
from toolchain.widths.crops import CROPS, draw_crops


def recipe(low: float, high: float, side: int = 96) -> Recipe:
    wanted = {"input.height": side, "input.width": 2 * side, "crops.face_sides": [low, high]}
    return override(default_recipe("eresfd"), wanted)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    return read_split(make_wider(tmp_path_factory.mktemp("wider"), 2, train=20), "train")


def test_they_show_faces_of_rising_sizes(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, photos = [], []
    draw, nearest = crops.draw_crop, crops._nearest

    def watched(image, face, generator, settings):  # type: ignore[no-untyped-def]
        crop = draw(image, face, generator, settings)
        shown.append(float(np.sqrt(np.prod(crop.faces[0, 2:] - crop.faces[0, :2]))))
        return crop

    def found(left, side):  # type: ignore[no-untyped-def]
        photo, face = nearest(left, side)
        own = float(np.sqrt(np.prod(face[0, 2:] - face[0, :2])))
        photos.append((photo.name, side / own))
        return photo, face

    monkeypatch.setattr(crops, "draw_crop", watched)
    monkeypatch.setattr(crops, "_nearest", found)
    images = draw_crops(split, recipe(12, 59), tmp_path)
    assert [tuple(image.shape) for image in images] == CROPS * [(1, 3, 96, 96)]
    edges = np.geomspace(12, 59, CROPS + 1)
    assert all(low <= side <= high for low, side, high in zip(edges, shown, edges[1:]))  # noqa: B905
    assert len({name for name, _ in photos}) == CROPS  # there are 20
    assert all(0.5 < scale < 2 for _, scale in photos)
    again = draw_crops(split, recipe(12, 59), tmp_path)
    assert all(torch.equal(*pair) for pair in zip(images, again, strict=True))
    assert not list(tmp_path.iterdir())  # nothing is kept


def test_few_photos_are_cut_again(split: Split, tmp_path: Path) -> None:
    images = draw_crops(split.spread(3), recipe(10, 90), tmp_path)
    assert len({image.numpy().tobytes() for image in images}) == CROPS


def test_faces_that_are_larger_than_the_input_are_refused(split: Split, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="begin at 96 pixels, and the input's shorter side has 96"):
        draw_crops(split, recipe(96, 200), tmp_path)


def test_faces_that_are_too_small_are_refused(split: Split, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no face among the photos can be shown \d{3} pixels"):
        draw_crops(split, recipe(10, 2000, 960), tmp_path)
