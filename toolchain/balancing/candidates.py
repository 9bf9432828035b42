"""What a detector sees before suppression, and at which of its levels."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from toolchain.deploy import detect
from toolchain.deploy.detector.decoding import anchors, corners, logit
from toolchain.deploy.detector.preparing import Placement
from toolchain.detection.finders import RawNetwork, own_size

MOST = 2000
"""Cells of a photo that are kept, the best: with 1,500 a shift gained about as with 5,000."""
LOWEST = 0.02
"""Score of the last one that is kept, as average precision is measured."""

Look = Callable[[detect.Image], "Candidates"]
"""From a photo, uint8 (H, W, 3), to what is seen there."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """The cells of a photo that see a face."""

    boxes: NDArray[np.float32]
    """(K, 4) left, top, right, bottom in pixels of the input, and maybe beyond it."""
    evidence: NDArray[np.float64]
    """(K,) log(p / (1 - p))."""
    levels: NDArray[np.int8]
    """(K,) the level of the cell, from 0, the finest."""
    placement: Placement
    """Of the photo in the input."""

    def to_bytes(self) -> bytes:
        """Return it as an .npz file."""
        stream = io.BytesIO()
        place = np.array(astuple(self.placement), np.float64)
        np.savez(
            stream, boxes=self.boxes, evidence=self.evidence, levels=self.levels, placement=place
        )
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Candidates:
        """Read what :meth:`to_bytes` wrote."""
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            scale_x, scale_y, left, top, width, height = file["placement"].tolist()
            placement = Placement(scale_x, scale_y, left, top, int(width), int(height))
            return cls(file["boxes"], file["evidence"], file["levels"], placement)


def looking(
    run: RawNetwork, specification: detect.Specification, size: tuple[int, int] | None
) -> Look:
    """Return what looks at a photo once, fitted into (height, width), or at its own size."""

    def look(image: detect.Image) -> Candidates:
        height, width = size or own_size(image)
        tensor, placement = detect.letterbox(image, specification, height, width)
        loc, logits = run(tensor)
        every = anchors(specification, height, width)
        evidence = detect.evidence_of(logits, specification)
        seen = np.isfinite(evidence) & np.isfinite(loc).all(axis=1) & (evidence >= logit(LOWEST))
        rows = np.flatnonzero(seen)
        rows = rows[np.argsort(-evidence[rows], kind="stable")[:MOST]]
        boxes = corners(loc[rows], every[rows], specification.variances)
        levels = levels_of(specification, height, width)[rows]
        return Candidates(boxes.astype(np.float32), evidence[rows], levels, placement)

    return look


def nothing_seen() -> Candidates:
    """Return what is seen in a photo that cannot be read."""
    placement = Placement(1.0, 1.0, 0.0, 0.0, 1, 1)
    return Candidates(np.zeros((0, 4), np.float32), np.zeros(0), np.zeros(0, np.int8), placement)


def levels_of(specification: detect.Specification, height: int, width: int) -> NDArray[np.int8]:
    """Return the level of each cell, in the order of :func:`anchors`."""
    cells = [-(-height // side) * -(-width // side) for side in specification.anchor_strides]
    return np.repeat(np.arange(len(cells), dtype=np.int8), cells)
