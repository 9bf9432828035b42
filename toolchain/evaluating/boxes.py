"""COCO's mean average precision of boxes, by pycocotools.

    DATA/annotations.json    or the one file DATA/annotations/*.json, in COCO's format
    DATA/images/NAME.jpg     or DATA/NAME.jpg, as ``file_name`` has it

A category is the class of the same name in ``task.labels``; without labels, classes are the
categories in the order of their numbers. Photos that are not in the folder are left out.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.checking.pictures import board_view
from toolchain.deploy import detect
from toolchain.deploy.detector.tasks.boxes import read_boxes
from toolchain.errors import DataError, InputError
from toolchain.evaluating.model import Model
from toolchain.evaluating.reading import given
from toolchain.evaluating.samples import BuiltIn, Sample, picture_named
from toolchain.recipe import Recipe
from toolchain.system.installation import how_to_get

THRESHOLD, MOST_BOXES = 0.001, 100
"""Least score of a box that counts, and so many of a photo: COCO's own number."""
FIGURES = {"map": 0, "map50": 1, "map75": 2, "recall": 8}
"""Place of each figure in COCO's summary; ``recall`` is the average one of 100 boxes a photo."""
EXTRA = "coco"


def read(data: Path, recipe: Recipe) -> tuple[Sample, ...]:
    """Return every photo with its boxes: [class, left, top, width, height, area, crowd] each."""
    if find_spec("pycocotools") is None:
        raise InputError(
            f"evaluate.function 'coco' needs pycocotools, which is not installed; run "
            f"{how_to_get(EXTRA)}"
        )
    if recipe.task.decoder is not None:
        raise InputError(
            f"evaluate.function 'coco' reads the layouts that ship, and task.decoder is "
            f"{recipe.task.decoder}; score its boxes by a function of your own, module:function"
        )
    path = _annotations(data)
    try:
        table = json.loads(path.read_bytes())
        classes = _classes(path, table, recipe)
        return _samples(path, table, classes, data)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read ({detect.one_line(error)})") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: is not in COCO's format, with images, annotations and categories "
            f"({type(error).__name__}: {error})"
        ) from error


def _annotations(data: Path) -> Path:
    if (data / "annotations.json").is_file():
        return data / "annotations.json"
    found = sorted((data / "annotations").glob("*.json"))
    if len(found) != 1:
        raise DataError(
            f"{data}: evaluate.function 'coco' wants annotations.json, or one file in annotations/ "
            f"(got {len(found)}: {', '.join(path.name for path in found[:4]) or 'none'})"
        )
    return found[0]


def _classes(path: Path, table: Mapping[str, Any], recipe: Recipe) -> dict[int, int]:
    """Return the class of each category's number."""
    categories = {int(each["id"]): str(each["name"]) for each in table["categories"]}
    labels = recipe.task.labels
    if not labels:
        return {number: index for index, number in enumerate(sorted(categories))}
    unknown = [name for name in categories.values() if name not in labels]
    if unknown:
        raise DataError(f"{path}: the category {unknown[0]!r} is no class of task.labels")
    return {number: labels.index(name) for number, name in categories.items()}


def _samples(
    path: Path, table: Mapping[str, Any], classes: Mapping[int, int], data: Path
) -> tuple[Sample, ...]:
    boxes: dict[int, list[list[float]]] = {int(each["id"]): [] for each in table["images"]}
    for each in table["annotations"]:
        _demand_known(path, each, boxes, classes)
        sides = [float(side) for side in each["bbox"]]
        if len(sides) != 4 or not np.isfinite(sides).all():
            raise DataError(f"{path}: a box must be left, top, width, height (got {each['bbox']})")
        area = float(each.get("area", sides[2] * sides[3]))
        crowd = float(each.get("iscrowd", 0))
        boxes[int(each["image_id"])].append(
            [classes[int(each["category_id"])], *sides, area, crowd]
        )
    most = max(classes.values(), default=0) + 1
    samples = []
    for each in table["images"]:
        picture = picture_named(path, str(each["file_name"]), data)
        if picture is not None:
            name = picture.relative_to(data).as_posix()
            samples.append(Sample(name, picture, [most, boxes[int(each["id"])]]))
    if not samples:
        raise DataError(f"{path}: none of its {len(boxes)} photos is in {data}")
    if not any(sample.truth[1] for sample in samples):
        raise DataError(f"{path}: has no boxes of the photos that are here")
    return tuple(samples)


def _demand_known(
    path: Path, each: Mapping[str, Any], photos: Mapping[int, Any], classes: Mapping[int, int]
) -> None:
    """Raise :class:`DataError` for a box of a photo or a category that the file does not list."""
    for field, known, place in (
        ("image_id", photos, "images"),
        ("category_id", classes, "categories"),
    ):
        if int(each[field]) not in known:
            raise DataError(
                f"{path}: annotation {each.get('id', '?')} has {field} {each[field]}, which is not "
                f"among its {place}"
            )


def look(model: Model, pixels: NDArray[np.uint8], sample: Sample) -> list[list[float]]:
    """Return the boxes found: [class, score, left, top, width, height] each, in pixels."""
    try:
        boxes, scores, classes = _found(model, pixels)
    except detect.DetectError as error:
        raise InputError(f"{model.name} on {sample.name}: {error}") from error
    most = sample.truth[0]
    if not model.recipe.task.labels and len(classes) and int(classes.max()) >= most:
        raise InputError(
            f"{model.name} gives class {int(classes.max())}, and there are {most} categories; name "
            f"the classes, in their order, by task.labels in the recipe"
        )
    sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    rows = np.column_stack([classes, scores, sides]).astype(np.float64)
    return [[round(float(value), 5) for value in row] for row in rows]


def _found(
    model: Model, pixels: NDArray[np.uint8]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return boxes (K, 4) by their corners, scores (K,) and classes (K,), best first."""
    if model.recipe.anchors is not None:
        return _faces(model, pixels)
    limits = {"max_detections": MOST_BOXES, "score_threshold": THRESHOLD}
    found = read_boxes(given(model, pixels, "boxes", **limits), THRESHOLD)
    return found.boxes, found.scores, found.classes


def _faces(
    model: Model, pixels: NDArray[np.uint8]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    recipe = model.recipe
    if recipe.decode.postprocess != "none":
        raise InputError(
            f"{model.name}: evaluate.function 'coco' reads raw outputs; evaluate its folder's "
            f"chain/bare file, or its weights"
        )
    view = board_view(recipe)
    size = recipe.input.height, recipe.input.width
    tensor, placement = detect.letterbox(pixels, view, *size)
    first, second = model.run(tensor)
    boxes, scores = detect.decode(first[0], second[0], view, *size, placement, THRESHOLD)
    boxes, scores = boxes[:MOST_BOXES], scores[:MOST_BOXES]
    return boxes, scores, np.zeros(len(boxes))


def add_up(samples: Sequence[Sample], found: Sequence[Any]) -> dict[str, float]:
    """Return COCO's figures, over all photos; one that cannot be read has no boxes."""
    rows = [
        {"image_id": index, "category_id": int(row[0]), "score": row[1], "bbox": row[2:]}
        for index, each in enumerate(found)
        for row in each or ()
    ]
    if not rows:
        return dict.fromkeys(FIGURES, 0.0)
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = _dataset(samples)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: float(evaluation.stats[place]) for name, place in FIGURES.items()}


def _dataset(samples: Sequence[Sample]) -> dict[str, Any]:
    annotations = [
        {
            "image_id": index,
            "category_id": int(row[0]),
            "bbox": row[1:5],
            "area": row[5],
            "iscrowd": int(row[6]),
        }
        for index, sample in enumerate(samples)
        for row in sample.truth[1]
    ]
    return {
        "info": {},
        "images": [{"id": index} for index in range(len(samples))],
        "annotations": [{"id": number, **each} for number, each in enumerate(annotations, 1)],
        "categories": [{"id": index} for index in range(samples[0].truth[0])],
    }


COCO_MAP = BuiltIn(read, look, add_up, upright=False)
