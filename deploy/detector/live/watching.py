"""The loop that looks: newest picture -> what is found -> hub, standard output, command."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ..arrays import Image
from ..detecting import Detector
from ..sources import Frame
from ..tasks.found import Found
from ..telling import record
from .capture import Capture, Shot
from .hub import Hub, View

if TYPE_CHECKING:
    from ..opening import Worker

LOWEST_SCORE = 0.1
"""Boxes down to this score are sent, so that each viewer can choose a threshold of its own."""
COUNTED = ("faces", "boxes")
"""What the page draws and counts; all else is painted into the picture here."""
LONGEST_SIDE = 1280
"""A picture is sent no larger; boxes stay in pixels of the original."""
JPEG_QUALITY = 80


@dataclass
class Totals:
    """What has been done since the start."""

    frames: int = 0
    faces: int = 0
    """Or boxes, on the last picture, at the threshold."""
    stage_seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("waiting", "detecting", "encoding"), 0.0)
    )
    last: float | None = None
    """Monotonic seconds when the last picture was done."""


def encoded(image: Image) -> bytes:
    """Return a picture uint8 (H, W, 3) as JPEG, its longest side at most :data:`LONGEST_SIDE`."""
    scale = LONGEST_SIDE / max(image.shape[:2])
    if scale < 1:
        rows, columns = (max(1, round(side * scale)) for side in image.shape[:2])
        image = np.asarray(cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA))
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(data.tobytes())


class Watcher:
    """Looks at the newest picture, again and again; encodes while the network runs."""

    def __init__(
        self,
        detector: Worker,
        capture: Capture,
        hub: Hub,
        name: str,
        threshold: float | None = None,
    ) -> None:
        self._detector, self._capture, self._hub = detector, capture, hub
        self._name = name
        self._encoder = ThreadPoolExecutor(1, "encoder")
        specification = detector.specification
        self.model, self.is_trained = specification.model, specification.trained
        self.threshold = specification.score_threshold if threshold is None else threshold
        self.lowest = max(min(self.threshold, LOWEST_SCORE), specification.lowest_score)
        self.noun = "faces" if isinstance(detector, Detector) else detector.noun
        self.counts = self.noun in COUNTED
        self._asked = self.lowest if self.counts else threshold
        self.totals = Totals()
        self._number = 0

    def step(self, seconds: float = 1.0) -> dict[str, Any] | None:
        """Do the next picture; return its facts at the threshold, or None if none came."""
        shot = self._capture.take(self._number, seconds)
        if shot is None:
            self._encode_last()
            return None
        self._number = shot.number
        started = time.monotonic()
        picture: Future[bytes] | None = None
        if self._hub.is_watched and self.counts:
            picture = self._encoder.submit(encoded, shot.image)
        measured = self._detector.measure(shot.image, self._asked)
        found = measured.found
        detected = time.monotonic()
        if not self.counts:  # the page draws boxes alone
            shot = replace(shot, image=found.drawn(shot.image))
            if self._hub.is_watched:
                picture = self._encoder.submit(encoded, shot.image)
        jpeg = picture.result() if picture else None
        done = time.monotonic()
        frame = Frame(shot.image, shot.number)
        facts = record(self._name, frame, found, measured.inference_ms)
        stages = {
            "waiting": started - shot.taken,
            "detecting": detected - started,
            "encoding": done - detected,
        }
        self._publish(shot, facts, found, stages, jpeg)
        return self._count(facts, found, stages, done)

    def _encode_last(self) -> None:
        """Encode the picture at which the camera stopped, for who came afterwards."""
        view = self._hub.view
        if view and view.jpeg is None and self._hub.is_watched:
            self._hub.publish(replace(view, jpeg=encoded(view.image)))

    def _publish(
        self,
        shot: Shot,
        facts: dict[str, Any],
        found: Found,
        stages: dict[str, float],
        jpeg: bytes | None,
    ) -> None:
        times = {name: round(1e3 * seconds, 2) for name, seconds in stages.items()}
        words = {} if self.counts else {"words": found.words()}
        message = {**facts, **words, "taken": round(shot.taken, 5), "times": times}
        self._hub.publish(View(shot.number, message, shot.image, jpeg, time.monotonic(), found))

    def _count(
        self, facts: dict[str, Any], found: Found, stages: dict[str, float], done: float
    ) -> dict[str, Any]:
        shown = found.above(self.threshold)
        for name, seconds in stages.items():
            self.totals.stage_seconds[name] += seconds
        self.totals.frames += 1
        self.totals.faces, self.totals.last = shown.count, done
        return {**facts, **shown.facts()} if self.counts else facts
