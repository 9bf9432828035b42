"""Photos with boxes drawn: those with the most missed faces, and those where detectors differ.

Drawn boxes are those with a score of at least :data:`SHOWN_SCORE`. A face that counts at the last
(hardest) level is found if such a box overlaps it by at least 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from toolchain.data.wider import Split, Truth, WiderImage
from toolchain.deploy import detect
from toolchain.records.accuracy import Picture
from toolchain.scoring.matching import match

SHOWN_SCORE = 0.4
"""Lowest score of a box that is drawn, and that can find a face here."""
LONGEST_SIDE = 900
"""Pixels of a drawn photo."""

FOUND, MISSED, SPURIOUS = (80, 220, 80), (60, 60, 255), (255, 170, 40)
"""Blue, green, red: a box on a face, a face without a box, a box on no face."""


@dataclass(frozen=True, eq=False)
class Findings:
    """What one detector did on one photo."""

    boxes: NDArray[np.float64]
    """(K, 4): left, top, width, height of the boxes that are drawn."""
    on_face: NDArray[np.bool_]
    """(K,): the box lies on some face, counted or not."""
    found: NDArray[np.bool_]
    """(G,): the face has a box."""
    counted: NDArray[np.bool_]
    """(G,): the face counts."""

    @property
    def missed(self) -> int:
        """Faces that count and have no box."""
        return int((self.counted & ~self.found).sum())


def findings(detections: NDArray[np.float64], truth: Truth, level: str) -> Findings:
    """Match the boxes of one photo (K, 5) to its faces."""
    shown = detections[detections[:, 4] >= SHOWN_SCORE]
    index, _ = match(shown, truth.boxes)
    found = np.zeros(len(truth.boxes), bool)
    found[index[index >= 0]] = True
    return Findings(shown[:, :4], index >= 0, found, truth.counted[level])


def worst_pictures(
    split: Split, name: str, detections: Sequence[NDArray[np.float64]], count: int
) -> tuple[Picture, ...]:
    """Draw the ``count`` photos with the most missed faces; none where all are found."""
    if not split.levels:
        return ()
    level = split.levels[-1]
    found = [findings(d, t, level) for d, t in zip(detections, split.truths, strict=True)]
    order = sorted(range(len(found)), key=lambda i: (-found[i].missed, split.images[i].name))
    return tuple(
        Picture(
            split.images[i].name,
            ((name, _drawn(split.images[i], split.truths[i], found[i])),),
            f"{found[i].missed} of {int(found[i].counted.sum())} faces missed ({level})",
        )
        for i in order[:count]
        if found[i].missed
    )


def compared_pictures(
    split: Split,
    names: Sequence[str],
    detections: Sequence[Sequence[NDArray[np.float64]]],
    count: int,
) -> tuple[Picture, ...]:
    """Draw, side by side, the photos where most faces are found by some detectors and not by all.

    ``detections[j][i]`` are the boxes of detector ``names[j]`` on photo ``i``.
    """
    if not split.levels:
        return ()
    level = split.levels[-1]
    rows = [
        [findings(each[i], truth, level) for each in detections]
        for i, truth in enumerate(split.truths)
    ]
    differing = [_differing(row) for row in rows]
    order = sorted(range(len(rows)), key=lambda i: (-differing[i], split.images[i].name))
    return tuple(
        Picture(
            split.images[i].name,
            _panels(split.images[i], split.truths[i], names, rows[i]),
            f"{differing[i]} faces that only some find ({level})",
        )
        for i in order[:count]
        if differing[i]
    )


def _differing(row: Sequence[Findings]) -> int:
    found = np.stack([one.found for one in row])
    return int((row[0].counted & found.any(axis=0) & ~found.all(axis=0)).sum())


def _panels(
    image: WiderImage, truth: Truth, names: Sequence[str], row: Sequence[Findings]
) -> tuple[tuple[str, bytes], ...]:
    return tuple(
        (f"{name}: {int(one.counted.sum()) - one.missed} found", _drawn(image, truth, one))
        for name, one in zip(names, row, strict=True)
    )


def _drawn(image: WiderImage, truth: Truth, found: Findings) -> bytes:
    """Return the photo as JPEG with found, missed and spurious boxes; grey if it is broken."""
    try:
        pixels: cv2.typing.MatLike = detect.read_image(image.path, upright=False)
    except detect.DetectError:
        pixels = np.full((300, 400, 3), 128, np.uint8)
    scale = min(1.0, LONGEST_SIDE / max(pixels.shape[:2]))
    if scale < 1:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    pixels = np.ascontiguousarray(pixels)
    _frames(pixels, found.boxes[~found.on_face] * scale, SPURIOUS)
    _frames(pixels, found.boxes[found.on_face] * scale, FOUND)
    _frames(pixels, truth.boxes[found.counted & ~found.found] * scale, MISSED)
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 80])[1])


def _frames(
    pixels: cv2.typing.MatLike, boxes: NDArray[np.float64], colour: tuple[int, int, int]
) -> None:
    for left, top, width, height in np.rint(boxes).astype(int):
        cv2.rectangle(pixels, (left, top), (left + width, top + height), colour, 2)
