"""Boxes that overlap: their mean, and what they add to a score, against loops written by hand."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from board import metadata, specification
from hypothesis import given, settings
from hypothesis import strategies as st
from tasks import given as given_outputs

from toolchain.deploy import detect
from toolchain.deploy.detector import merging
from toolchain.deploy.detector.decoding import kept_rows, suppressed
from toolchain.deploy.detector.preparing import Placement
from toolchain.deploy.detector.tasks.boxes import read_boxes
from toolchain.detection.finders import network_finder, shown_support
from toolchain.detection.opening import describe, plan_for
from toolchain.detection.protocols import PROTOCOLS
from toolchain.detection.running import as_identity
from toolchain.recipe import default_recipe, override
from toolchain.records.accuracy import OVERLAPS, ProtocolName
from toolchain.zoo.reading import FOLDER

PLACE = Placement(1.0, 1.0, 0, 0, 640, 480)


def overlap(a: Any, b: Any) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(wide, 0.0) * max(high, 0.0)
    return shared / (sum((each[2] - each[0]) * (each[3] - each[1]) for each in (a, b)) - shared)


def by_hand(boxes: Any, evidence: Any, row: int, nms_iou: float, support: float) -> Any:
    """One kept box: its mean with those that it stands for, and its score."""
    chances = [1 / (1 + math.exp(-each)) for each in evidence]
    total, mean = 0.0, [0.0] * 4
    for index, box in enumerate(boxes):
        close = min(max((overlap(boxes[row], box) - nms_iou) / (1 - nms_iou), 0), 1)
        weight = chances[index] * close
        total += weight
        mean = [old + weight * edge for old, edge in zip(mean, box, strict=True)]
    strength = evidence[row] + support * math.log(total / chances[row])
    return [edge / total for edge in mean], 1 / (1 + math.exp(-strength))


def crowd(seed: int, count: int) -> tuple[Any, Any]:
    """Boxes around a few faces, and their evidence."""
    random = np.random.default_rng(seed)
    centres = random.uniform(100, 380, (4, 2))[random.integers(0, 4, count)]
    centres = centres + random.normal(0, 6, (count, 2))
    half = 30 * np.exp(random.normal(0, 0.15, (count, 2)))
    return np.concatenate([centres - half, centres + half], axis=1), random.normal(0, 2, count)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.sampled_from([0.0, 0.15, 1.0]))
def test_what_is_shown_is_the_mean_of_what_overlaps(seed: int, count: int, support: float) -> None:
    boxes, evidence = crowd(seed, count)
    which = specification(decode__support=support, decode__nms_iou=0.4)
    faces, scores = suppressed(boxes, evidence, which, PLACE)
    rows = kept_rows(boxes, evidence, 0.4)
    wanted = [by_hand(boxes, evidence, row, 0.4, support) for row in rows]
    wanted.sort(key=lambda each: -each[1])
    np.testing.assert_allclose(faces, [box for box, _ in wanted], atol=1e-3)
    np.testing.assert_allclose(scores, [score for _, score in wanted], atol=1e-6)
    assert (np.diff(scores) <= 0).all()


def test_without_it_the_best_box_stays_as_it_is() -> None:
    boxes, evidence = crowd(1, 40)
    table = metadata()
    assert "support" not in table["decode"]  # as files made before have it
    which = detect.Specification.from_json(json.dumps(table))
    assert which.support is None
    faces, _ = suppressed(boxes, evidence, which, PLACE)
    np.testing.assert_array_equal(faces, boxes[kept_rows(boxes, evidence, 0.3)].astype(np.float32))


def test_a_box_alone_stays_as_it_is_and_none_loses() -> None:
    boxes, evidence = crowd(2, 50)
    boxes[0], evidence[0] = (500, 400, 560, 470), -0.1
    kept = kept_rows(boxes, evidence, 0.3)
    rows, means, strength = merging.merged(boxes, evidence, kept, boxes, nms_iou=0.3, support=0.5)
    assert sorted(rows) == sorted(kept)
    (alone,) = np.flatnonzero(rows == 0)
    np.testing.assert_allclose(means[alone], boxes[0], rtol=1e-15)
    assert strength[alone] == evidence[0]
    assert (strength >= evidence[rows]).all()
    assert (strength > evidence[rows]).sum() >= 3  # of the faces that several boxes show


def test_many_boxes_are_compared_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, evidence = crowd(3, 200)
    kept = kept_rows(boxes, evidence, 0.9)
    assert len(kept) > 3 * merging.AT_ONCE
    whole = merging.merged(boxes, evidence, kept, boxes, nms_iou=0.9, support=0.3)
    monkeypatch.setattr(merging, "AT_ONCE", 3)
    pieces = merging.merged(boxes, evidence, kept, boxes, nms_iou=0.9, support=0.3)
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("nms_iou", [0.0, 1.0])
def test_boxes_without_area_and_the_ends_of_overlap_are_no_trouble(nms_iou: float) -> None:
    boxes = np.array([[10.0, 10, 10, 10], [0, 0, 20, 20], [0, 0, 20, 20]])
    evidence = np.array([3.0, 800.0, -800.0])
    kept = np.array([0, 1, 2])
    rows, means, strength = merging.merged(
        boxes, evidence, kept, boxes, nms_iou=nms_iou, support=1.0
    )
    np.testing.assert_allclose(means, boxes[rows])
    assert np.isfinite(strength).all()
    point, first = boxes[:1], np.array([0])
    _, means, _ = merging.merged(point, evidence[:1], first, point, nms_iou=nms_iou, support=1.0)
    np.testing.assert_allclose(means, point)


def test_boxes_of_a_task_are_merged_by_class() -> None:
    """Two cats and a dog in one place: the dog adds nothing to the cats."""
    boxes = np.array([[[10, 10, 50, 50], [14, 10, 54, 50], [10, 10, 50, 50]]], np.float32)
    scores = np.array([[[0.8, 0.0], [0.6, 0.0], [0.0, 0.7]]], np.float32)
    outputs = {"boxes": boxes, "scores": scores}
    told = {"layout": "corners", "labels": ["cat", "dog"]}
    plain = read_boxes(given_outputs("boxes", outputs, **told), None)
    assert plain.boxes.tolist() == [[10, 10, 50, 50], [10, 10, 50, 50]]
    found = read_boxes(given_outputs("boxes", outputs, **told, support=0.5), None)
    assert found.names == ("cat", "dog")
    weight = 0.6 * (36 / 44 - 0.5) / 0.5
    right = 4 * weight / (0.8 + weight)
    np.testing.assert_allclose(found.boxes[0], [10 + right, 10, 50 + right, 50], rtol=1e-6)
    np.testing.assert_allclose(found.boxes[1], [10, 10, 50, 50])
    odds = 4 * math.sqrt((0.8 + weight) / 0.8)
    np.testing.assert_allclose(found.scores, [odds / (1 + odds), 0.7], rtol=1e-6)


def test_points_go_with_their_boxes() -> None:
    """Cells (1, 2) and (1, 3) of stride 16 see one face; its points lie between theirs."""
    arrays = []
    for columns in (1, 1, 4, 4):
        counts = (8 * 12, 4 * 6, 2 * 3)
        arrays.append([np.zeros((1, count, columns), np.float32) for count in counts])
    classes, objectness, boxes, points = (level[1][0] for level in arrays)
    for cell, offset in ((8, 0.5), (9, -0.25)):
        classes[cell], objectness[cell] = 0.81, 1.0
        boxes[cell] = [offset, 0.0, math.log(2), math.log(2)]
        points[cell] = [offset, 0.0, offset, 1.0]
    every = [array for kind in arrays for array in kind]
    outputs = {f"o{index}": array for index, array in enumerate(every)}
    found = read_boxes(given_outputs("boxes", outputs, layout="yunet", support=0.0), None)
    assert found.count == 1
    assert found.points is not None
    weight = 0.9 * ((32 - 4) / (32 + 4) - 0.5) / 0.5  # the second box lies four pixels to the right
    middle = 40 + 4 * weight / (0.9 + weight)
    np.testing.assert_allclose(found.points[0], [[middle, 16], [middle, 32]], rtol=1e-6)
    np.testing.assert_allclose(found.boxes[0], [middle - 16, 0, middle + 16, 32], rtol=1e-6)
    np.testing.assert_allclose(found.scores, [0.9], rtol=1e-6)


def test_files_that_suppress_by_themselves_say_that_the_best_is_left() -> None:
    recipe = default_recipe("yunet")
    assert recipe.decode.board_support == recipe.decode.support == 0.5
    assert override(recipe, {"decode.postprocess": "nms"}).decode.board_support is None


@pytest.mark.parametrize(("name", "shown"), [("single", 0.15), ("paper", None)])
def test_the_protocol_of_the_paper_votes_afterwards(
    name: ProtocolName, shown: float | None
) -> None:
    """Two boxes of one face: one pass that merges gives their mean, else the better."""
    assert shown_support(0.15, PROTOCOLS[name]) == shown
    loc = np.zeros((16, 4), np.float32)
    logits = np.tile(np.array([9, -9], np.float32), (16, 1))
    logits[5], logits[6] = (0, 3), (0, 2)
    loc[5, 0], loc[6, 0] = 5, -5  # half a side of 16 each, towards the other
    which = specification(decode__support=0.15)
    find = network_finder(lambda _: (loc, logits), which, PROTOCOLS[name])
    boxes, scores = find(np.zeros((64, 64, 3), np.uint8), 1.0)
    assert len(boxes) == 1
    best = 1 / (1 + math.exp(-3))
    assert (scores[0] > best + 1e-4) == (shown is not None)


@pytest.mark.parametrize("name", ["single", "paper"])
def test_an_evaluation_says_what_became_of_boxes_that_overlap(name: ProtocolName) -> None:
    """And detections of another kind are none of its own."""
    plan = plan_for(FOLDER / "eresfd-50.safetensors", PROTOCOLS[name])
    alone = override(default_recipe("eresfd"), {"decode.support": None})
    merging_one, other = describe(plan), describe(dataclasses.replace(plan, recipe=alone))
    told = [each.subject.settings.get(OVERLAPS) for each in (merging_one, other)]
    assert told == ["their mean, support 0.15" if name == "single" else None, None]
    one, two = (as_identity(plan, each.subject, "val", "1") for each in (merging_one, other))
    assert (one == two) == (name == "paper")
