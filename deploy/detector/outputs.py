"""Pictures and videos that are written, whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .arrays import Image
from .errors import DetectError, OutputError, reason_of
from .pictures import JPEG_SUFFIXES
from .sources import Source

Writer = Callable[[Image, float], None]
"""Takes a picture with boxes drawn in, and the frames per second of its stream."""


@contextmanager
def written_beside(target: Path) -> Iterator[Path]:
    """Give a hidden name in the target's folder, renamed at the end: all of it is there, or none.

    Whatever goes wrong, the hidden file is removed and an older target stays as it was.
    """
    part = target.with_name(f".part-{os.getpid()}-{target.name}")
    try:
        yield part
        part.replace(target)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({reason_of(error)})") from error
    finally:
        part.unlink(missing_ok=True)


def write_picture(target: Path, image: Image) -> None:
    """Write a picture in the format that the target's suffix says."""
    _, data = cv2.imencode(target.suffix, image)
    with written_beside(target) as part:
        part.write_bytes(data.tobytes())


def write_arrays(target: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays by name as a ``.npz`` file."""
    with written_beside(target) as part, zipfile.ZipFile(part, "w") as archive:
        for name, array in arrays.items():  # numpy.savez cannot write one that is called "file"
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


class VideoFile:
    """An MP4 (MPEG-4 part 2, the one encoder that OpenCV's wheels bring for all boards)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._writer: cv2.VideoWriter | None = None

    def write(self, image: Image, per_second: float) -> None:
        """Add a frame; an odd height or width grows by a pixel, for the encoder takes only even."""
        rows, columns = image.shape[:2]
        odd = (0, rows % 2, 0, columns % 2)
        even = cv2.copyMakeBorder(image, *odd, borderType=cv2.BORDER_REPLICATE)
        if self._writer is None:
            codec, size = cv2.VideoWriter.fourcc(*"mp4v"), even.shape[1::-1]
            self._writer = cv2.VideoWriter(str(self.path), codec, per_second, size)
            if not self._writer.isOpened():
                raise OSError(errno.EIO, f"no video encoder takes {size[0]}x{size[1]} pixels")
        self._writer.write(even)
        self.count += 1

    def close(self) -> None:
        """Write what is pending and let go of the file."""
        if self._writer is not None:
            self._writer.release()

    def check(self) -> None:
        """Read the file's own count of frames: OpenCV does not tell when a disk is full."""
        capture = cv2.VideoCapture(str(self.path))
        found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        capture.release()
        if found != self.count:
            raise OSError(errno.EIO, f"{found} of {self.count} frames arrived; is the disk full?")


@contextmanager
def video_output(target: Path, *, keep_when_stopped: bool) -> Iterator[Writer]:
    """Give the writer of a video. One that is stopped half-way goes, unless it is to be kept."""
    stopped: BaseException | None = None
    with written_beside(target) as part:
        video = VideoFile(part)
        try:
            yield video.write
        except (KeyboardInterrupt, DetectError) as stop:
            if not keep_when_stopped or not video.count:
                raise
            stopped = stop
        finally:
            video.close()
        video.check()
    if stopped is not None:
        raise stopped


def open_output(source: Source, target: Path | None) -> AbstractContextManager[Writer]:
    """Return what writes the source's pictures to ``target``, or throws them away (None)."""
    if target is None:
        return nullcontext(lambda _image, _per_second: None)
    if source.is_stream:
        return video_output(target, keep_when_stopped=source.camera is not None)
    return nullcontext(lambda image, _per_second: write_picture(target, image))


class OutputFolder:
    """Where pictures with boxes go; gives every source a file name of its own."""

    def __init__(self, folder: Path, sources: list[Source]) -> None:
        self.folder = folder
        self._taken: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for source in sources:
                if source.camera is None and Path(source.name).resolve().parent == folder.resolve():
                    raise OutputError(f"{folder}: holds input {source.name}; give another --out")
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written ({reason_of(error)})") from error

    def target(self, source: Source, *, as_arrays: bool = False) -> Path:
        """Return ``name.jpg`` (.png, .mp4, .npz), or ``name-2.jpg`` if this run has used that."""
        stem = f"camera-{source.camera}" if source.camera is not None else Path(source.name).stem
        is_jpeg = Path(source.name).suffix.lower() in JPEG_SUFFIXES
        suffix = (
            ".npz" if as_arrays else ".mp4" if source.is_stream else ".jpg" if is_jpeg else ".png"
        )
        name, count = stem + suffix, 1
        while name.lower() in self._taken:
            count += 1
            name = f"{stem}-{count}{suffix}"
        self._taken.add(name.lower())
        return self.folder / name
