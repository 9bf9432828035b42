"""Training photos: decoded and shrunk once, kept on disk, with their faces.

The cache holds one ``.npy`` per photo, named by the SHA-256 of the photo's file, so a photo that
changed is decoded anew. It is bounded: what does not fit is decoded each time.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from toolchain.data.wider import Split, Truth, WiderImage
from toolchain.deploy import detect
from toolchain.errors import DataError
from toolchain.system.files import sha256_of, write_bytes

DEFAULT_LONGEST = 1024
"""Pixels of a photo's longer side."""
DEFAULT_BUDGET_BYTES = 8_000_000_000
"""Of the cache; 1,000 photos of 1024 x 768 pixels take 2.4 GB."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo to train on."""

    name: str
    path: Path
    cached: Path | None
    """uint8 (H, W, 3), BGR; None where the cache was full."""
    faces: NDArray[np.float32]
    """(F, 4) left, top, right, bottom in pixels of the shrunk photo."""
    upright: bool = False
    """Turned as its EXIF data says."""

    def pixels(self, longest: int) -> NDArray[np.uint8]:
        """Return the shrunk photo (H, W, 3), BGR; from the cache it is mapped, not copied.

        Raises :class:`DataError` if the file of a photo that is not cached has gone.
        """
        if self.cached is not None:
            with contextlib.suppress(FileNotFoundError):  # someone cleaned up: the photo is there
                return np.asarray(np.load(self.cached, mmap_mode="r"))
        try:
            return shrunk(detect.read_image(self.path, upright=self.upright), longest)
        except detect.DetectError as error:
            raise DataError(f"{error}; it could be read when the training began") from error


@dataclass(frozen=True)
class Photos:
    """What there is to train on."""

    photos: tuple[Photo, ...]
    broken: tuple[tuple[str, str], ...]
    """Name and reason of photos that cannot be read; they are left out."""
    dropped_faces: int
    """Faces of no size, or that lie outside their photo."""
    longest: int


def prepare_photos(
    split: Split,
    cache: Path,
    *,
    longest: int = DEFAULT_LONGEST,
    budget_bytes: int = DEFAULT_BUDGET_BYTES,
    upright: bool = False,
    on_photo: Callable[[int, int], None],
) -> Photos:
    """Decode what is not in ``cache`` yet and return all photos with their faces.

    The last level of ``split`` tells which faces are valid; boxes are of photos as they are stored,
    which ``upright`` turns as their EXIF data says. Raises :class:`DataError` if no photo
    can be read, or the cache cannot be written.
    """
    photos: list[Photo] = []
    broken: list[tuple[str, str]] = []
    left, dropped = budget_bytes, 0
    for done, (image, truth) in enumerate(zip(split.images, split.truths, strict=True), start=1):
        on_photo(done, len(split.images))
        try:
            cached, size, scale = _cached(image, cache, longest, left, upright=upright)
        except detect.DetectError as error:
            broken.append((image.name, str(error).removeprefix(f"{image.path}: ")))
            continue
        left -= cached.stat().st_size if cached is not None else 0
        valid = truth.boxes[truth.counted[split.levels[-1]]]
        faces = usable_faces(valid * scale, size)
        dropped += len(valid) - len(faces)
        photos.append(Photo(image.name, image.path, cached, faces, upright))
    if not photos:
        raise DataError("there is no photo to train on: none of those listed can be read")
    return Photos(tuple(photos), tuple(broken), dropped, longest)


def prepare_images(
    images: Sequence[WiderImage],
    cache: Path,
    *,
    longest: int = DEFAULT_LONGEST,
    budget_bytes: int = DEFAULT_BUDGET_BYTES,
    on_photo: Callable[[int, int], None],
) -> Photos:
    """Decode what is not in ``cache`` yet and return all photos, upright; no face is known.

    Raises :class:`DataError` as :func:`prepare_photos` does.
    """
    nothing = Truth(np.zeros((0, 4)), {"all": np.zeros(0, bool)})
    split = Split("photos", tuple(images), (nothing,) * len(images), ("all",), len(images))
    return prepare_photos(
        split, cache, longest=longest, budget_bytes=budget_bytes, upright=True, on_photo=on_photo
    )


def shrunk(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Return the photo with its longer side at most ``longest`` pixels."""
    scale = longest / max(image.shape[:2])
    if scale >= 1:
        return image
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _cached(
    image: WiderImage, cache: Path, longest: int, left_bytes: int, *, upright: bool
) -> tuple[Path | None, tuple[int, int], float]:
    """Return the cached file (None if there is no room), its (height, width), and its scale."""
    try:
        digest = sha256_of(image.path)
    except OSError as error:
        raise detect.DetectError(f"{image.path}: cannot be read ({error.strerror})") from error
    try:
        stem = f"{digest}-{'up' if upright else ''}{longest}"
        found = next(cache.glob(f"{stem}-*.npy"), None)
        if found is not None:
            pixels = np.load(found, mmap_mode="r")
            return found, pixels.shape[:2], float(found.stem.rpartition("-")[2])
        original = detect.read_image(image.path, upright=upright)
        small = shrunk(original, longest)
        scale = max(small.shape[:2]) / max(original.shape[:2])
        size = (small.shape[0], small.shape[1])
        if small.nbytes > left_bytes:
            return None, size, scale
        cache.mkdir(parents=True, exist_ok=True)
        return _write(cache / f"{stem}-{scale!r}.npy", small), size, scale
    except (OSError, ValueError) as error:
        raise DataError(
            f"{cache}: the cache of photos cannot be used ({error}); make room, or choose another "
            f"place by --cache"
        ) from error


def _write(path: Path, pixels: NDArray[np.uint8]) -> Path:
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(pixels))
    write_bytes(path, stream.getvalue())
    return path


def usable_faces(boxes: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """Turn (G, 4) left, top, width, height into left, top, right, bottom, leaving out odd ones.

    A face must have a size and its centre inside the photo of ``size`` (height, width).
    """
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    centre = boxes[:, :2] + boxes[:, 2:] / 2
    inside = ((centre >= 0) & (centre < (size[1], size[0]))).all(axis=1)
    kept = inside & (boxes[:, 2:] > 0).all(axis=1)
    return np.asarray(corners[kept], np.float32)


def faces_of(photos: Sequence[Photo]) -> int:
    """Return how many faces there are in all."""
    return sum(len(photo.faces) for photo in photos)
