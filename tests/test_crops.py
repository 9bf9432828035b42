"""Crops and batches: faces stay on their pixels, and every number gives the same crop again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from widerface import make_wider

from toolchain.data.wider import Split, read_split
from toolchain.errors import DataError
from toolchain.recipe import InputSection, default_recipe
from toolchain.train import photos as photos_module
from toolchain.train.batches import Crops, batches
from toolchain.train.crops import CropSettings, draw_crop
from toolchain.train.photos import Photos, prepare_photos, usable_faces
from toolchain.train.targets import Matching

PLAIN = CropSettings(
    side=320, brightness=0, contrast=0, saturation=0, fed=InputSection(mean=(0.0,))
)


def prepared(split: Split, cache: Path, **options: int) -> Photos:
    return prepare_photos(split, cache, on_photo=lambda done, total: None, **options)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    return read_split(make_wider(tmp_path / "wider", 1, train=6, extra_boxes=True), "train")


def test_a_face_lies_where_its_pixels_lie() -> None:
    """A white face on black: centre and area of the white equal those of the box."""
    image = np.zeros((768, 1024, 3), np.uint8)
    image[100:150, 100:140] = 255
    face = np.array([[100, 100, 140, 150]], np.float32)
    compared = 0
    for number in range(200):
        crop = draw_crop(image, face, np.random.default_rng(number), PLAIN)
        if not len(crop.faces) or crop.faces.min() < 2 or crop.faces.max() > 318:
            continue
        left, top, right, bottom = crop.faces[0]
        white = crop.image[..., 0] / 255.0
        places = np.arange(0.5, 320)
        centre = (white.sum(0) @ places / white.sum(), white.sum(1) @ places / white.sum())
        assert centre == pytest.approx(((left + right) / 2, (top + bottom) / 2), abs=0.3)
        assert white.sum() == pytest.approx((right - left) * (bottom - top), rel=0.05)
        compared += 1
    assert compared > 40


def test_what_lies_outside_the_photo_has_the_mean_colour() -> None:
    settings = CropSettings(
        side=320, brightness=0, contrast=0, saturation=0, near_face=0, own_scale=1
    )
    image = np.zeros((100, 100, 3), np.uint8)
    crop = draw_crop(image, np.zeros((0, 4), np.float32), np.random.default_rng(0), settings)
    colours, counts = np.unique(crop.image.reshape(-1, 3), axis=0, return_counts=True)
    found = {tuple(colour): count for colour, count in zip(colours.tolist(), counts, strict=True)}
    assert found[(104, 117, 123)] > 320 * 320 - 103 * 103
    assert found[(0, 0, 0)] > 97 * 97


def test_small_faces_and_faces_outside_are_no_targets() -> None:
    settings = CropSettings(side=320, near_face=0, own_scale=1)
    image = np.zeros((320, 320, 3), np.uint8)
    faces = np.array([[10, 10, 14, 60], [20, 20, 60, 60], [-90, 0, 10, 50]], np.float32)
    crop = draw_crop(image, faces, np.random.default_rng(1), settings)
    assert len(crop.faces) == 1
    assert (crop.faces[0, 2:] - crop.faces[0, :2]).tolist() == [40, 40]


def test_photos_are_decoded_once_and_anew_when_they_change(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepared(split, tmp_path / "cache")
    assert len(first.photos) == 6
    read = photos_module.detect.read_image
    seen: list[Path] = []

    def counted(path: Path, **options: bool) -> object:
        seen.append(path)
        return read(path, **options)

    monkeypatch.setattr(photos_module.detect, "read_image", counted)
    again = prepared(split, tmp_path / "cache")
    assert seen == []
    for one, other in zip(first.photos, again.photos, strict=True):
        np.testing.assert_array_equal(one.pixels(1024), other.pixels(1024))
        np.testing.assert_array_equal(one.faces, other.faces)
    split.images[0].path.write_bytes(split.images[1].path.read_bytes())
    changed = prepared(split, tmp_path / "cache")
    np.testing.assert_array_equal(changed.photos[0].pixels(1024), first.photos[1].pixels(1024))


def test_photos_are_shrunk_with_their_faces(split: Split, tmp_path: Path) -> None:
    whole = prepared(split, tmp_path / "cache")
    small = prepared(split, tmp_path / "cache", longest=100)
    for one, other in zip(whole.photos, small.photos, strict=True):
        scale = 100 / max(one.pixels(1024).shape)
        assert max(other.pixels(100).shape) == 100
        np.testing.assert_allclose(other.faces, one.faces * scale, rtol=1e-5)


def test_a_full_cache_means_decoding_each_time(split: Split, tmp_path: Path) -> None:
    budget = 200_000  # the drawn photos have 58 to 230 kB each
    some = prepared(split, tmp_path / "cache", budget_bytes=budget)
    cached = [photo.cached for photo in some.photos if photo.cached]
    assert 0 < len(cached) < 6
    assert sum(path.stat().st_size for path in cached) <= budget + 128 * len(cached)
    whole = prepared(split, tmp_path / "other")
    for one, other in zip(some.photos, whole.photos, strict=True):
        np.testing.assert_array_equal(one.pixels(1024), other.pixels(1024))


def test_broken_photos_are_told_and_left_out(split: Split, tmp_path: Path) -> None:
    split.images[2].path.write_bytes(b"no picture")
    found = prepared(split, tmp_path / "cache")
    assert [name for name, _ in found.broken] == [split.images[2].name]
    assert len(found.photos) == 5
    for image in split.images:
        image.path.write_bytes(b"")
    with pytest.raises(DataError, match="no photo to train on"):
        prepared(split, tmp_path / "cache")


def test_odd_faces_are_left_out() -> None:
    boxes = np.array([[10.0, 10, 5, 5], [10, 10, 0, 5], [-50, 0, 20, 20], [95, 0, 20, 20]])
    assert usable_faces(boxes, (100, 100)).tolist() == [[10, 10, 15, 15]]


def test_a_number_gives_the_same_crop_in_any_process_and_order(
    split: Split, tmp_path: Path
) -> None:
    crops = Crops(prepared(split, tmp_path / "cache"), CropSettings(side=64), seed=3)
    here = list(batches(crops, 4, 0, 5, workers=0))
    late = list(batches(crops, 4, 3, 5, workers=0))
    torch.testing.assert_close(late[0].images, here[3].images, rtol=0, atol=0)
    with_workers = list(batches(crops, 4, 0, 5, workers=2))
    for one, other in zip(here, with_workers, strict=True):
        torch.testing.assert_close(one.images, other.images, rtol=0, atol=0)
    shares = [list(batches(crops, 4, 0, 5, 0, rank, 2)) for rank in (0, 1)]
    for whole, first, second in zip(here, *shares, strict=True):
        torch.testing.assert_close(whole.images[0::2], first.images, rtol=0, atol=0)
        torch.testing.assert_close(whole.images[1::2], second.images, rtol=0, atol=0)
    other_seed = Crops(crops.photos, crops.settings, seed=4)
    assert not torch.equal(next(batches(other_seed, 4, 0, 1, 0)).images, here[0].images)


@pytest.mark.parametrize("workers", [0, 2])
def test_labels_are_matched_where_crops_are_drawn(
    split: Split, tmp_path: Path, workers: int
) -> None:
    recipe = default_recipe("eresfd")
    assert recipe.anchors is not None
    matching = Matching(recipe.anchors, recipe.decode.variances)
    crops = Crops(prepared(split, tmp_path / "cache"), CropSettings(side=128), seed=3)
    drawn = list(batches(crops, 4, 0, 3, workers, matching=matching))
    assert any(bool(batch.wanted.positive.any()) for batch in drawn if batch.wanted)
    for batch in drawn:
        expected = matching.of(batch.faces, 128, 128)
        assert batch.wanted is not None
        assert torch.equal(batch.wanted.positive, expected.positive)
        assert torch.equal(batch.wanted.loc, expected.loc)
    assert next(batches(crops, 4, 0, 1, workers)).wanted is None


def test_an_epoch_shows_every_photo_once(split: Split, tmp_path: Path) -> None:
    crops = Crops(prepared(split, tmp_path / "cache"), CropSettings(side=64), seed=3)
    epochs = [[crops.photo_of(6 * epoch + place) for place in range(6)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_images_are_rgb_minus_their_mean(split: Split, tmp_path: Path) -> None:
    crops = Crops(prepared(split, tmp_path / "cache"), CropSettings(side=64), seed=3)
    drawn = crops[0]
    batch = next(batches(crops, 1, 0, 1, 0))
    red = torch.from_numpy(drawn.image[:, :, 2].astype(np.float32)) - 123
    torch.testing.assert_close(batch.images[0, 0], red)
    np.testing.assert_array_equal(batch.faces[0].numpy(), drawn.faces)
