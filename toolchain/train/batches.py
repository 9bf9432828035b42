"""Batches of crops: which photo, which crop, in which order; all of it a function of the seed.

Crop number i is of photo ``order(epoch)[i % n]`` and is drawn by a generator made from the seed and
i, so a batch is the same in every process and after every resume.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from toolchain.recipe import InputSection
from toolchain.train.crops import Crop, CropSettings, Image, draw_crop
from toolchain.train.devices import memory_format
from toolchain.train.photos import Photos
from toolchain.train.targets import Matching, Targets

ORDER, CROP = 0, 1
"""What a generator is for, so that no two share their numbers."""


@dataclass(frozen=True)
class Batch:
    """Crops, ready for the network."""

    images: Tensor
    """float32 (N, C, side, side), as the recipe's network is given them."""
    faces: tuple[Tensor, ...]
    """Per crop (F, 4): left, top, right, bottom in pixels; on the CPU."""
    wanted: Targets | None = None
    """What anchors must say, if it was asked for."""


class Crops(Dataset[Crop]):
    """Endless numbered crops of the photos."""

    def __init__(self, photos: Photos, settings: CropSettings, seed: int) -> None:
        self.photos, self.settings, self.seed = photos, settings, seed
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def photo_of(self, index: int) -> int:
        """Return which photo crop ``index`` is of; an epoch shows every photo once."""
        epoch, place = divmod(index, len(self.photos.photos))
        if epoch != self._epoch:
            generator = np.random.default_rng([self.seed, ORDER, epoch])
            self._epoch, self._order = epoch, generator.permutation(len(self.photos.photos))
        return int(self._order[place])

    def __getitem__(self, index: int) -> Crop:
        photo = self.photos.photos[self.photo_of(index)]
        generator = np.random.default_rng([self.seed, CROP, index])
        return draw_crop(photo.pixels(self.photos.longest), photo.faces, generator, self.settings)


def batches(
    crops: Crops,
    size: int,
    first: int,
    last: int,
    workers: int,
    rank: int = 0,
    ranks: int = 1,
    *,
    device: str = "cpu",
    matching: Matching | None = None,
) -> Iterator[Batch]:
    """Give batches ``first`` to ``last`` (without it) of ``size`` crops, of which each of the
    ``ranks`` processes gets its share.

    ``workers`` processes draw ahead, and match anchors with faces by ``matching`` if there is one;
    0 draws in this one. Images and targets come to lie on ``device``.
    """
    numbers = [
        [step * size + place for place in range(rank, size, ranks)] for step in range(first, last)
    ]
    loader = DataLoader(
        crops,
        batch_sampler=numbers,
        num_workers=workers,
        collate_fn=_Collate(matching, crops.settings.fed),
        persistent_workers=False,
    )
    feed = _Feed(crops.settings.fed, device)
    for pixels, faces, wanted in loader:
        images = feed(pixels.to(device)).contiguous(memory_format=memory_format(device))
        yield Batch(images, faces, None if wanted is None else wanted.to(device))


class _Feed:
    """Makes of pixels uint8 (N, H, W, C), blue first, what the network is given."""

    def __init__(self, fed: InputSection, device: str) -> None:
        self.red_first = fed.color_order == "RGB"
        std = torch.tensor(fed.stds, dtype=torch.float64)
        mean = torch.tensor(fed.means, dtype=torch.float64)
        self.factors, self.offsets = (
            values.to(device, torch.float32).view(-1, 1, 1)
            for values in (fed.scale / std, mean / std)
        )
        self.is_plain = fed.is_plain

    def __call__(self, pixels: Tensor) -> Tensor:
        ordered = pixels.flip(3) if self.red_first else pixels
        images = ordered.permute(0, 3, 1, 2).float()
        return (images if self.is_plain else images * self.factors) - self.offsets


@dataclass(frozen=True)
class _Collate:
    matching: Matching | None
    fed: InputSection

    def __call__(self, drawn: list[Crop]) -> tuple[Tensor, tuple[Tensor, ...], Targets | None]:
        images = [_channels(crop.image, self.fed) for crop in drawn]
        pixels = torch.from_numpy(np.stack(images))  # a quarter of floats
        faces = tuple(torch.from_numpy(crop.faces) for crop in drawn)
        wanted = self.matching.of(faces, *pixels.shape[1:3]) if self.matching else None
        return pixels, faces, wanted


def _channels(image: Image, fed: InputSection) -> Image:
    """Return a crop (side, side, 3) with the network's channels, blue first."""
    if fed.channels == 3:
        return image
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)[..., None]
