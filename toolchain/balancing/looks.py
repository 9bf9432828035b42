"""Photos looked at once each, and what was seen kept, so that a run that was stopped goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from zipfile import BadZipFile

from toolchain.balancing.candidates import Candidates, Look, nothing_seen
from toolchain.data.wider import Split, WiderImage
from toolchain.deploy import detect
from toolchain.detection.claiming import writing
from toolchain.records.accuracy import BrokenPhoto
from toolchain.system.files import write_bytes
from toolchain.system.memory import Surplus

DAMAGED = (ValueError, KeyError, EOFError, BadZipFile, OSError)
"""What reading a kept file raises that is not whole; its photo is looked at again."""


def seen_in(
    split: Split, folder: Path, look: Look, on_photo: Callable[[int, int], None]
) -> tuple[list[Candidates], tuple[BrokenPhoto, ...]]:
    """Return what is seen in each photo, and which cannot be read: in these nothing is.

    What ``folder`` holds, as EVENT/IMAGE.npz, is not looked at again. ``on_photo`` is called with
    how many photos are done, and of how many.
    """
    found, broken, surplus = [], [], Surplus()
    for done, image in enumerate(split.images):
        on_photo(done, len(split.images))
        try:
            found.append(_kept(folder / f"{image.name}.npz", image, look, done))
        except detect.DetectError as error:
            broken.append(BrokenPhoto(image.name, str(error).removeprefix(f"{image.path}: ")))
            found.append(nothing_seen())
        surplus.give_back()
    on_photo(len(split.images), len(split.images))
    return found, tuple(broken)


def _kept(path: Path, image: WiderImage, look: Look, done: int) -> Candidates:
    if path.is_file():
        with contextlib.suppress(*DAMAGED):
            return Candidates.from_bytes(path.read_bytes())
    seen = look(detect.read_image(image.path, upright=False))
    with writing(path.parent, done):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, seen.to_bytes())
    return seen
