"""Matching and loss: small cases computed by hand, and against plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from toolchain.train.loss import detection_loss
from toolchain.train.targets import (
    Targets,
    anchor_boxes,
    encode,
    match,
    overlaps,
    stacked,
    targets,
)

VARIANCES = (0.1, 0.2)


def boxes(*rows: tuple[float, float, float, float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def test_overlap_by_hand() -> None:
    """A face of 10 x 10 and an anchor of 10 x 10 shifted by 5: 50 / 150."""
    found = overlaps(boxes((0, 0, 10, 10)), boxes((10, 5, 10, 10), (5, 5, 10, 10), (50, 50, 4, 4)))
    torch.testing.assert_close(found, torch.tensor([[1 / 3, 1.0, 0.0]]))


def test_a_face_has_anchors_over_the_threshold_and_always_its_best() -> None:
    anchors = boxes((5, 5, 10, 10), (9, 5, 10, 10), (100, 100, 10, 10), (112, 100, 10, 10))
    near, tiny = (0.0, 0.0, 10.0, 10.0), (99.0, 99.0, 101.0, 101.0)
    # 6 / 14 = 0.43 of the second anchor; the tiny face overlaps its anchor by 4 / 100 only.
    assert match(boxes(near, tiny), anchors).tolist() == [0, 0, 1, -1]


def test_faces_with_few_anchors_are_compensated() -> None:
    """Face 0 has three anchors over 0.35, face 1 one; the average is two."""
    anchors = boxes(
        (5, 5, 10, 10), (6, 5, 10, 10), (7, 5, 10, 10), (50, 50, 10, 10), (56, 50, 10, 10)
    )
    faces = boxes((0, 0, 10, 10), (41, 45, 51, 55))
    # Face 1 overlaps anchor 3 by 6 / 14; anchor 4 not at all, so there is nothing to give.
    assert match(faces, anchors).tolist() == [0, 0, 0, 1, -1]
    # A face of 29 x 10 covers both anchors: 100 / 290 = 0.345 each.
    faces = boxes((0, 0, 10, 10), (45, 45, 74, 55))
    assert match(faces, anchors).tolist() == [0, 0, 0, 1, 1]


def test_no_face_means_no_anchor() -> None:
    found = targets(torch.zeros(0, 4), boxes((5, 5, 10, 10)), VARIANCES)
    assert not found.positive.any()
    assert not found.loc.any()


def test_encoding_by_hand() -> None:
    """A centre off by 2 of 10 pixels: 2 / (0.1 * 10); twice as wide: log 2 / 0.2."""
    found = encode(boxes((-3, 0, 17, 10)), boxes((5, 5, 10, 10)), VARIANCES)
    torch.testing.assert_close(found, torch.tensor([[2.0, 0.0, math.log(2) / 0.2, 0.0]]))


coordinate = st.integers(0, 40).map(float)


@given(
    st.lists(st.tuples(coordinate, coordinate, st.integers(1, 30), st.integers(1, 30)), max_size=5)
)
def test_every_face_that_is_nobody_elses_best_has_an_anchor(rows: list[tuple[float, ...]]) -> None:
    grid = torch.arange(4, 48, 8.0)
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    centres = torch.stack([x, y], dim=2).reshape(-1, 2)
    anchors = torch.cat([torch.cat([centres, torch.full_like(centres, s)], 1) for s in (8, 16, 32)])
    faces = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in rows]).reshape(-1, 4)
    face = match(faces, anchors)
    overlap = overlaps(faces, anchors)
    best = set(overlap.argmax(dim=1).tolist()) if rows else set()
    for anchor in best:
        assert face[anchor] >= 0
    for anchor in set(range(len(anchors))) - best:
        if len(rows) and overlap[:, anchor].max() >= 0.35:
            assert face[anchor] == overlap[:, anchor].argmax()
        elif face[anchor] >= 0:
            assert overlap[face[anchor], anchor] > 0.1


def test_the_loss_by_hand() -> None:
    """One positive of five anchors, so three of four negatives count: the hardest."""
    logits = torch.tensor([[[0.0, 2.0], [1.0, 0.0], [0.0, 3.0], [2.0, 0.0], [0.0, 0.0]]])
    loc = torch.tensor([[[0.5, 0.0, 0.0, 3.0]] + [[9.0] * 4] * 4])
    positive = torch.tensor([True, False, False, False, False])
    entropy = [math.log(1 + math.exp(x)) for x in (-2.0, -1.0, 3.0, 0.0)]  # anchors 0, 1, 2, 4
    smooth = 0.5 * 0.5**2 + (3.0 - 0.5)
    found = detection_loss(loc, logits, stacked([Targets(positive, torch.zeros(5, 4))]))
    assert found.item() == pytest.approx(sum(entropy) + smooth)


def test_without_a_positive_no_negative_counts() -> None:
    nothing = Targets(torch.zeros(5, dtype=torch.bool), torch.zeros(5, 4))
    loss = detection_loss(torch.randn(1, 5, 4), torch.randn(1, 5, 2), stacked([nothing]))
    assert loss.item() == 0.0


def test_the_loss_of_a_batch_is_divided_by_all_positives() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, loc = (
        torch.randn(2, 9, 2, generator=generator),
        torch.randn(2, 9, 4, generator=generator),
    )
    masks = [torch.arange(9) < count for count in (1, 2)]
    wanted = [Targets(mask, torch.zeros(9, 4)) for mask in masks]
    parts = [
        detection_loss(loc[i : i + 1], logits[i : i + 1], stacked(wanted[i : i + 1])) * (i + 1)
        for i in range(2)
    ]
    torch.testing.assert_close(detection_loss(loc, logits, stacked(wanted)), sum(parts) / 3)


def test_gradients_reach_only_what_counts() -> None:
    logits = torch.zeros(1, 6, 2, requires_grad=True)
    loc = torch.ones(1, 6, 4, requires_grad=True)
    positive = torch.tensor([True] + [False] * 5)
    detection_loss(loc, logits, stacked([Targets(positive, torch.zeros(6, 4))])).backward()
    assert logits.grad is not None
    assert loc.grad is not None
    assert (logits.grad.abs().sum(dim=2) > 0).sum() == 4
    assert (loc.grad.abs().sum(dim=2) > 0).sum() == 1
    assert F.one_hot(torch.tensor(0), 6).bool().tolist() == (loc.grad[0, :, 0] > 0).tolist()


def test_anchors_are_those_of_the_board() -> None:
    """The same as ``deploy/detect.py`` makes, for an odd size and anchors that are not square."""
    from toolchain.deploy import detect
    from toolchain.exporting.metadata import KEY, Provenance, metadata_of
    from toolchain.recipe import default_recipe
    from toolchain.records.stages import Source

    recipe = default_recipe("eresfd")
    assert recipe.anchors is not None
    source = Source(None, "seed", None, trained=False, seed=0)
    text = metadata_of(recipe, Provenance(source, None, None, None), dynamic=True)[KEY]
    expected = detect.anchors(detect.Specification.from_json(text), 133, 217)
    torch.testing.assert_close(anchor_boxes(recipe.anchors, 133, 217), torch.tensor(expected))
