"""Balancing: what is seen, which shifts are found, and how they become weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from widerface import make_wider

from toolchain.balancing import candidates as seeing
from toolchain.balancing.candidates import Candidates, looking, nothing_seen
from toolchain.balancing.faces import kinds_of_faces
from toolchain.balancing.heads import shifted
from toolchain.balancing.search import Labelled, Precision, as_shown, best_shifts, weighed
from toolchain.balancing.suppressing import Overlapping, as_measured
from toolchain.data.wider import read_split
from toolchain.deploy import detect
from toolchain.deploy.detector.decoding import suppressed
from toolchain.deploy.detector.preparing import Placement
from toolchain.detection.network import with_anchors
from toolchain.detection.opening import open_finder, plan_for
from toolchain.detection.protocols import PROTOCOLS
from toolchain.errors import DataError, ModelError, ParityError
from toolchain.models.eresfd import DETECTOR, EResFD
from toolchain.recipe import default_recipe
from toolchain.zoo.reading import FOLDER
from toolchain.zoo.sources import load_network

SMALL = FOLDER / "eresfd-50.safetensors"


@cache
def specification() -> detect.Specification:
    loaded = load_network(default_recipe("eresfd"), SMALL)
    return with_anchors(loaded, 1)[1]


def measured() -> detect.Specification:
    return as_measured(specification())


def seen(
    boxes: Sequence[Sequence[float]], evidence: Sequence[float], levels: Sequence[int]
) -> Overlapping:
    candidates = Candidates(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(evidence, np.float64),
        np.array(levels, np.int8),
        Placement(1.0, 1.0, 0.0, 0.0, 400, 300),
    )
    return Overlapping(candidates, measured())


FACE, ELSEWHERE = (100.0, 100.0, 160.0, 180.0), (10.0, 10.0, 20.0, 22.0)


def labelled(photos: int = 6, lower: float = 0.0) -> Labelled:
    """A coarse level that is right, but timid, beside a fine one that is wrong, and bold."""
    found = [
        seen([FACE, ELSEWHERE], [0.1 * n - lower, 0.55 + 0.01 * n - lower], [1, 0])
        for n in range(photos)
    ]
    face = np.array([[100.0, 100.0, 60.0, 80.0]])
    return Labelled("", found, [face] * photos, {"all": [np.array([True])] * photos})


def test_a_timid_level_that_is_right_is_raised_above_a_bold_one_that_is_wrong() -> None:
    precision, told = Precision([labelled()], {}), []
    assert precision.of((0.0, 0.0))["all"] < 0.7
    shifts = best_shifts(precision, 2, told.append)
    assert precision.of(shifts)["all"] == pytest.approx(1.0)
    assert shifts[1] - shifts[0] >= 0.6
    assert told == sorted(told), "the best mean so far never falls"


def test_a_kind_that_counts_more_decides() -> None:
    """Each level has a right box and a wrong one above the other's right one."""
    boxes = [FACE, ELSEWHERE, (200.0, 40.0, 212.0, 54.0), (250.0, 100.0, 330.0, 190.0)]
    found = [seen(boxes, [0.0, 0.1, 0.3, 0.4], [1, 0, 0, 1]) for _ in range(4)]
    faces = np.array([[100.0, 100.0, 60.0, 80.0], [10.0, 10.0, 10.0, 12.0]])
    counted = {
        "large": [np.array([True, False])] * 4,
        "small": [np.array([False, True])] * 4,
    }
    photos = Labelled("", found, [faces] * 4, counted)
    of_large, of_small = (Precision([photos], {name: 0.0}) for name in ("small", "large"))
    up, down = (best_shifts(each, 2, lambda _: None) for each in (of_large, of_small))
    assert up[1] > up[0]
    assert down[1] < down[0]
    assert of_large.mean(up) == of_large.of(up)["large"] > of_large.of(down)["large"]
    assert of_small.mean(down) == of_small.of(down)["small"] > of_small.of(up)["small"]
    assert weighed({"large a": 1.0, "small b": 0.5}, {"small": 3.0}) == pytest.approx(0.625)


def test_levels_that_agree_are_left_as_they_are() -> None:
    some = labelled()
    right = [seen([FACE, ELSEWHERE], [2.0, -2.0], [1, 0]) for _ in some.seen]
    precision = Precision([Labelled("", right, some.boxes, some.counted)], {})
    assert best_shifts(precision, 2, lambda _: None) == (0.0, 0.0)


def test_as_many_faces_are_shown_as_before() -> None:
    some, told = labelled(20, lower=1.1), specification()
    shifts, count = as_shown([some], (-0.4, 0.4), told.score_threshold)
    assert shifts[1] - shifts[0] == pytest.approx(0.8)
    bar = float(np.log(told.score_threshold / (1 - told.score_threshold)))

    def shown(by: Sequence[float]) -> int:
        return sum(int((each.best_cells(by) >= bar).sum()) for each in some.seen)

    assert 0 < count < 40
    assert shown(shifts) == count == shown((0.0, 0.0))
    assert shown((-0.4, 0.4)) != count


@pytest.mark.parametrize("support", [None, 0.0, 0.3])
def test_suppression_and_merging_are_the_board_s(support: float | None) -> None:
    dice = np.random.default_rng(7)
    told = replace(measured(), support=support, max_detections=60)
    corner = dice.uniform(-20, 300, (700, 2))
    boxes = np.concatenate([corner, corner + dice.uniform(5, 90, (700, 2))], axis=1)
    levels = dice.integers(0, 3, 700)
    some = Candidates(
        boxes.astype(np.float32),
        dice.normal(0, 2, 700),
        levels.astype(np.int8),
        Placement(0.5, 0.6, 3.0, -4.0, 400, 300),
    )
    for shifts in ((0.0, 0.0, 0.0), (1.0, -2.0, 0.5)):
        evidence = some.evidence + np.array(shifts)[levels]
        wanted, scores = suppressed(some.boxes.astype(np.float64), evidence, told, some.placement)
        found = Overlapping(some, told).faces(shifts)
        found = found[np.argsort(-found[:, 4], kind="stable")]
        assert len(found) == len(wanted) > 20
        assert np.allclose(found[:, :2], wanted[:, :2], atol=1e-3)
        assert np.allclose(found[:, 2:4], wanted[:, 2:] - wanted[:, :2], atol=1e-3)
        assert np.allclose(found[:, 4], scores, atol=1e-6)


def test_what_is_seen_are_the_boxes_that_the_finder_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeing, "MOST", PROTOCOLS["single"].max_candidates)
    data = make_wider(tmp_path / "wider", 2)
    image = detect.read_image(read_split(data).images[0].path, upright=False)
    plan = plan_for(SMALL, PROTOCOLS["single"])
    boxes, scores = open_finder(plan, 1)(image, 1.0)
    look = looking(*with_anchors(load_network(default_recipe("eresfd"), SMALL), 1), None)
    found = look(image)
    assert set(found.levels.tolist()) <= set(range(6))
    again = Candidates.from_bytes(found.to_bytes())
    assert again.placement == found.placement
    for name in ("boxes", "evidence", "levels"):
        assert np.array_equal(getattr(again, name), getattr(found, name))
    shown = Overlapping(found, measured()).faces((0.0,) * 6)
    shown = shown[np.argsort(-shown[:, 4], kind="stable")]
    count = min(len(boxes), len(shown), 20)
    assert count
    assert np.allclose(shown[:count, :2], boxes[:count, :2], atol=0.01)
    assert np.allclose(shown[:count, 4], scores[:count], atol=1e-5)


def test_the_level_of_a_cell_is_that_of_its_anchor() -> None:
    told = specification()
    sides = detect.anchors(told, 205, 333)[:, 2]
    levels = seeing.levels_of(told, 205, 333)
    assert len(levels) == len(sides)
    assert np.array_equal(np.array(told.anchor_sizes)[levels], sides)


def test_shifts_become_biases_and_nothing_else_changes() -> None:
    torch.manual_seed(3)
    network = EResFD().eval()
    by = (0.5, -0.25, 0.0, 1.0, -1.5, 0.125)
    changed = shifted(network, DETECTOR.scores, by)
    image = torch.randn(1, 3, 128, 96)
    with torch.inference_mode():
        (loc, before), (same, after) = network(image), changed(image)
    assert torch.equal(loc, same)
    moved = (after - before)[0, :, 1]
    cells = [32 * 24, 16 * 12, 8 * 6, 4 * 3, 2 * 2, 1 * 1]
    ends = np.cumsum([0, *cells])
    for level, shift in enumerate(by):
        assert torch.allclose(moved[ends[level] : ends[level + 1]], torch.tensor(shift), atol=1e-4)
    names = [
        name
        for (name, one), two in zip(
            network.state_dict().items(), changed.state_dict().values(), strict=True
        )
        if not torch.equal(one, two)
    ]
    assert names == [f"conf.{level}.bias" for level, shift in enumerate(by) if shift]


def test_a_head_that_does_more_than_score_fails_the_proof() -> None:
    torch.manual_seed(3)
    network = EResFD().eval()
    with pytest.raises(ParityError, match="boxes or backgrounds"):
        shifted(network, [f"loc.{level}" for level in range(6)], [0.5] * 6)
    network.conf[2] = torch.nn.Conv2d(16, 2, 1, bias=False)
    with pytest.raises(ModelError, match=r"conf\.2 has no bias"):
        shifted(network, DETECTOR.scores, [0.5] * 6)


def test_a_score_that_is_not_moved_by_its_shift_fails_the_proof() -> None:
    torch.manual_seed(3)

    class Doubled(EResFD):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            loc, logits = super().forward(image)
            return loc, logits * torch.tensor([1.0, 2.0])

    with pytest.raises(ParityError, match="scores are off"):
        shifted(Doubled().eval(), DETECTOR.scores, [0.5] * 6)


def test_kinds_are_the_lists_or_go_by_height(tmp_path: Path) -> None:
    data = make_wider(tmp_path / "wider", 4, train=8, extra_boxes=True)
    assert list(kinds_of_faces(read_split(data, "val"))) == ["easy", "medium", "hard"]
    train = read_split(data, "train")
    kinds = kinds_of_faces(train)
    assert list(kinds) == ["large", "middle", "small"]
    for truth, large, small in zip(train.truths, kinds["large"], kinds["small"], strict=True):
        heights, valid = truth.boxes[:, 3], truth.counted["all"]
        assert np.array_equal(large, valid & (heights >= 50))
        assert np.array_equal(small, valid & (heights >= 10))
    none = replace(train.truths[0], counted={"all": np.zeros(len(train.truths[0].boxes), np.bool_)})
    left = kinds_of_faces(replace(train, truths=(none, *train.truths[1:])))
    assert kinds["small"][0].any()
    assert not left["small"][0].any(), "a face that is not valid counts at no height"
    with pytest.raises(DataError, match="no faces to learn from"):
        kinds_of_faces(read_split(data, "test"))


def test_nothing_is_seen_in_a_photo_that_cannot_be_read() -> None:
    assert len(Overlapping(nothing_seen(), measured()).faces((0.0,) * 6)) == 0
