"""WIDER FACE's average precision: against its literal loops, and against answers by hand."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import literal_wider
import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from toolchain.errors import InputError
from toolchain.records.accuracy import Curve
from toolchain.scoring import matching
from toolchain.scoring.average_precision import THRESHOLDS, average_precision, score
from toolchain.scoring.matching import match, order

NO_DETECTIONS = np.empty((0, 5))
NO_BOXES = np.empty((0, 4))
FACE, OTHER_FACE, ELSEWHERE = [0, 0, 9, 9], [100, 0, 9, 9], [500, 500, 9, 9]
"""9 wide is 10 pixels wide: 100 pixels each."""


def found(*rows: list[float]) -> NDArray:
    return np.array(rows, dtype=float).reshape(-1, 5)


def faces(*rows: list[float]) -> NDArray:
    return np.array(rows, dtype=float).reshape(-1, 4)


def all_of(boxes: list[NDArray]) -> dict[str, list[NDArray]]:
    return {"all": [np.ones(len(photo), dtype=bool) for photo in boxes]}


def score_all(detections: list[NDArray], boxes: list[NDArray]) -> Curve:
    """Return the curve where every face counts."""
    (curve,) = score(detections, boxes, all_of(boxes))
    return curve


@dataclass
class Set:
    detections: list[NDArray]
    boxes: list[NDArray]
    counted: dict[str, list[NDArray]]


SIDES = st.integers(-3, 12).map(float)
PLACES = st.integers(0, 5).map(lambda step: 2.0 * step)
BOXES = st.tuples(PLACES, PLACES, SIDES, SIDES)
SCORES = st.one_of(
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.integers(0, 1000).map(lambda thousandth: thousandth / 1000),
    st.floats(0, 1),
)


@st.composite
def sets(draw: st.DrawFn) -> Set:
    """Draw coarse boxes and scores, so that overlaps and scores are often equal."""
    boxes = draw(st.lists(st.lists(BOXES, max_size=8), min_size=1, max_size=6))
    levels = draw(st.sampled_from([["all"], ["easy", "medium", "hard"]]))
    masks = st.tuples(*(st.tuples(*(st.booleans() for _ in photo)) for photo in boxes))
    return Set(
        [found(*draw(st.lists(detections_near(photo), max_size=15))) for photo in boxes],
        [faces(*photo) for photo in boxes],
        {k: [np.array(mask, dtype=bool) for mask in draw(masks)] for k in levels},
    )


def detections_near(photo: list[tuple[float, ...]]) -> st.SearchStrategy[list[float]]:
    """Draw detections anywhere, or the photo's boxes with one side changed a little."""
    places = st.one_of(BOXES, st.sampled_from(photo)) if photo else BOXES
    changes = st.tuples(st.integers(0, 3), st.integers(-2, 2))

    def row(place: tuple[float, ...], change: tuple[int, int], value: float) -> list[float]:
        sides = [side + change[1] * (index == change[0]) for index, side in enumerate(place)]
        return [*sides, value]

    return st.builds(row, places, changes, SCORES)


def demand_equal(case: Set) -> tuple[Curve, ...]:
    """Demand the literal loops' faces, average precisions and curves; return what was scored."""
    curves = score(case.detections, case.boxes, case.counted)
    expected = literal_wider.curves(case.detections, case.boxes, case.counted)
    assert [curve.level for curve in curves] == list(expected)
    for curve in curves:
        other = expected[curve.level]
        assert curve.faces == other.faces
        assert curve.ap == (None if other.ap is None else pytest.approx(other.ap, abs=1e-9))
        np.testing.assert_allclose(curve.precision, other.precision, rtol=0, atol=1e-9)
        np.testing.assert_allclose(curve.recall, other.recall, rtol=0, atol=1e-9)
    return curves


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(sets())
def test_many_random_sets_score_as_the_literal_loops_say(case: Set) -> None:
    demand_equal(case)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(sets())
def test_random_sets_score_as_the_literal_loops_say(case: Set) -> None:
    for curve in demand_equal(case):
        event("no face counts" if curve.ap is None else f"AP over 0: {curve.ap > 0}")


def crowd(seed: int, photos: int = 4) -> Set:
    """Return detections that surround faces closely, some faces counted."""
    random = np.random.default_rng(seed)
    boxes = [random.uniform(10, 60, (random.integers(1, 9), 4)) for _ in range(photos)]
    detections = []
    for photo in boxes:
        near = np.repeat(photo, 3, axis=0)
        near = near + random.normal(0, 4, near.shape)
        detections.append(np.column_stack([near, random.random(len(near))]))
    levels = {"easy": 0.3, "hard": 0.8}
    counted = {k: [random.random(len(b)) < share for b in boxes] for k, share in levels.items()}
    return Set(detections, boxes, counted)


@pytest.mark.parametrize("seed", range(10))
def test_crowds_of_fractional_boxes_score_as_the_literal_loops_say(seed: int) -> None:
    curves = demand_equal(crowd(seed))
    assert all(curve.ap is not None and 0 < curve.ap < 1 for curve in curves)


def test_every_face_found_alone_gives_one() -> None:
    boxes = [faces(FACE, OTHER_FACE), faces(FACE)]
    detections = [found([*FACE, 0.9], [*OTHER_FACE, 0.2]), found([*FACE, 0.6])]
    curve = score_all(detections, boxes)
    assert curve.ap == pytest.approx(1.0, abs=1e-12)
    assert curve.faces == 3
    assert curve.precision[-1] == curve.recall[-1] == 1.0


def test_a_known_answer_by_hand() -> None:
    """Right, wrong, right, missed: 1/4 at precision 1, then 1/4 at precision 2/3."""
    boxes = [faces(FACE, OTHER_FACE, [200, 0, 9, 9], [300, 0, 9, 9])]
    detections = [found([*FACE, 1.0], [*ELSEWHERE, 0.5], [*OTHER_FACE, 0.0])]
    curve = score_all(detections, boxes)
    assert curve.ap == pytest.approx(1 / 4 * 1 + 1 / 4 * 2 / 3, abs=1e-12)
    # 1 - 500/1000 is the first threshold that 0.5 reaches, 0 the first that 0 reaches.
    assert curve.precision.tolist() == pytest.approx([1] * 499 + [1 / 2] * 500 + [2 / 3])
    assert curve.recall.tolist() == pytest.approx([1 / 4] * 999 + [2 / 4])


def test_a_dip_in_precision_is_filled_from_higher_recall() -> None:
    """Wrong, right, right: precision 0, 1/2, 2/3; its envelope is 2/3 for both faces."""
    detections = [found([*ELSEWHERE, 1.0], [*FACE, 0.5], [*OTHER_FACE, 0.0])]
    assert score_all(detections, [faces(FACE, OTHER_FACE)]).ap == pytest.approx(2 / 3, abs=1e-12)


def test_no_detections_at_all_give_zero_and_no_counted_faces_give_none() -> None:
    boxes = [faces(FACE), NO_BOXES]
    nothing, nobody = [np.zeros(1, dtype=bool), np.zeros(0, dtype=bool)], all_of(boxes)["all"]
    curves = score([NO_DETECTIONS] * 2, boxes, {"hard": nobody, "easy": nothing})
    assert [(curve.level, curve.faces, curve.ap) for curve in curves] == [
        ("hard", 1, 0.0),
        ("easy", 0, None),
    ]
    for curve in curves:
        assert curve.precision.shape == curve.recall.shape == (1000,)
        assert not curve.precision.any()
        assert not curve.recall.any()


def test_a_set_without_photos_or_levels_is_no_error() -> None:
    assert score([], [], {}) == ()
    (curve,) = score([], [], {"all": []})
    assert (curve.faces, curve.ap) == (0, None)


def test_detections_of_faces_that_do_not_count_are_neither_right_nor_wrong() -> None:
    boxes = [faces(FACE, OTHER_FACE)]
    detections = [found([*OTHER_FACE, 1.0], [*OTHER_FACE, 0.9], [*FACE, 0.0])]
    one, none = [np.array([True, False])], [np.array([False, False])]
    curve, ignored = score(detections, boxes, {"easy": one, "nothing": none})
    assert curve.ap == 1.0
    assert curve.precision.tolist() == [0.0] * 999 + [1.0]
    assert ignored.ap is None
    assert not ignored.precision.any()


def test_a_face_that_does_not_count_takes_a_detection_from_one_that_does() -> None:
    """It overlaps the counted face by 0.8, and exactly the one that does not count."""
    boxes = [faces(FACE, [0, 0, 9, 7])]
    curves = score([found([0, 0, 9, 7, 1.0])], boxes, {"easy": [np.array([True, False])]})
    assert curves[0].ap == 0.0
    assert not curves[0].precision.any()


def test_the_second_detection_of_a_face_is_wrong() -> None:
    detections = [found([*FACE, 1.0], [*FACE, 0.9], [*OTHER_FACE, 0.0])]
    curve = score_all(detections, [faces(FACE, OTHER_FACE)])
    assert curve.precision[[0, 500, 999]].tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert curve.ap == pytest.approx(1 / 2 + 1 / 2 * 2 / 3, abs=1e-12)


def test_the_best_score_finds_the_face_whatever_the_order_given() -> None:
    """The detection that is given first fits better but scores worse: it is the wrong one."""
    boxes = [faces(FACE)]
    curve = score_all([found([*FACE, 0.0], [0, 0, 9, 7, 1.0])], boxes)
    assert curve.recall[0] == 1.0
    assert curve.ap == 1.0


def test_photos_without_faces_only_stretch_the_scores() -> None:
    """Without the empty photo 0.5 would be the best score and reach the first threshold."""
    boxes = [faces(FACE), NO_BOXES]
    curve = score_all([found([*FACE, 0.5]), found([*FACE, 1.0], [*FACE, 0.0])], boxes)
    assert curve.ap == 1.0
    assert np.flatnonzero(curve.recall)[0] == 499


def test_faces_of_photos_without_detections_are_missed() -> None:
    boxes = [faces(FACE), faces(FACE, OTHER_FACE)]
    curve = score_all([found([*FACE, 0.5]), NO_DETECTIONS], boxes)
    assert curve.faces == 3
    assert curve.ap == pytest.approx(1 / 3, abs=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0, -2.0, 1e9])
def test_equal_scores_give_precision_times_recall_of_keeping_everything(value: float) -> None:
    boxes = [faces(FACE, OTHER_FACE, [200, 0, 9, 9])]
    detections = [found([*FACE, value], [*ELSEWHERE, value])]
    curve = score_all(detections, boxes)
    assert curve.ap == pytest.approx(1 / 2 * 1 / 3, abs=1e-12)
    demand_equal(Set(detections, boxes, all_of(boxes)))


@pytest.mark.parametrize(
    ("value", "first"), [(1.0, 0), (0.999, 0), (0.5, 499), (0.25, 749), (0.001, 999), (0.0, 999)]
)
def test_a_threshold_is_reached_as_its_rounding_says(value: float, first: int) -> None:
    """1 - 999/1000 is a little more than 0.001, so 0.001 does not reach it."""
    boxes = [faces(FACE), NO_BOXES]
    curve = score_all([found([*FACE, value]), found([*FACE, 0], [*FACE, 1])], boxes)
    assert np.flatnonzero(curve.recall)[0] == first


def test_scores_at_all_thresholds_and_next_to_them_score_as_the_literal_loops_say() -> None:
    exact = np.arange(1001) / 1000
    computed = np.array([1 - (index + 1) / 1000 for index in range(1000)])
    values = np.concatenate([exact, computed, np.nextafter(computed, 1), np.nextafter(exact, 1)])
    values = values[values <= 1]
    random = np.random.default_rng(5)
    rows = np.column_stack([random.integers(0, 12, (len(values), 4)), random.permutation(values)])
    boxes = [faces(FACE, [2, 2, 9, 9]), faces([4, 4, 5, 5])]
    demand_equal(Set([rows[::2].astype(float), rows[1::2].astype(float)], boxes, all_of(boxes)))


def test_thresholds_are_those_of_the_literal_loop() -> None:
    assert THRESHOLDS.tolist() == [1 - (index + 1) / 1000 for index in range(1000)]


def test_arguments_are_not_changed() -> None:
    case = crowd(1)
    before = copy.deepcopy(case)
    for arrays in (case.detections, case.boxes, *case.counted.values()):
        for array in arrays:
            array.setflags(write=False)
    score(case.detections, case.boxes, case.counted)
    for now, then in zip(case.detections, before.detections, strict=True):
        np.testing.assert_array_equal(now, then)


def test_counts_of_joined_sets_add_up() -> None:
    """Both sets hold scores 0 and 1 on a photo without faces, so that neither is stretched."""
    ends = Set([found([*FACE, 0], [*FACE, 1])], [NO_BOXES], {})
    first, second = crowd(2), crowd(3)

    def joined(*parts: Set) -> tuple[Curve, ...]:
        every = (*parts, ends)
        counted = {
            level: [mask for part in parts for mask in part.counted[level]] + [np.zeros(0, bool)]
            for level in first.counted
        }
        detections = [photo for part in every for photo in part.detections]
        return score(detections, [photo for part in every for photo in part.boxes], counted)

    for one, other, both in zip(joined(first), joined(second), joined(first, second), strict=True):
        assert both.faces == one.faces + other.faces
        recalled = [curve.recall * curve.faces for curve in (one, other, both)]
        np.testing.assert_allclose(recalled[2], recalled[0] + recalled[1], atol=1e-9)
        proposals = [
            np.divide(r, c.precision, out=np.zeros(1000), where=c.precision > 0)
            for r, c in zip(recalled, (one, other, both), strict=True)
        ]
        at_work = (one.precision > 0) & (other.precision > 0)
        assert at_work.sum() > 900
        np.testing.assert_allclose(
            proposals[2][at_work], (proposals[0] + proposals[1])[at_work], atol=1e-6
        )


@settings(max_examples=40, deadline=None)
@given(sets(), st.randoms(use_true_random=False))
def test_the_order_of_photos_and_the_unit_of_scores_do_not_matter(case: Set, random) -> None:
    photos = list(range(len(case.boxes)))
    random.shuffle(photos)
    before = score(case.detections, case.boxes, case.counted)
    after = score(
        [case.detections[photo] * [1, 1, 1, 1, 4] for photo in photos],
        [case.boxes[photo] for photo in photos],
        {level: [masks[photo] for photo in photos] for level, masks in case.counted.items()},
    )
    for one, other in zip(before, after, strict=True):
        assert one.ap == other.ap
        np.testing.assert_array_equal(one.precision, other.precision)
        np.testing.assert_array_equal(one.recall, other.recall)


@settings(max_examples=25, deadline=None)
@given(sets(), st.floats(0, 1))
def test_precision_where_nothing_is_proposed_cannot_change_the_area(
    case: Set, anything: float
) -> None:
    for curve in score(case.detections, case.boxes, case.counted):
        if curve.ap is not None:
            undefined = (curve.precision == 0) & (curve.recall == 0)
            other = np.where(undefined, anything, curve.precision)
            assert average_precision(other, curve.recall) == curve.ap


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", range(5))
def test_a_number_that_is_not_finite_is_named(value: float, column: int) -> None:
    bad = found([*FACE, 0.5], [*FACE, 0.4])
    bad[1, column] = value
    boxes = [faces(FACE)] * 2
    with pytest.raises(InputError, match=r"detections of photo 1 .*row 1: must be finite"):
        score([NO_DETECTIONS, bad], boxes, all_of(boxes))
    if column < 4:
        with pytest.raises(InputError, match=r"faces of photo 0 .*row 1: must be finite"):
            score([NO_DETECTIONS], [bad[:, :4]], all_of([bad]))


def test_scores_of_an_infinite_range_are_refused() -> None:
    with pytest.raises(InputError, match="range must be a finite number"):
        score_all([found([*FACE, 1.5e308], [*FACE, -1.5e308])], [faces(FACE)])


@pytest.mark.parametrize(
    ("detections", "boxes", "masks", "message"),
    [
        ([np.empty(0)], [faces(FACE)], [[True]], r"detections of photo 0 must .*got \(0,\)"),
        ([faces(FACE)], [faces(FACE)], [[True]], r"detections of photo 0 must .*got \(1, 4\)"),
        ([NO_DETECTIONS], [found([*FACE, 1])], [[True]], r"faces of photo 0 must .*\(1, 5\)"),
        (
            [NO_DETECTIONS] * 2,
            [faces(FACE)],
            [[True]],
            r"boxes must have as many photos .*2 \(got 1\)",
        ),
        ([NO_DETECTIONS], [faces(FACE)], [], r"counted\['all'\] must .*1 \(got 0\)"),
        ([NO_DETECTIONS], [faces(FACE)], [[1]], r"photo 0 must be one boolean .*int"),
        ([NO_DETECTIONS], [faces(FACE)], [[True, True]], r"one boolean for each of 1 faces"),
    ],
)
def test_arguments_that_do_not_fit_each_other_are_refused(
    detections: list, boxes: list, masks: list, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        score(detections, boxes, {"all": [np.array(mask) for mask in masks]})


def test_order_is_stable_and_best_first() -> None:
    scores = [0.5, 0.9, 0.5, -1.0, 0.9, 0.5]
    rows = found(*([*FACE, value] for value in scores))
    assert order(rows).tolist() == [1, 4, 0, 2, 5, 3]
    assert order(NO_DETECTIONS).tolist() == []


def test_overlap_counts_both_border_pixels() -> None:
    """10 x 10 and 10 x 5 pixels inside it: exactly one half; without the + 1 it is 36 of 81."""
    found_face, overlap = match(found([0, 0, 9, 4, 1.0]), faces(ELSEWHERE, FACE))
    assert (found_face.tolist(), overlap.tolist()) == ([1], [0.5])


def test_the_first_of_equal_overlaps_is_taken_and_a_small_one_is_none() -> None:
    detections = found([*FACE, 0.1], [0, 0, 9, 3, 0.9], [*ELSEWHERE, 0.5])
    found_face, overlap = match(detections, faces(OTHER_FACE, FACE, FACE))
    assert found_face.tolist() == [1, -1, -1]
    assert overlap.tolist() == [1.0, 0.4, 0.0]
    assert match(detections, faces(OTHER_FACE, FACE, FACE), 0.4)[0].tolist() == [1, 1, -1]


@pytest.mark.parametrize(
    ("rows", "boxes"), [(NO_DETECTIONS, faces(FACE)), (found([0] * 5), NO_BOXES)]
)
def test_nothing_is_matched_where_there_is_nothing(rows: NDArray, boxes: NDArray) -> None:
    found_face, overlap = match(rows, boxes)
    assert found_face.tolist() == [-1] * len(rows)
    assert overlap.tolist() == [0.0] * len(rows)
    assert found_face.dtype == np.intp


def test_boxes_of_negative_size_overlap_nothing_and_absurd_ones_do_not_warn() -> None:
    rows = found([9, 9, -9, -9, 1], [-1e308, 0, 1.5e308, 1e308, 1], [0, 0, -1, 9, 1])
    found_face, overlap = match(rows, faces(FACE, [9, 9, -9, -9]))
    assert found_face.tolist() == [-1, -1, -1]
    assert overlap.tolist() == [0.0, 0.0, 0.0]
    infinite = [0, 0, 1e200, 1e200]
    assert match(found([*infinite, 1]), faces(infinite))[0].tolist() == [-1]


@pytest.mark.parametrize("pairs", [1, 7, 64, 10_000])
@settings(max_examples=40, deadline=None)
@given(rows=st.lists(BOXES, max_size=30), others=st.lists(BOXES, max_size=8), data=st.data())
def test_matching_in_pieces_is_matching_pair_by_pair(
    pairs: int, rows: list, others: list, data: st.DataObject
) -> None:
    least = data.draw(st.sampled_from([0.0, 0.3, 0.5, 1.0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "PAIRS_AT_ONCE", pairs)
        found_face, overlap = match(found(*([*row, 0.5] for row in rows)), faces(*others), least)
    for row, which, amount in zip(rows, found_face, overlap, strict=True):
        every = [literal_wider.overlap(row, other) for other in others]
        best = max(every, default=0.0)
        assert amount == best
        assert which == (every.index(best) if every and best >= least else -1)


def test_the_literal_matrix_of_overlaps_is_the_literal_overlap_of_each_pair() -> None:
    random = np.random.default_rng(0)
    rows, others = random.integers(-3, 12, (40, 4)), random.uniform(-3, 12, (9, 4))
    expected = [[literal_wider.overlap(row, other) for other in others] for row in rows]
    np.testing.assert_array_equal(literal_wider.all_overlaps(rows, others), expected)
