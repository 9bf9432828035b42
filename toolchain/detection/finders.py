"""What finds faces in a photo: a network, a file of ours, or a peer that OpenCV runs.

All are called alike, ``finder(image_bgr, scale)``: the photo is resized by ``scale``, goes through
the detector once, and the boxes come back in pixels of the photo as it was given.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from toolchain.deploy import detect
from toolchain.deploy.detector.network import Network
from toolchain.errors import InputError, ModelError
from toolchain.records.accuracy import Protocol

Found: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Boxes (K, 4), left, top, right, bottom in pixels, and scores (K,), best first."""

Finder: TypeAlias = Callable[[detect.Image, float], Found]

RawNetwork: TypeAlias = Callable[
    [detect.Floats | detect.Image], tuple[detect.Floats, detect.Floats]
]
"""From an input to both outputs, as the specification says, without the axis of pictures."""

SMALLEST_SIDE = 32
"""Pixels; photos that are shrunk to less are padded, for the coarsest levels need a cell."""


def network_finder(
    run: RawNetwork, specification: detect.Specification, protocol: Protocol
) -> Finder:
    """Return a finder that runs ``run`` as the board does, with the protocol's thresholds.

    A specification or a protocol with a fixed size has its photos letterboxed into it, whatever
    the scale.
    """
    asked = dataclasses.replace(
        specification,
        score_threshold=protocol.score_threshold,
        nms_iou=protocol.nms_iou,
        max_detections=protocol.max_detections,
        support=shown_support(specification.support, protocol),
    )

    def find(image: detect.Image, scale: float) -> Found:
        height, width = specification.height, specification.width
        if height is None or width is None:
            height, width = protocol.size or own_size(image, scale)
        tensor, placement = detect.letterbox(image, asked, height, width)
        first, second = run(tensor)
        threshold = _threshold(detect.evidence_of(second, asked), protocol)
        boxes, scores = detect.decode(first, second, asked, height, width, placement, threshold)
        return boxes.astype(np.float64), scores.astype(np.float64)

    return find


def shown_support(support: float | None, protocol: Protocol) -> float | None:
    """Return what of a detector's own ``support`` a protocol leaves: ``paper`` votes afterwards."""
    return support if protocol.name == "single" else None


def own_size(image: detect.Image, scale: float = 1.0) -> tuple[int, int]:
    """Return the height and width of the input for a photo at ``scale``."""
    height, width = (max(SMALLEST_SIDE, round(side * scale)) for side in image.shape[:2])
    return height, width


def _threshold(evidence: NDArray[np.float64], protocol: Protocol) -> float:
    """Return the score that only ``max_candidates`` boxes pass: suppression is slow for more."""
    surplus = len(evidence) - protocol.max_candidates
    if surplus <= 0:
        return protocol.score_threshold
    lowest = float(np.partition(evidence, surplus)[surplus]) - 1e-6  # the way back rounds
    return max(protocol.score_threshold, 1 / (1 + math.exp(-min(max(lowest, -30.0), 30.0))))


def opened(path: Path, threads: int) -> Network:
    """Open an ONNX, TFLite or ncnn file; raise :class:`ModelError` if it cannot be opened."""
    try:
        return detect.open_network(path, threads)
    except detect.DetectError as error:
        raise ModelError(f"{path.name}: {error}{_hint(error)}") from error


def _hint(error: detect.DetectError) -> str:
    return "; a detector of another kind is given by --peer" if "metadata" in str(error) else ""


def file_network(path: Path, network: Network) -> tuple[RawNetwork, detect.Specification]:
    """Return what runs an opened file of ours, and what it says of itself.

    Raises :class:`ModelError` if it is not one of ours.
    """
    try:
        specification = detect.specification_of(network)
    except detect.DetectError as error:
        raise ModelError(f"{path.name}: {error}{_hint(error)}") from error

    if specification.postprocess == "nms":
        raise ModelError(
            f"{path.name} leaves out what scores below {specification.score_threshold:g}, and "
            f"average precision needs lower scores too; evaluate its folder's "
            f"chain/bare/{path.name}"
        )

    def run(tensor: detect.Floats | detect.Image) -> tuple[detect.Floats, detect.Floats]:
        first, second = network.run(specification, tensor)
        return first[0], second[0]

    return run, specification


def peer_finder(path: Path, protocol: Protocol) -> Finder:
    """Return a finder for a model that ``cv2.FaceDetectorYN`` runs (YuNet and its kin)."""
    try:
        peer = cv2.FaceDetectorYN.create(
            str(path),
            "",
            (320, 320),
            protocol.score_threshold,
            protocol.nms_iou,
            protocol.max_candidates,
        )
    except cv2.error as error:
        raise ModelError(
            f"{path.name}: OpenCV's FaceDetectorYN cannot open it ({detect.one_line(error)}); "
            f"give a YuNet ONNX file to --peer"
        ) from error

    def find(image: detect.Image, scale: float) -> Found:
        height, width = protocol.size or own_size(image, scale)
        shown, stretch = _shown(image, height, width, fits=protocol.size is not None)
        peer.setInputSize((width, height))
        try:
            _, rows = peer.detect(shown)
        except cv2.error as error:
            raise InputError(
                f"{path.name} cannot be run on {width}x{height} pixels "
                f"({detect.one_line(error)}); give a file that takes any size"
            ) from error
        if rows is None:
            return np.zeros((0, 4)), np.zeros(0)
        order = np.argsort(-rows[:, -1], kind="stable")[: protocol.max_detections]
        best = np.asarray(rows[order], np.float64)
        corners = best[:, :2] * stretch
        return np.concatenate([corners, corners + best[:, 2:4] * stretch], axis=1), best[:, -1]

    return find


def _shown(
    image: detect.Image, height: int, width: int, *, fits: bool
) -> tuple[detect.Image, NDArray[np.float64]]:
    """Return a photo at (height, width) and its pixels per pixel there, across and down.

    What ``fits`` keeps its proportions, at the top left of black.
    """
    if not fits:
        resized = (
            image if image.shape[:2] == (height, width) else cv2.resize(image, (width, height))
        )
        return np.asarray(resized), np.array([image.shape[1] / width, image.shape[0] / height])
    resized, placement = detect.fitted(image, height, width)
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[: resized.shape[0], : resized.shape[1]] = resized
    return canvas, np.array([1 / placement.scale_x, 1 / placement.scale_y])
