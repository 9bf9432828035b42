"""Crops of a folder's photos that a recovery learns from."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from test_detect_photos import orientation, with_segment

from toolchain.data.wider import WiderImage
from toolchain.recipe import default_recipe
from toolchain.recovery.photos import CLOSEST, Views, _drawn_near, _drawn_place
from toolchain.train.crops import CropSettings
from toolchain.train.photos import prepare_images

BOX = np.array([600.0, 100.0, 640.0, 140.0], np.float32)
SIZE = (96, 96)


@pytest.mark.parametrize("closely", [False, True])
def test_crops_of_networks_that_place_things_are_taken_down_to_a_pixel_by_a_pixel(
    closely: bool,
) -> None:
    """Of a photo of 400x800 and a network of 40x80: a hundredth of the area, or a quarter."""
    image, generator = np.zeros((400, 800, 3), np.uint8), np.random.default_rng(0)
    least = (40, 80) if closely else None
    places = [_drawn_place(image, generator, least) for _ in range(400)]
    shares = np.array([rows * columns / (400 * 800) for _, _, rows, columns in places])
    assert shares.min() >= (0.0099 if closely else 0.2)
    assert (shares < 0.1).mean() == pytest.approx(0.5 if closely else 0.0, abs=0.1)
    assert all(top >= 0 and top + rows <= 400.001 for top, _, rows, _ in places)


def test_what_the_teacher_finds_is_shown_from_32_pixels_to_nine_tenths_of_the_crop() -> None:
    """Of 40 pixels, in a photo of 400x800 that a network of 96x96 sees from 0.24 times on."""
    image, generator = np.zeros((400, 800, 3), np.uint8), np.random.default_rng(0)
    places = [_drawn_near(BOX, image, generator, SIZE) for _ in range(400)]
    sides = np.array([40 * SIZE[0] / rows for _, _, rows, _ in places])
    assert 32 <= sides.min() < 34
    assert 80 < sides.max() <= 0.9 * 96
    assert np.median(sides) == pytest.approx(math.sqrt(32 * 0.9 * 96), rel=0.1)  # by its logarithm
    for top, left, rows, columns in places:
        assert rows == columns  # nothing is stretched
        assert 0 <= top <= 100 < 140 <= top + rows <= 400.001
        assert 0 <= left <= 600 < 640 <= left + columns <= 800.001


def test_a_crop_is_never_more_than_the_photo() -> None:
    """A box that fills it stays as large as it is."""
    image, generator = np.zeros((100, 200, 3), np.uint8), np.random.default_rng(0)
    large = np.array([5.0, 5.0, 195.0, 95.0], np.float32)
    for _ in range(50):
        top, left, rows, columns = _drawn_near(large, image, generator, SIZE)
        assert (top, rows, columns) == (0, 100, 100)
        assert 0 <= left <= 100


def test_a_tiny_box_is_brought_no_nearer_than_pixels_bear() -> None:
    image, generator = np.zeros((400, 800, 3), np.uint8), np.random.default_rng(0)
    tiny = np.array([600.0, 100.0, 602.0, 102.0], np.float32)
    places = [_drawn_near(tiny, image, generator, SIZE) for _ in range(50)]
    assert min(rows for _, _, rows, _ in places) == SIZE[0] / CLOSEST


def test_half_of_the_crops_show_what_is_found_and_a_photo_is_searched_once(tmp_path: Path) -> None:
    """In one of two photos something is found: a white square, which few other crops show."""
    pixels = np.zeros((400, 800, 3), np.uint8)
    pixels[100:140, 600:640] = 255
    for name, image in (("with", pixels), ("without", np.zeros_like(pixels))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), image)
    found = [WiderImage(name, tmp_path / f"{name}.png") for name in ("with", "without")]
    photos = prepare_images(found, tmp_path / "cache", on_photo=lambda done, total: None)
    searched = []

    def find(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        searched.append(bool(image.any()))
        return BOX[None] if image.any() else np.zeros((0, 4), np.float32)

    settings = CropSettings.of(default_recipe("eresfd"))
    crops = Views(photos, settings, 0, SIZE, closely=True, find=find)
    shown = [(crops[number].image > 128).mean() for number in range(400)]
    assert sorted(searched) == [False, True]
    plain = Views(photos, settings, 0, SIZE, closely=True)
    few = np.mean([(plain[number].image > 128).any() for number in range(400)])
    assert np.mean(np.array(shown) > 0) == pytest.approx((0.5 + few) / 2, abs=0.07)
    again = Views(photos, settings, 0, SIZE, closely=True, find=find)
    assert np.array_equal(again[17].image, crops[17].image)


def test_photos_are_turned_as_their_cameras_say(tmp_path: Path) -> None:
    path = tmp_path / "wide.jpg"
    cv2.imwrite(str(path), np.zeros((20, 40, 3), np.uint8))
    path.write_bytes(with_segment(path.read_bytes(), orientation(6)))
    found = [WiderImage("wide", path)]
    for _ in range(2):  # decoded, and from the cache
        photos = prepare_images(found, tmp_path / "cache", on_photo=lambda done, total: None)
        assert photos.photos[0].pixels(1024).shape == (40, 20, 3)
    unkept = prepare_images(
        found, tmp_path / "none", budget_bytes=0, on_photo=lambda done, total: None
    )
    assert unkept.photos[0].pixels(1024).shape == (40, 20, 3)
