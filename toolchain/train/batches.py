"""Batches of crops: which photo, which crop, in which order; all of it a function of the seed.

Crop number i is of photo ``order(epoch)[i % n]`` and is drawn by a generator made from the seed and
i, so a batch is the same in every process and after every resume.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from toolchain.train.crops import Crop, CropSettings, draw_crop
from toolchain.train.photos import Photos

ORDER, CROP = 0, 1
"""What a generator is for, so that no two share their numbers."""


@dataclass(frozen=True)
class Batch:
    """Crops, ready for the network."""

    images: Tensor
    """float32 (N, 3, side, side), RGB minus its mean."""
    faces: tuple[Tensor, ...]
    """Per crop (F, 4): left, top, right, bottom in pixels."""

    def to(self, device: str) -> Batch:
        """Return the batch with its images on ``device``; faces stay where targets are made."""
        return self if device == "cpu" else Batch(self.images.to(device), self.faces)


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
    crops: Crops, size: int, first: int, last: int, workers: int, rank: int = 0, ranks: int = 1
) -> Iterator[Batch]:
    """Give batches ``first`` to ``last`` (without it) of ``size`` crops, of which each of the
    ``ranks`` processes gets its share.

    ``workers`` processes draw ahead; 0 draws in this one.
    """
    wanted = [
        [step * size + place for place in range(rank, size, ranks)] for step in range(first, last)
    ]
    loader = DataLoader(
        crops,
        batch_sampler=wanted,
        num_workers=workers,
        collate_fn=_Collate(crops.settings.mean),
        persistent_workers=False,
    )
    yield from loader


@dataclass(frozen=True)
class _Collate:
    mean: tuple[float, float, float]

    def __call__(self, drawn: list[Crop]) -> Batch:
        pixels = torch.from_numpy(np.stack([crop.image for crop in drawn]))
        images = pixels.flip(3).permute(0, 3, 1, 2).float()  # BGR to RGB, channels first
        images = images - torch.tensor(self.mean).view(3, 1, 1)
        return Batch(images.contiguous(), tuple(torch.from_numpy(crop.faces) for crop in drawn))
