"""The thread that reads the camera: the newest picture is kept, and a lost camera comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from ..arrays import Image
from ..errors import DetectError
from .cameras import Camera, CameraError, EndedError, Opener

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0
"""Between two attempts to open a camera: doubled after each that failed."""
LAST_PICTURE_S = 2.0
"""For the picture that is being read when all ends."""
BLACK_LEVEL = 16
"""A picture whose brightest pixel is no brighter is black: the black of video, of 255."""
BLACK_COUNT = 10
"""So many black pictures in a row are said."""
TORN_LIMIT = 30
"""After so many torn pictures in a row the camera is opened anew."""
FILLED_ROWS = 8
"""JPEG's blocks have so many rows."""


@dataclass(frozen=True)
class Shot:
    """One picture of the camera."""

    number: int
    """Counted from 1 over the whole run, whatever happens to the camera."""
    image: Image
    taken: float
    """Monotonic seconds when the camera handed it over."""


@dataclass(frozen=True)
class CameraState:
    """How the camera is."""

    status: str = "starting"
    """``starting``, ``running``, ``lost`` or ``ended``."""
    message: str = ""
    """One line for people; empty while all is well."""
    description: str = ""
    read: int = 0
    """Pictures read."""
    skipped: int = 0
    """Pictures that a newer one replaced before anybody looked."""
    torn: int = 0
    black: int = 0
    attempts: int = 0
    """How often the camera was opened, or should have been."""


def is_torn(image: Image) -> bool:
    """Tell whether the lowest rows are the exact grey with which a decoder fills a cut-off JPEG."""
    return bool((image[-FILLED_ROWS:] == 128).all())


def is_black(image: Image) -> bool:
    """Tell whether a picture shows nothing; every fourth pixel is looked at."""
    return int(image[::4, ::4].max()) <= BLACK_LEVEL


def turned(image: Image, rotate: int, *, mirror: bool) -> Image:
    """Return a picture turned clockwise by 0, 90, 180 or 270 degrees, then left for right."""
    codes = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
    if rotate:
        image = np.asarray(cv2.rotate(image, codes[rotate]), np.uint8)
    return np.asarray(cv2.flip(image, 1), np.uint8) if mirror else image


class Capture:
    """Reads a camera in a thread of its own; ``changed`` is called after every change of state."""

    def __init__(
        self,
        opener: Opener,
        turn: Callable[[Image], Image] = lambda image: image,
        changed: Callable[[CameraState], None] = lambda _state: None,
    ) -> None:
        self._opener, self._turn, self._changed = opener, turn, changed
        self._newest: Shot | None = None
        self._taken = 0
        self._fresh = threading.Condition()
        self._stopped = threading.Event()
        self._black_in_a_row = self._torn_in_a_row = 0
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self.state = CameraState()

    def start(self) -> None:
        """Begin to read; the thread ends with the program, for a hung driver cannot be stopped."""
        self._thread.start()

    def stop(self) -> bool:
        """Read no more after the picture that is being read; tell whether that came to an end."""
        self._stopped.set()
        self._thread.join(LAST_PICTURE_S)
        return not self._thread.is_alive()

    def take(self, after: int, seconds: float) -> Shot | None:
        """Return the newest picture once its number is above ``after``; None if none comes."""
        with self._fresh:
            if not self._fresh.wait_for(lambda: self._number > after, seconds):
                return None
            self._taken = self._number
            return self._newest

    @property
    def _number(self) -> int:
        return self._newest.number if self._newest else 0

    def _run(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._stopped.is_set():
            read_before = self.state.read
            self._count(attempts=self.state.attempts + 1)
            try:
                self._read_all()
            except EndedError as end:
                self._say("ended", str(end))
                return
            except (DetectError, cv2.error, MemoryError, OSError) as error:
                self._say("lost", " ".join(str(error).split())[:200])
            if self.state.read > read_before:
                pause = FIRST_PAUSE_S
            self._stopped.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _read_all(self) -> None:
        camera = self._opener()
        try:
            self._black_in_a_row = self._torn_in_a_row = 0
            while not self._stopped.is_set():
                self._accept(camera, camera.read(), time.monotonic())
        finally:
            camera.close()

    def _accept(self, camera: Camera, image: Image, taken: float) -> None:
        """Keep a picture, unless it is torn; say so if the camera gives only black ones."""
        if image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise CameraError(f"gives what is no picture {image.shape}; unplug it and plug it in")
        if camera.is_live and is_torn(image):
            self._torn_in_a_row += 1
            self._count(torn=self.state.torn + 1)
            if self._torn_in_a_row >= TORN_LIMIT:
                raise CameraError("gives torn pictures; try another cable, or a lower resolution")
            return
        self._torn_in_a_row = 0
        black = camera.is_live and is_black(image)
        self._black_in_a_row = self._black_in_a_row + 1 if black else 0
        self._keep(self._turn(image), taken)
        self._count(read=self.state.read + 1, black=self.state.black + black)
        dark = self._black_in_a_row >= BLACK_COUNT
        message = "gives black pictures; is its cover off, and the light on?" if dark else ""
        self._say("running", message, camera.description)

    def _keep(self, image: Image, taken: float) -> None:
        with self._fresh:
            if self._number > self._taken:
                self._count(skipped=self.state.skipped + 1)
            self._newest = Shot(self._number + 1, image, taken)
            self._fresh.notify_all()

    def _count(self, **counts: Any) -> None:
        self.state = replace(self.state, **counts)

    def _say(self, status: str, message: str, description: str = "") -> None:
        """Change the state, and tell of it if it reads otherwise than before."""
        before = self.state
        self.state = replace(before, status=status, message=message, description=description)
        if (before.status, before.message) != (self.state.status, self.state.message):
            self._changed(self.state)
