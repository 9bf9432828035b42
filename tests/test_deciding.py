"""What outputs decide, told from their values, and how many decisions a coarser file changes."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.checking.parity import Runner
from toolchain.checking.pictures import Photo
from toolchain.lineage.deciding import decisions_between
from toolchain.lineage.links import agreement
from toolchain.recipe import default_recipe, override
from toolchain.records.parity import Decisions

RANDOM = np.random.default_rng(0)


def decided(before: np.ndarray, after: np.ndarray, threshold: float = 0.5) -> list[Decisions]:
    """Of one output, given on as many inputs as it has rows."""
    sides = [[[row[None]] for row in side] for side in (before, after)]
    return list(decisions_between(["out"], *sides, threshold))


def test_a_row_of_numbers_names_a_class() -> None:
    logits = np.eye(10) * 3 + RANDOM.normal(size=(10, 10)) * 0.1
    moved = logits.copy()
    moved[[2, 5], 0] = 9
    (found,) = decided(logits, moved)
    assert (found.kind, found.inputs, found.made, found.changed) == ("classes", 10, 10, 2)
    assert found.words == "classes of out"


def test_probabilities_that_add_up_to_one_name_a_class_in_every_position() -> None:
    logits = RANDOM.normal(size=(3, 4, 5, 6)) * 4
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    other = shares.copy()
    other[0, :, 0, 0] = np.roll(shares[0, :, 0, 0], 1)
    (found,) = decided(shares, other)
    assert (found.kind, found.made, found.changed) == ("classes", 3 * 5 * 6, 1)


@pytest.mark.parametrize("channels_last", [True, False])
def test_scores_beside_boxes_are_found_in_one_tensor(channels_last: bool) -> None:
    """Boxes in pixels and two classes, (1, P, 6) or (1, 6, P)."""
    boxes = RANDOM.uniform(0, 640, (2, 50, 4))
    scores = np.zeros((2, 50, 2)) + 0.1
    scores[:, :10, 0] = 0.9  # twenty of the first class
    scores[0, :2, 1] = 0.8  # two of the second
    before = np.concatenate([boxes, scores], axis=2)
    after = before.copy()
    after[0, :2, 5] = 0.2  # all of the second class are lost
    if not channels_last:
        before, after = before.transpose(0, 2, 1), after.transpose(0, 2, 1)
    together, worst = decided(before, after)
    assert (together.kind, together.made, together.changed) == ("scores", 22, 2)
    assert (worst.channel, worst.made, worst.changed) == (5, 2, 2)
    assert worst.share == 1
    assert worst.words == "scores above 0.5 in out, channel 5"


def test_scores_that_appear_count_as_well() -> None:
    before = np.full((1, 1, 4, 4), 0.1)
    before[0, 0, 0, 0] = 0.9
    after = before + np.where(np.arange(16).reshape(1, 1, 4, 4) == 5, 0.6, 0)
    (found,) = decided(before, after)
    assert (found.made, found.changed, found.kept) == (2, 1, 1)


def test_maps_of_unbounded_numbers_decide_nothing_that_is_known() -> None:
    assert decided(RANDOM.normal(size=(2, 4, 8, 8)), RANDOM.normal(size=(2, 4, 8, 8))) == []


def test_whole_numbers_and_constants_decide_nothing() -> None:
    assert decided(np.ones((2, 3, 4), np.int64), np.ones((2, 3, 4), np.int64)) == []
    assert decided(np.zeros((2, 1, 4, 4)), np.zeros((2, 1, 4, 4))) == []


@pytest.mark.parametrize(
    ("made", "changed", "holds"),
    [(1000, 28, True), (1000, 29, False), (4292, 3586, False), (3, 1, True), (3, 2, False)],
)
def test_two_percent_may_change_but_for_chance(made: int, changed: int, holds: bool) -> None:
    """Of 1,000 decisions 20, and twice the spread of 4.4 of such a count."""
    found = Decisions("out", None, "scores", 0.5, 24, made, changed)
    assert found.holds(0.02) is holds


def yolo(rows: list[list[float]]) -> Runner:
    """A side that gives these rows, (centre x, centre y, width, height, two scores) each."""
    output = np.array(rows, np.float32).T[None]
    return lambda *_: [output]


def boxes_kept(after: list[list[float]]) -> tuple[int, int, int]:
    task = {"task.kind": "boxes", "task.layout": "yolov8", "task.labels": ("cat", "dog")}
    size = {"input.height": 64, "input.width": 64, "decode.score_threshold": 0.5}
    recipe = override(default_recipe("own:net"), {**task, **size})
    photo = Photo("photo", np.zeros((64, 64, 3), np.uint8))
    before = [[20, 20, 16, 16, 0.9, 0.1], [44, 44, 16, 16, 0.1, 0.8], [20, 44, 8, 8, 0.1, 0.2]]
    found = agreement([photo], yolo(before), yolo(after), recipe, ["output"])
    return found.both, found.missed, found.added


def test_boxes_of_ones_own_network_are_paired_as_the_board_reads_them() -> None:
    cat, dog = [21, 20, 16, 16, 0.8, 0.1], [44, 45, 16, 16, 0.1, 0.9]
    assert boxes_kept([cat, dog, [20, 44, 8, 8, 0.1, 0.3]]) == (2, 0, 0)  # scores may move
    assert boxes_kept([cat, [44, 44, 16, 16, 0.1, 0.4]]) == (1, 1, 0)
    assert boxes_kept([cat, [44, 44, 16, 16, 0.9, 0.1]]) == (1, 1, 1)  # a dog became a cat
    assert boxes_kept([cat, dog, [8, 56, 8, 8, 0.7, 0.1]]) == (2, 0, 1)
