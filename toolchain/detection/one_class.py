"""Networks whose task is boxes of one class, as something that finds faces."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from toolchain.checking.boxes import task_view
from toolchain.deploy import detect
from toolchain.deploy.detector.tasks.boxes import read_boxes
from toolchain.deploy.detector.tasks.outputs import Given
from toolchain.deploy.detector.tasks.specification import Pictures, TaskSpecification
from toolchain.detection.finders import SMALLEST_SIDE, Finder, Found, shown_support
from toolchain.errors import InputError, ModelError
from toolchain.records.accuracy import Protocol
from toolchain.zoo.sources import Loaded

COARSEST = 32
"""Pixels a cell of the coarsest level: sides are made multiples of it where no strides are told."""

Run: TypeAlias = Callable[[detect.Floats], Mapping[str, NDArray[Any]]]
"""From an input (1, C, H, W) to all outputs by name."""


def boxes_finder(run: Run, specification: TaskSpecification, protocol: Protocol) -> Finder:
    """Return a finder that reads boxes as the board does, with the protocol's thresholds.

    Photos are padded at the right and at the bottom up to whole cells of the coarsest level; a
    file or a protocol of a fixed size has them fitted into it.
    """
    pictures = specification.pictures
    assert pictures is not None
    asked = dataclasses.replace(
        specification,
        score_threshold=protocol.score_threshold,
        nms_iou=protocol.nms_iou,
        max_detections=protocol.max_detections,
        support=shown_support(specification.support, protocol),
    )
    cell = max(specification.strides, default=COARSEST)

    def find(image: detect.Image, scale: float) -> Found:
        size = (pictures.height, pictures.width) if pictures.height else protocol.size
        shown, stretch = image, np.ones(2)
        if size is None:
            shown, stretch = _padded(image, pictures, scale, cell)
            size = shown.shape[0], shown.shape[1]
        assert size[0] is not None
        assert size[1] is not None
        whole = int(size[0]), int(size[1])
        tensor, placement = detect.letterbox(shown, pictures, *whole)
        floats = np.asarray(tensor, np.float32)
        found = read_boxes(Given(run(floats), asked, whole, placement), protocol.score_threshold)
        boxes = found.boxes.astype(np.float64).reshape(-1, 2, 2) * stretch
        boxes = np.clip(boxes, 0, np.array(image.shape[1::-1], np.float64)).reshape(-1, 4)
        return boxes, found.scores.astype(np.float64)

    return find


def _padded(
    image: detect.Image, pictures: Pictures, scale: float, cell: int
) -> tuple[detect.Image, NDArray[np.float64]]:
    """Return a photo scaled and padded to whole cells, and its pixels per pixel there."""
    rows, columns = (max(SMALLEST_SIDE, round(side * scale)) for side in image.shape[:2])
    shown = image
    if (rows, columns) != image.shape[:2]:
        shown = np.asarray(cv2.resize(image, (columns, rows)), np.uint8)
    below, beside = -rows % cell, -columns % cell
    mean = [entry / pictures.scale for entry in pictures.mean]
    colour = [round(entry) for entry in (mean[::-1] if pictures.color_order == "RGB" else mean)]
    border = colour * 3 if len(colour) == 1 else colour
    padded = cv2.copyMakeBorder(shown, 0, below, 0, beside, cv2.BORDER_CONSTANT, value=border)
    stretch = np.array([image.shape[1] / columns, image.shape[0] / rows])
    return np.asarray(padded, np.uint8), stretch


def of_network(
    loaded: Loaded, run: Callable[[detect.Floats], list[NDArray[Any]]]
) -> tuple[Run, TaskSpecification]:
    """Return a network that gives its outputs in their order, and what a file of it would say."""
    told = task_view(loaded.recipe, loaded.outputs)
    specification = _of_one_class(loaded.recipe.model.name, told)
    assert specification.pictures is not None
    any_size = dataclasses.replace(specification.pictures, height=None, width=None)
    specification = dataclasses.replace(specification, pictures=any_size)
    return lambda tensor: dict(zip(loaded.outputs, run(tensor), strict=True)), specification


def is_of_boxes(metadata: str | None) -> bool:
    """Tell whether a file's metadata say that its task is boxes."""
    try:
        return bool(json.loads(metadata or "{}").get("task", {}).get("kind") == "boxes")
    except (ValueError, AttributeError):
        return False


def of_file(path: Path, network: Any) -> tuple[Run, TaskSpecification]:
    """Return an opened file of ours whose task is boxes, and what it says."""
    try:
        told = TaskSpecification.from_json(network.metadata or "{}")
    except detect.DetectError as error:
        raise ModelError(f"{path.name}: {error}") from error
    specification = _of_one_class(path.name, told)
    assert specification.pictures is not None
    name = specification.pictures.name

    def run(tensor: detect.Floats) -> Mapping[str, NDArray[Any]]:
        given = network.compute({name: tensor}, specification.outputs)
        return dict(zip(specification.outputs, given, strict=True))

    return run, specification


def _of_one_class(name: str, found: TaskSpecification) -> TaskSpecification:
    if found.kind != "boxes" or found.pictures is None or len(found.labels) > 1:
        many = f"{len(found.labels)} classes" if found.kind == "boxes" else found.kind
        raise InputError(
            f"{name}: average precision of faces is of boxes of one class, and its task is {many}; "
            f"evaluate it by --function coco, or by a function of your own, module:function"
        )
    if found.decoder:
        raise InputError(
            f"{name}: its boxes are found by {found.decoder}, code of your own; evaluate it by a "
            f"function of your own, module:function"
        )
    return found
