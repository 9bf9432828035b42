"""What built-in evaluations have in common: samples, what is kept of each, and a hash of them all.

A built-in evaluation reads a folder into samples, looks at each with the model, and adds up what it
found. What it finds of one sample is plain JSON, so that it is kept as soon as it is known.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.deploy import detect
from toolchain.errors import DataError
from toolchain.evaluating.model import Model
from toolchain.recipe import Recipe
from toolchain.system.files import sha256_of

SUFFIXES = detect.JPEG_SUFFIXES + detect.OTHER_SUFFIXES
MAX_FILES = 2_000_000
"""So many files may be listed."""


@dataclass(frozen=True)
class Sample:
    """A picture, and what is known of it."""

    name: str
    """Its path in the folder."""
    picture: Path
    truth: Any
    """Plain JSON."""

    @property
    def folder(self) -> Path:
        """The data's folder, in which ``name`` is."""
        return self.picture.parents[len(PurePosixPath(self.name).parts) - 1]


@dataclass(frozen=True)
class BuiltIn:
    """An evaluation by name."""

    read: Callable[[Path, Recipe], tuple[Sample, ...]]
    """All samples of a folder, in order; raises :class:`DataError`."""
    look: Callable[[Model, NDArray[np.uint8], Sample], Any]
    """What is found of one: plain JSON; raises :class:`InputError`."""
    add_up: Callable[[Sequence[Sample], Sequence[Any]], dict[str, float]]
    """The figures; what was found is None of a picture that cannot be read."""
    upright: bool = True
    """Turn pictures as their EXIF data say, as the board does; False where the truth lies on pixels
    as they are stored."""


def spread(samples: tuple[Sample, ...], limit: int | None) -> tuple[Sample, ...]:
    """Return so many of them, evenly spaced over their order, always the same."""
    total = len(samples)
    if limit is None or limit >= total:
        return samples
    return tuple(samples[index * total // limit] for index in range(limit))


def hash_of(samples: Sequence[Sample]) -> str:
    """Return a hash over names, truths and the pictures' bytes."""
    digest = hashlib.sha256()
    for sample in samples:
        known = json.dumps([sample.name, sample.truth], sort_keys=True)
        digest.update(f"{known}\0{sha256_of(sample.picture)}\0".encode())
    return digest.hexdigest()


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures below a folder, by name; raise :class:`DataError` if it cannot be read.

    What begins with a dot is left out.
    """
    try:
        found = sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in SUFFIXES
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        )
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror or error}") from error
    if len(found) > MAX_FILES:
        raise DataError(f"{folder}: holds more than {MAX_FILES:,} pictures")
    return found


def picture_named(path: Path, name: str, data: Path) -> Path | None:
    """Return the picture that an annotation names, in ``images`` or beside it; None if neither.

    Raises :class:`DataError` naming the annotations, ``path``, for a name that leads elsewhere.
    """
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or "\\" in name or "\0" in name:
        raise DataError(f"{path}: {name!r} leads out of the folder")
    return next((each for each in (data / "images" / name, data / name) if each.is_file()), None)
