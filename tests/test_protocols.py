"""The protocols: which scales are looked at, what is kept, and how boxes are voted on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from toolchain.detection.protocols import PROTOCOLS, detections, enlarging_scales, vote
from toolchain.records.accuracy import Protocol

Box = tuple[float, float, float, float]


class Scripted:
    """A finder that notes how it was called and finds what it was told, in photo pixels."""

    def __init__(self, *rows: tuple[float, ...]) -> None:
        self.rows = np.array(rows, np.float64).reshape(-1, 5)
        self.scales: list[float] = []

    def __call__(
        self, image: NDArray[np.uint8], scale: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        self.scales.append(scale)
        return self.rows[:, :4].copy(), self.rows[:, 4].copy()


def photo(height: int, width: int) -> NDArray[np.uint8]:
    return np.zeros((height, width, 3), np.uint8)


def test_single_looks_once_at_the_original_size() -> None:
    finder = Scripted((10, 20, 40, 60, 0.9))
    found = detections(finder, photo(100, 200), PROTOCOLS["single"])
    assert finder.scales == [1.0]
    np.testing.assert_array_equal(found, [[10, 20, 30, 40, 0.9]])


@pytest.mark.parametrize(("side", "scale"), [(100, 0.5), (200, 1.0), (400, 1.0)])
def test_single_shrinks_only_what_is_longer_than_the_limit(side: int, scale: float) -> None:
    finder = Scripted()
    protocol = Protocol("single", 0.02, 5000, 0.3, 750, max_side=side)
    assert detections(finder, photo(100, 200), protocol).shape == (0, 5)
    assert finder.scales == [scale]


@pytest.mark.parametrize(
    ("height", "width", "scales"),
    [
        # 2,040,000 pixels are the largest; the square root of the quotient is the largest scale.
        (1200, 1700, [1, 1, 0.5, 0.75]),
        (600, 850, [1, 1, 0.5, 2]),
        (300, 425, [1, 1, 0.5, 2, 4]),
        (240, 340, [1, 1, 0.5, 2, 4, 5]),
        (2400, 3400, [0.5, 0.5, 0.25, 0.375]),
        (1600, 2040, [0.790569, 0.790569, 0.5, 0.645285]),
    ],
)
def test_the_paper_protocol_looks_at_these_scales(
    height: int, width: int, scales: list[float]
) -> None:
    finder = Scripted()
    detections(finder, photo(height, width), PROTOCOLS["paper"])
    assert finder.scales == pytest.approx(scales, abs=1e-6)


def test_enlarging_doubles_until_the_largest() -> None:
    assert enlarging_scales(1.5) == [1.5]
    assert enlarging_scales(2.0) == [2.0]
    assert enlarging_scales(9.0) == [2.0, 4.0, 8.0, 9.0]


def test_a_mirrored_pass_is_mirrored_back() -> None:
    """The same box found in both passes must vote with itself, so it must lie in the middle."""
    middle = (90.0, 10.0, 110.0, 30.0, 0.8)  # of 200 pixels
    found = detections(Scripted(middle), photo(100, 200), PROTOCOLS["paper"])
    np.testing.assert_allclose(found, [[90, 10, 21, 21, 0.8]])
    aside = (10.0, 10.0, 30.0, 30.0, 0.8)
    found = detections(Scripted(aside), photo(100, 200), PROTOCOLS["paper"])
    # Seen directly in the first and the enlarged passes; the mirrored one is alone and dropped.
    np.testing.assert_allclose(found, [[10, 10, 21, 21, 0.8]])


def test_small_boxes_of_the_half_size_and_large_ones_of_the_enlarged_passes_are_dropped() -> None:
    """A box of 130 pixels is seen by passes 1 to 3, one of 30 by 1, 2 and the enlarged."""
    large, small = (35.0, 35.0, 165.0, 165.0, 0.5), (86.0, 86.0, 115.0, 115.0, 0.5)

    def votes(row: tuple[float, ...]) -> int:
        from toolchain.detection import protocols

        finder = Scripted(row)
        return sum(len(rows) for rows in protocols._paper_passes(finder, photo(200, 200)))

    assert votes(large) == 3
    assert votes(small) == 2 + len(enlarging_scales(math.sqrt(2_040_000 / 40_000)))


def test_a_box_that_none_supports_is_dropped() -> None:
    rows = np.array([[0, 0, 10, 10, 0.9], [50, 50, 60, 60, 0.8], [50, 50, 60, 60, 0.4]], float)
    np.testing.assert_allclose(vote(rows), [[50, 50, 60, 60, 0.8]])


def test_the_voted_box_is_the_mean_weighted_by_score() -> None:
    rows = np.array([[0, 0, 10, 10, 0.9], [2, 2, 12, 12, 0.3]], float)
    np.testing.assert_allclose(vote(rows), [[0.5, 0.5, 10.5, 10.5, 0.9]])


def literal_vote(rows: list[list[float]]) -> list[list[float]]:
    """The rule in plain words and loops, independent of the code under test."""
    waiting = sorted(range(len(rows)), key=lambda i: (rows[i][4], i), reverse=True)
    result = []
    while waiting:
        best = rows[waiting[0]]
        group, others = [waiting[0]], []
        for i in waiting[1:]:
            row = rows[i]
            width = min(best[2], row[2]) - max(best[0], row[0]) + 1
            height = min(best[3], row[3]) - max(best[1], row[1]) + 1
            shared = max(0.0, width) * max(0.0, height)
            areas = [(r[2] - r[0] + 1) * (r[3] - r[1] + 1) for r in (best, row)]
            (group if shared / (sum(areas) - shared) >= 0.3 else others).append(i)
        waiting = others
        if len(group) > 1:
            total = sum(rows[i][4] for i in group)
            mean = [sum(rows[i][k] * rows[i][4] for i in group) / total for k in range(4)]
            result.append([*mean, best[4]])
    return result


coordinate = st.integers(0, 12).map(float)
boxes = st.lists(
    st.tuples(coordinate, coordinate, coordinate, coordinate, st.integers(1, 20)).map(
        lambda t: [t[0], t[1], t[0] + t[2], t[1] + t[3], t[4] / 20]
    ),
    max_size=14,
)


@given(boxes)
def test_voting_equals_the_literal_rule(rows: list[list[float]]) -> None:
    expected = np.array(literal_vote(rows)).reshape(-1, 5)
    np.testing.assert_allclose(vote(np.array(rows).reshape(-1, 5)), expected, atol=1e-9)
