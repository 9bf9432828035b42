"""Cells of detectors: boxes, and scores beside others, count where the teacher sees something."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from toolchain.recipe import default_recipe
from toolchain.recovery.cells import LEAST, cell_weights, weighed
from toolchain.recovery.outputs import Kind, Output, Seen, outputs_of, told_kinds

CELLS = 100


def output(kind: Kind, seen: Seen | None = None, mean: Tensor | None = None) -> Output:
    return Output(kind, kind, 2, torch.ones(()), torch.zeros(1) if mean is None else mean, seen)


def column(first: float, others: float) -> Tensor:
    """(1, CELLS, 1): a face in the first cell."""
    return torch.cat([torch.full((1, 1, 1), first), torch.full((1, CELLS - 1, 1), others)], dim=1)


def weights_of(outputs: Sequence[Output], theirs: Sequence[Tensor]) -> list[Tensor | None]:
    return cell_weights(weighed(outputs, [theirs]), theirs)


def test_boxes_count_where_the_teacher_sees_something() -> None:
    """A face scores 0.9 * 0.4, in the mean of both; without one 0.01 * 0.01, which is nothing."""
    face, there, box = column(0.9, 0.01), column(0.4, 0.01), torch.zeros(1, CELLS, 4)
    outputs = [output(kind) for kind in ("scores", "scores", "values", "values")]
    weights = weights_of(outputs, [face, there, box, torch.zeros(1, 3, 4)])
    assert weights[3] is None  # other cells
    sure = math.sqrt(0.9 * 0.4) - 0.01
    expected = [(each / (sure / 100) + LEAST) / (1 + LEAST) for each in (sure, 0)]
    assert weights[2] is not None
    assert weights[2].flatten()[:2].tolist() == pytest.approx(expected)
    assert float(weights[2].mean()) == pytest.approx(1)
    off = box + column(0, 1)  # an error in all cells but the face's
    share = 99 * expected[1] / 100
    assert float(output("values").distance(off, box, weights[2])) == pytest.approx(share)


def test_a_score_counts_where_another_says_that_there_is_something() -> None:
    """As YuNet's and FCOS's do: whether a face is there, and how good a box, trained at faces."""
    there, quality = column(0.9, 0.001), column(0.8, 0.6)
    outputs = [replace(output("scores"), name="there"), output("scores"), output("values")]
    known = weighed(outputs, [[there, quality, torch.zeros(1, CELLS, 4)]])
    assert known[0].seen is None  # a quality of 0.6 everywhere finds nothing
    assert known[1].seen is not None
    assert known[1].seen.above == pytest.approx(0.899 / CELLS)
    weights = cell_weights(known, [there, quality, torch.zeros(1, CELLS, 4)])
    assert weights[0] is None
    assert weights[1] is not None
    assert float(weights[1][0, 0] / weights[1][0, 1]) > 50
    at_face = known[1].distance(quality - column(0.1, 0), quality, weights[1])
    elsewhere = known[1].distance(quality - column(0, 0.1), quality, weights[1])
    assert float(at_face) > 5 * float(elsewhere) / (CELLS - 1)


def test_an_image_counts_by_how_much_is_seen_in_it_within_bounds() -> None:
    outputs = [output("scores"), output("values", seen=Seen(0.0, 0.01))]
    crowd, nobody = torch.full((1, CELLS, 1), 0.9), torch.full((1, CELLS, 1), 1e-9)
    box = torch.zeros(1, CELLS, 4)
    for theirs, expected in ((crowd, 2.0), (nobody, 0.0)):
        weight = cell_weights(outputs, [theirs, box])[1]
        assert weight is not None
        assert float(weight.mean()) == pytest.approx((expected + LEAST) / (1 + LEAST), rel=0.02)


def test_a_score_that_is_high_in_many_cells_weighs_none() -> None:
    """A mask that covers a third of the picture is none of a detector: depth counts everywhere."""
    mask = torch.zeros(1, CELLS, 1)
    mask[:, : CELLS // 3] = 1
    outputs = [output("scores"), output("values")]
    assert weights_of(outputs, [mask, torch.zeros(1, CELLS, 1)]) == [None, None]


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_boxes_count_where_a_softmax_leaves_the_background(kind: Kind) -> None:
    """As in an SSD: scores (N, boxes, classes), of which one is that there is nothing."""
    faces = column(0.9, 0.1)  # unsure of the background, as where hard negatives are learnt
    given = torch.cat([1 - faces, faces], dim=2)
    scores = given.log() if kind == "logits" else given
    box = torch.zeros(1, CELLS, 4)
    outputs = outputs_of([(box, scores)], {"1": kind}, ["values", "values"])
    assert outputs[1].nothing == 0
    weights = weights_of(outputs, [box, scores])
    assert weights[1] is None  # nothing else tells of its cells
    assert weights[0] is not None
    ratio = float(weights[0][0, 0, 0] / weights[0][0, 1, 0])
    assert ratio == pytest.approx((CELLS + LEAST) / LEAST, rel=1e-3)


def test_classes_that_share_the_cells_are_no_background() -> None:
    given = torch.rand(1, CELLS, 3, generator=torch.Generator().manual_seed(0))
    outputs = outputs_of([(given, given[..., :1])], {"0": "logits"}, ["values", "values"])
    assert outputs[0].nothing is None
    assert weights_of(outputs, [given, given[..., :1]]) == [None, None]


def test_scores_of_classes_count_by_cell() -> None:
    """A softmax over classes beside whether something is there: one weight for all classes."""
    there = column(0.9, 0.001)
    logits = torch.zeros(1, CELLS, 3)
    outputs = outputs_of(
        [(there, torch.randn(1, CELLS, 3))], {"0": "scores", "1": "logits"}, ["values", "values"]
    )
    known = weighed(outputs, [(there, logits)])
    weight = cell_weights(known, [there, logits])[1]
    wrong = torch.zeros(1, CELLS, 3)
    wrong[:, 0, 0] = 1.0
    elsewhere = wrong.flip(1)
    assert weight is not None
    found, other = (known[1].distance(each, logits, weight) for each in (wrong, elsewhere))
    assert float(found) > 50 * float(other) > 0


def test_boxes_of_a_detector_with_anchors_count_at_its_faces() -> None:
    """EResFD gives boxes, and two scores of each, through no softmax: the recipe tells of it."""
    recipe = default_recipe("eresfd")
    told = told_kinds(recipe)
    assert told == {"1": "logits"}
    assert told_kinds(default_recipe("yunet")) == {}
    scores = torch.cat([torch.full((1, CELLS, 1), 2.2), torch.zeros(1, CELLS, 1)], dim=2)
    scores[0, 3] = torch.tensor([0.0, 3.0])
    given = torch.zeros(1, CELLS, 4), scores
    outputs = weighed(outputs_of([given], told, ["values", "values"]), [given])
    weight = cell_weights(outputs, given)[0]
    assert weight is not None
    assert int(weight.flatten().argmax()) == 3
    assert float(weight.flatten()[3]) > 100 * float(weight.flatten()[0])
