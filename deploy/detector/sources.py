"""What is looked at: pictures, folders, videos and cameras."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .arrays import Image
from .errors import DetectError, one_line, reason_of
from .pictures import JPEG_SUFFIXES, OTHER_SUFFIXES, read_image

ARRAY_SUFFIXES = (".npy", ".npz")
VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")


@dataclass(frozen=True)
class Source:
    """One thing to look at: a picture, a video, or a camera."""

    name: str
    """The path, or the camera's number, as it is shown."""
    camera: int | None = None

    @property
    def is_stream(self) -> bool:
        """Whether it has frames."""
        return self.camera is not None or Path(self.name).suffix.lower() in VIDEO_SUFFIXES

    @property
    def is_arrays(self) -> bool:
        """Whether it holds a network's inputs as arrays."""
        return self.camera is None and Path(self.name).suffix.lower() in ARRAY_SUFFIXES


@dataclass(frozen=True)
class Frame:
    """A picture of a source; ``number`` counts a stream's frames from 0, None for a picture."""

    image: Image
    number: int | None = None
    per_second: float = 25.0
    damage: str = ""
    """What is wrong with a JPEG's data, if it was decoded all the same."""


def find_sources(text: str) -> list[Source]:
    """Return what an argument stands for: a camera, a file, or the pictures of a folder, sorted."""
    path, camera = Path(text), re.fullmatch(r"(?:/dev/video)?(\d{1,4})", text)
    try:
        if camera and not path.is_file() and not path.is_dir():
            return [Source(text, int(camera[1]))]
        if not path.is_dir():
            if path.stat() and not path.is_file():
                raise DetectError(f"{text}: is no file, folder or camera")
            return [Source(text)]
        files = [file for file in sorted(path.iterdir()) if not file.name.startswith(".")]
    except (OSError, ValueError) as error:
        raise DetectError(f"{text}: cannot be read ({reason_of(error)})") from error
    known = JPEG_SUFFIXES + OTHER_SUFFIXES
    found = [Source(str(file)) for file in files if file.suffix.lower() in known]
    if not found:
        raise DetectError(f"{text}: holds no pictures ({' '.join(known)})")
    return found


def read_arrays(path: str | Path) -> dict[str, NDArray[Any]]:
    """Read a ``.npz`` file's arrays by name, or the one of a ``.npy`` file as ``input``."""
    try:
        found = np.load(path, allow_pickle=False)  # a pickle would run code
        return {"input": found} if isinstance(found, np.ndarray) else {**found}
    except OSError as error:
        raise DetectError(f"{path}: cannot be read ({reason_of(error)})") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DetectError(f"{path}: is no file of NumPy's arrays ({one_line(error)})") from error


def frames(source: Source, limit: int | None = None) -> Iterator[Frame]:
    """Yield a source's picture, or its frames, at most ``limit`` of them."""
    if not source.is_stream:
        damage: list[str] = []
        picture = read_image(source.name, on_damage=damage.append)
        yield Frame(picture, damage="".join(damage))
        return
    capture = cv2.VideoCapture(source.name if source.camera is None else source.camera)
    try:
        if not capture.isOpened():
            raise DetectError(f"{source.name}: {_why_closed(source)}")
        rate = capture.get(cv2.CAP_PROP_FPS)
        number = 0
        while limit is None or number < limit:
            there, image = capture.read()
            if not there:
                break
            yield Frame(np.asarray(image, np.uint8), number, rate if 1 <= rate <= 240 else 25.0)
            number += 1
        if number == 0 or (source.camera is not None and number != limit):
            raise DetectError(f"{source.name}: gave {number} frames and then no more")
    finally:
        capture.release()


def _why_closed(source: Source) -> str:
    """Say what may be wrong with a stream that does not open."""
    if source.camera is not None:
        return "no such camera, or it is in use; see ls /dev/video*"
    try:
        Path(source.name).open("rb").close()
    except OSError as error:
        return f"cannot be read ({reason_of(error)})"
    return "is no video that OpenCV reads; give an MP4 or AVI"
