"""Photos of any folder as batches: random crops of the network's size, mirrored, recoloured.

Crop number i is a function of the seed and i, as in a training, so a recovery that was stopped goes
on with the same crops.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from toolchain.checking.pictures import Photo as Picture
from toolchain.data.wider import WiderImage
from toolchain.errors import InputError
from toolchain.lineage.calibration import SUFFIXES
from toolchain.recipe import Recipe
from toolchain.recovery.course import Batch
from toolchain.recovery.finding import Find
from toolchain.recovery.teaching import FEWEST_HELD, HELD_BYTES
from toolchain.train.batches import CROP, Crops, batches
from toolchain.train.crops import Crop, CropSettings, Faces, Image, recolour
from toolchain.train.photos import Photos, prepare_images
from toolchain.train.ranks import rank, ranks

FEW, MOST_OUT = 50, 200
"""Photos under which a person is warned, and that are kept out at most."""
SHARE_OUT = 0.1
AREA, ASPECT = (0.25, 1.0), 4 / 3
"""Share of a photo's area that a crop shows, and by how much at most it is stretched."""
PLACED = ("faces", "boxes", "points", "mask")
"""Tasks whose networks see things of many sizes: crops show photos down to a pixel by a pixel."""
NEAR = 0.5
"""Share of crops that show something the teacher finds, where it finds something."""
SMALLEST, LARGEST = 32.0, 0.9
"""Sides that it has there: from so many pixels to such a share of the network's shorter side.
Smaller ones are in the other crops, but large ones hardly ever."""
CLOSEST = 4.0
"""Pixels of the network by one of the photo at most."""
LOOKED = 64
"""Crops on which channels are looked at, layers solved, and batch norm averaged."""
LOOK = 10**9
"""First number of these crops."""
LONGEST = 1024
"""Pixels of a photo's longer side, as it is kept."""
NO_FACES = np.zeros((0, 4), np.float32)


class Views(Crops):
    """Endless numbered crops of photos, at the network's size (height, width)."""

    def __init__(
        self,
        photos: Photos,
        settings: CropSettings,
        seed: int,
        size: tuple[int, int],
        closely: bool = False,
        find: Find | None = None,
    ) -> None:
        """``closely``: down to a pixel of the photo by one of the network's.

        Half of the crops show something that ``find`` finds, from :data:`SMALLEST` pixels on; each
        photo is searched when it first comes up.
        """
        super().__init__(photos, settings, seed)
        self.size, self.closely, self.find = size, closely, find
        self._found: dict[int, Faces] = {}

    def __getitem__(self, index: int) -> Crop:
        number = self.photo_of(index)
        image = self.photos.photos[number].pixels(self.photos.longest)
        generator = np.random.default_rng([self.seed, CROP, index])
        place = self._place(number, image, generator)
        pixels = _cut(image, place, self.size)
        if generator.random() < 0.5:
            pixels = np.asarray(cv2.flip(pixels, 1), np.uint8)
        return Crop(recolour(pixels, generator, self.settings), NO_FACES)

    def _place(self, number: int, image: Image, generator: np.random.Generator) -> Place:
        """Draw which part of photo ``number`` is seen."""
        if self.find is not None and generator.random() < NEAR:
            if number not in self._found:
                self._found[number] = self.find(image)
            if len(boxes := self._found[number]):
                box = boxes[generator.integers(len(boxes))]
                return _drawn_near(box, image, generator, self.size)
        return _drawn_place(image, generator, self.size if self.closely else None)


class Whole(Crops):
    """Each photo once, as much of it as has the network's shape, from its middle."""

    def __init__(self, photos: Photos, settings: CropSettings, size: tuple[int, int]) -> None:
        super().__init__(photos, settings, 0)
        self.size = size

    def __getitem__(self, index: int) -> Crop:
        image = self.photos.photos[index].pixels(self.photos.longest)
        height, width = image.shape[:2]
        scale = min(height / self.size[0], width / self.size[1])
        rows, columns = self.size[0] * scale, self.size[1] * scale
        place = ((height - rows) / 2, (width - columns) / 2, rows, columns)
        return Crop(_cut(image, place, self.size), NO_FACES)


Place = tuple[float, float, float, float]
"""Top, left, height and width in pixels of the photo."""


def _drawn_place(
    image: Image, generator: np.random.Generator, least: tuple[int, int] | None
) -> Place:
    """Draw which part of a photo is seen, inside of it; of ``least`` pixels, all scales alike."""
    height, width = image.shape[:2]
    if least is None:
        area = height * width * generator.uniform(*AREA)
    else:
        low = min(1.0, math.prod(least) / (height * width))
        area = height * width * math.exp(generator.uniform(math.log(low), 0.0))
    aspect = math.exp(generator.uniform(-math.log(ASPECT), math.log(ASPECT)))
    rows, columns = min(height, math.sqrt(area / aspect)), min(width, math.sqrt(area * aspect))
    top, left = generator.uniform(0, height - rows), generator.uniform(0, width - columns)
    return float(top), float(left), rows, columns


def _drawn_near(
    box: Faces, image: Image, generator: np.random.Generator, size: tuple[int, int]
) -> Place:
    """Draw a part of a photo, inside of it, that shows a whole box; all scales alike."""
    left, top, right, bottom = map(float, box)
    side = math.sqrt(max(1.0, (right - left) * (bottom - top)))
    low, high = math.log(SMALLEST), math.log(max(SMALLEST, LARGEST * min(size)))
    scale = min(math.exp(generator.uniform(low, high)) / side, CLOSEST)
    scale = max(scale, *(seen / whole for seen, whole in zip(size, image.shape[:2], strict=True)))
    rows, columns = size[0] / scale, size[1] / scale
    first = _edge(top, bottom, rows, image.shape[0], generator)
    return first, _edge(left, right, columns, image.shape[1], generator), rows, columns


def _edge(
    first: float, last: float, extent: float, whole: int, generator: np.random.Generator
) -> float:
    """Draw where a part of so much begins that what lies from ``first`` to ``last`` is in."""
    low, high = sorted((first, last - extent))
    return min(max(0.0, generator.uniform(low, high)), whole - extent)


def _cut(image: Image, place: Place, size: tuple[int, int]) -> Image:
    """Return a part of a photo at ``size`` (height, width)."""
    top, left, rows, columns = place
    first, last = math.floor(top), max(math.floor(top) + 1, math.ceil(top + rows))
    begin, end = math.floor(left), max(math.floor(left) + 1, math.ceil(left + columns))
    seen = np.ascontiguousarray(image[first:last, begin:end])
    smaller = seen.shape[0] > size[0] and seen.shape[1] > size[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(seen, size[::-1], interpolation=how), np.uint8)


class PhotoFeed:
    """Batches of a folder's photos, of which some are kept out."""

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        batch: int,
        seed: int,
        cache: Path,
        workers: int,
        device: str,
        on_photo: Callable[[int, int], None],
        find: Find | None = None,
    ) -> None:
        photos = prepare_images(_found(folder), cache, longest=LONGEST, on_photo=on_photo)
        self.photos, self.broken = len(photos.photos), photos.broken
        size = recipe.input.height, recipe.input.width
        each = 4 * recipe.input.channels * size[0] * size[1]
        learnt, out = _divided(photos, folder, min(MOST_OUT, max(FEWEST_HELD, HELD_BYTES // each)))
        settings = CropSettings.of(recipe)
        self._views = Views(learnt, settings, seed, size, recipe.task_kind in PLACED, find)
        self._batch, self._workers, self._device = batch, workers, device
        whole = Whole(out, settings, size)
        self.kept_out = [*self._batches(whole, 1, 0, len(out.photos))]
        self._out = out
        first = LOOK // batch
        self.looked = [*self._batches(self._views, batch, first, first - -LOOKED // batch)]
        self.notes = [f"left out: {name} ({reason})" for name, reason in photos.broken]
        if self.photos < FEW:
            self.notes.append(
                f"There are {self.photos} photos; with fewer than {FEW} a network learns them by "
                f"heart, and a few hundred that differ are better."
            )

    def pictures(self, most: int) -> list[Picture]:
        """Return some of the photos that are kept out, whole."""
        some = self._out.photos[:: -(-len(self._out.photos) // most)]
        return [Picture(each.name, each.pixels(self._out.longest)) for each in some]

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """Give the batches of the steps from ``first`` to ``last`` (without it), or this process's
        share of each.
        """
        mine = (rank(), ranks())
        return self._batches(self._views, self._batch, first, last, self._workers, mine)

    def _batches(
        self,
        crops: Crops,
        size: int,
        first: int,
        last: int,
        workers: int = 0,
        mine: tuple[int, int] = (0, 1),
    ) -> Iterator[Batch]:
        for batch in batches(crops, size, first, last, workers, *mine, device=self._device):
            yield Batch(((batch.images,), {}), batch.images)


def _found(folder: Path) -> list[WiderImage]:
    """Return all photos under a folder, in the order of their names."""
    try:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise InputError(f"--images {folder}: {error.strerror or error}") from error
    found = [WiderImage(str(path.relative_to(folder)), path) for path in paths if path.is_file()]
    if not found:
        reason = "holds no photos" if folder.is_dir() else "is no folder"
        raise InputError(f"--images {folder}: {reason}; give a folder of a few hundred photos")
    return found


def _divided(photos: Photos, folder: Path, most: int) -> tuple[Photos, Photos]:
    """Return the photos to learn from, and ``most`` that are kept out, spread evenly."""
    count = len(photos.photos)
    if count < 2:
        raise InputError(
            f"--images {folder}: there is a single photo that can be read, and one to learn from "
            f"and one to look at are the least; give a few hundred"
        )
    out = min(most, max(1, round(SHARE_OUT * count)))
    chosen = {int(place) for place in np.linspace(0, count - 1, out + 2)[1:-1].round()}
    parts = [
        tuple(photo for index, photo in enumerate(photos.photos) if (index in chosen) == is_out)
        for is_out in (False, True)
    ]
    learnt, kept = (Photos(part, photos.broken, 0, photos.longest) for part in parts)
    return learnt, kept
