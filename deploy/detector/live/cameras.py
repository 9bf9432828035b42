"""Where live pictures come from: devices and streams, a Pi's ribbon cable, files, folders."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from ..arrays import Image
from ..errors import DetectError, one_line
from ..pictures import read_image
from ..sources import VIDEO_SUFFIXES, find_sources

STREAM_SCHEMES = ("rtsp://", "rtsps://", "http://", "https://")
STREAM_TIMEOUT_MS = 5000
"""A stream that neither opens nor gives a picture for so long is lost."""
PHOTO_SECONDS = 1.0
"""How long a photo of a folder stays."""


class CameraError(DetectError):
    """There is no camera, or it gives no more pictures; it is tried again."""


class EndedError(DetectError):
    """A file or a folder is over; nothing will come."""


class Camera(Protocol):
    """What gives pictures one after the other."""

    description: str
    """What was opened: "640x480 MJPG"."""
    is_live: bool
    """Whether pictures come from a sensor or a network, and may be torn or black."""

    def read(self) -> Image:
        """Wait for the next picture uint8 (H, W, 3), BGR.

        Raise :class:`CameraError` or :class:`EndedError`.
        """

    def close(self) -> None:
        """Let go of the device."""


Opener = Callable[[], Camera]


def shown_name(text: str) -> str:
    """Return a camera's name without the password that a stream's address may hold."""
    return re.sub(r"(?<=://)[^/@\s]*@", "***@", text)


def opener(text: str, size: tuple[int, int], *, loop: bool) -> Opener:
    """Return what opens the camera that ``text`` names; ``size`` is the network's (height, width).

    A number is picamera2's where that lists it, else V4L2's; ``/dev/videoN`` is always V4L2's.
    """
    number = re.fullmatch(r"(/dev/video)?(\d{1,4})", text)
    if number and not Path(text).is_file() and not Path(text).is_dir():
        index, by_name = int(number[2]), bool(number[1])
        return lambda: _open_number(index, size, only_v4l2=by_name)
    if text.lower().startswith(STREAM_SCHEMES):
        return lambda: CaptureCamera.stream(text)
    return lambda: PacedCamera(text, loop=loop)


def _open_number(index: int, size: tuple[int, int], *, only_v4l2: bool) -> Camera:
    module = None if only_v4l2 else _picamera2()
    if module and any(camera.get("Num") == index for camera in _listed(module)):
        return RibbonCamera(module, index, size)
    return CaptureCamera.device(index, size)


def _picamera2() -> Any:
    """Return the module for the Pi's own cameras, or None where it cannot be imported."""
    try:
        return importlib.import_module("picamera2")
    except Exception:  # it loads libcamera, which raises many things where it does not fit
        return None


def _listed(module: Any) -> list[dict[str, Any]]:
    try:
        return list(module.Picamera2.global_camera_info())
    except Exception:  # as above
        return []


class CaptureCamera:
    """A camera that OpenCV opens: a V4L2 device, or a stream."""

    is_live = True

    def __init__(self, capture: cv2.VideoCapture, why_closed: str) -> None:
        self._capture = capture
        if not capture.isOpened():
            capture.release()
            raise CameraError(why_closed)
        width, height = (
            int(capture.get(which))
            for which in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        self.description = f"{width}x{height} {_four_letters(capture)}".strip()

    @classmethod
    def device(cls, index: int, size: tuple[int, int]) -> CaptureCamera:
        """Open /dev/videoN: MJPEG where it is offered, for raw pictures fill a USB 2 bus; the
        network's size, for which the driver takes the nearest that it has; no queue.
        """
        backend = cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY
        capture = cv2.VideoCapture(index, backend)
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[1])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[0])
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return cls(capture, "no such camera, or it is in use; see ls /dev/video*")

    @classmethod
    def stream(cls, address: str) -> CaptureCamera:
        """Open an address; OpenCV asks for RTSP over TCP, so that pictures are not torn."""
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, STREAM_TIMEOUT_MS]
        limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, STREAM_TIMEOUT_MS]
        capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, limits)
        return cls(capture, "the stream does not open; is its address right, and the camera on?")

    def read(self) -> Image:
        """Wait for the next picture."""
        there, image = self._capture.read()
        if not there or image is None:
            raise CameraError("gives no more pictures; is it still plugged in?")
        return np.asarray(image, np.uint8)

    def close(self) -> None:
        """Let go of the device."""
        self._capture.release()


def _four_letters(capture: cv2.VideoCapture) -> str:
    """Return the name of the format in which pictures arrive, "MJPG"."""
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    letters = max(code, 0).to_bytes(8, "little")[:4]
    return letters.decode("ascii", "replace").strip() if letters.isalnum() else ""


class RibbonCamera:
    """A camera on a Pi's ribbon cable, by picamera2; the Pi's own hardware scales its pictures."""

    is_live = True

    def __init__(self, module: Any, index: int, size: tuple[int, int]) -> None:
        height, width = size[0] + size[0] % 2, size[1] + size[1] % 2
        main = {"size": (width, height), "format": "RGB888"}  # libcamera's name of OpenCV's BGR
        try:
            self._camera = module.Picamera2(index)
            self._camera.configure(self._camera.create_video_configuration(main=main))
            self._camera.start()
        except Exception as error:  # picamera2's errors share no root but Exception
            self.close()
            raise CameraError(f"picamera2 cannot open it ({one_line(error)})") from error
        self.description = f"{width}x{height} by picamera2"

    def read(self) -> Image:
        """Wait for the next picture."""
        try:
            return np.asarray(self._camera.capture_array("main"), np.uint8)
        except Exception as error:  # as above
            raise CameraError(f"picamera2 gives no more pictures ({one_line(error)})") from error

    def close(self) -> None:
        """Let go of the device."""
        with contextlib.suppress(Exception):  # also where the camera was never opened
            self._camera.close()


class PacedCamera:
    """A video at its own speed, or a photo or a folder of photos, each for a second."""

    is_live = False

    def __init__(self, name: str, *, loop: bool) -> None:
        self._name, self._loop = name, loop
        self._next_due: float | None = None
        self._pictures = self._again()
        self._first: tuple[Image, float] | None = next(self._pictures)
        height, width = self._first[0].shape[:2]
        self.description = f"{width}x{height}"

    def read(self) -> Image:
        """Wait until the next picture is due."""
        found = self._first or next(self._pictures)
        self._first = None
        image, seconds = found
        now = time.monotonic()
        due = self._next_due
        if due is None or now - due > 1:  # the first, or one after a long stop
            due = now
        time.sleep(max(0, due - now))
        self._next_due = due + seconds
        return image

    def close(self) -> None:
        """Let go of the file."""
        self._pictures.close()

    def _again(self) -> Any:
        """Yield pictures with the seconds that each stays; for ever, if they are to be looped."""
        is_video = Path(self._name).suffix.lower() in VIDEO_SUFFIXES
        while True:
            yield from _video(self._name) if is_video else _photos(self._name)
            if not self._loop:
                raise EndedError("is over; --loop begins it again")


def _photos(name: str) -> Iterator[tuple[Image, float]]:
    """Yield the pictures of a folder by name; one that cannot be read is left out."""
    try:
        sources = find_sources(name)
    except DetectError as error:
        raise CameraError(_without_name(error, name)) from error
    reason = None
    read_one = False
    for source in sources:
        try:
            image = read_image(source.name)
        except DetectError as error:
            reason = error
            continue
        read_one = True
        yield image, PHOTO_SECONDS
    if not read_one and reason:
        raise CameraError(_without_name(reason, name)) from reason


def _video(name: str) -> Iterator[tuple[Image, float]]:
    try:
        Path(name).open("rb").close()
    except OSError as error:
        raise CameraError(f"cannot be read ({error.strerror})") from error
    capture = cv2.VideoCapture(name)
    try:
        rate = capture.get(cv2.CAP_PROP_FPS)
        seconds = 1 / rate if 1 <= rate <= 240 else 1 / 25
        count = 0
        while (read := capture.read())[0]:
            yield np.asarray(read[1], np.uint8), seconds
            count += 1
        if not count:
            raise CameraError("is no video that OpenCV reads; give an MP4 or AVI")
    finally:
        capture.release()


def _without_name(error: DetectError, name: str) -> str:
    """Return a message that does not begin with the camera's name; whoever says it puts that in."""
    return str(error).removeprefix(f"{name}: ")
