"""Constants that stand for others: maps in short, who carries, and by what combination."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from toolchain.surgery.constants import Combination, broken, plan_removal
from toolchain.surgery.packing import Vector, pack
from toolchain.surgery.readers import PackedReader, Reader

INSIDE, BORDER = 1_000, 40


def uneven(inside: float, border: float, corner: float) -> Vector:
    """A map as padding makes it: one value inside, others at the border and in four corners."""
    return np.array([inside] * INSIDE + [border] * BORDER + [corner] * 4)


def reader(maps: dict[int, Vector], *, uniform: bool = False, **fixed: Vector) -> PackedReader:
    """A reader whose channel ``n`` is of class ``n + 100``."""
    return PackedReader.of(
        Reader(
            "reader",
            uniform,
            maps=maps,
            classes={channel: channel + 100 for channel in maps},
            fixed={int(name[1:]): vector for name, vector in fixed.items()},
        )
    )


def test_positions_that_repeat_are_counted_and_sums_stay() -> None:
    maps = [uneven(1.0, 2.0, 3.0), uneven(-0.5, 0.25, 0.25)]
    packed = pack(maps)
    assert sorted(packed.counts) == [4, BORDER, INSIDE]
    expected = [[a @ b for b in maps] for a in maps]
    assert np.allclose(packed.weighted @ packed.weighted.T, expected, rtol=1e-14)


def test_positions_that_differ_by_the_last_bit_stay_apart() -> None:
    near = np.array([1.0, 1.0, np.nextafter(1.0, 2.0)])
    assert sorted(pack([near]).counts) == [1, 2]


def test_zero_is_zero_whatever_its_sign() -> None:
    packed = pack([np.array([0.0, -0.0, 0.0])])
    assert packed.counts.tolist() == [3]


def test_no_maps_and_maps_without_positions_are_packed_to_nothing() -> None:
    assert pack([]).values.shape == (0, 0)
    assert pack([np.zeros(0), np.zeros(0)]).values.shape == (2, 0)


def test_the_largest_of_proportional_constants_carries_the_others() -> None:
    shape = uneven(1.0, 0.5, 0.25)
    plan = plan_removal([reader({0: shape, 1: -4 * shape, 2: 2 * shape})])
    assert plan.carriers == {101}
    found = plan.combinations["reader"]
    assert found.keys() == {0, 2}
    assert found[0].alphas == {1: pytest.approx(-0.25)}
    assert found[2].alphas == {1: pytest.approx(-0.5)}


def test_what_carries_is_small_in_no_reader() -> None:
    """Class 100 is the largest in one reader, and would be multiplied by 1,000 in the other."""
    shape = uneven(1.0, 0.5, 0.25)
    readers = [
        reader({0: 90 * shape, 1: 60 * shape}),
        dataclasses.replace(reader({0: 0.001 * shape, 1: shape}), name="other"),
    ]
    plan = plan_removal(readers)
    assert plan.carriers == {101}
    assert plan.combinations["reader"][0].alphas == {1: pytest.approx(1.5)}
    assert plan.combinations["other"][0].alphas == {1: pytest.approx(0.001)}


def test_two_carriers_span_three_maps_whatever_their_positions_number() -> None:
    a, b = uneven(1.0, 0.0, 0.0), uneven(0.0, 3.0, 0.0)
    plan = plan_removal([reader({0: a, 1: b, 2: a + b})])
    assert len(plan.carriers) == 2
    for channel, combination in plan.combinations["reader"].items():
        maps = {0: a, 1: b, 2: a + b}
        made = sum(alpha * maps[each] for each, alpha in combination.alphas.items())
        assert np.allclose(made, maps[channel], atol=1e-14)


def test_uniform_constants_go_into_a_bias_that_takes_them() -> None:
    maps = {0: uneven(0.1, 0.1, 0.1), 1: uneven(0.0, 0.0, 0.0)}
    plan = plan_removal([reader(maps, uniform=True)])
    assert not plan.carriers
    assert plan.combinations["reader"] == {0: Combination(0.1, {}), 1: Combination(0.0, {})}


def test_what_stays_anyway_carries_at_no_cost() -> None:
    shape = uneven(1.0, 0.5, 0.25)
    plan = plan_removal([reader({0: 3 * shape}, c7=shape)])
    assert not plan.carriers
    assert plan.combinations["reader"][0].alphas == {7: pytest.approx(3.0)}


def test_a_class_is_carried_where_one_of_its_readers_needs_it() -> None:
    shape, other = uneven(1.0, 0.5, 0.25), uneven(1.0, 1.0, 0.0)
    first = reader({0: shape, 1: 2 * shape})
    second = PackedReader.of(Reader("second", False, maps={5: other}, classes={5: 100}))
    plan = plan_removal([first, second])
    assert 100 in plan.carriers
    assert 5 not in plan.combinations["second"]


def test_classes_that_are_kept_carry_first() -> None:
    shape = uneven(1.0, 0.5, 0.25)
    plan = plan_removal([reader({0: shape, 1: 4 * shape})], kept={100, 999})
    assert plan.carriers == {100}
    assert plan.combinations["reader"][1].alphas == {0: pytest.approx(4.0)}


def test_a_combination_that_fails_at_another_size_is_found() -> None:
    shape = uneven(1.0, 0.5, 0.25)
    given = reader({0: shape, 1: 2 * shape, 2: 3 * shape})
    combinations = plan_removal([given]).combinations["reader"]
    assert combinations.keys() == {0, 1}
    holds = {0: shape[:500], 1: 2 * shape[:500], 2: 3 * shape[:500]}
    assert not broken(given, combinations, holds)
    assert broken(given, combinations, holds | {1: 2.001 * shape[:500]}) == {101}
    assert broken(given, combinations, {0: holds[0], 2: holds[2]}) == {101}
    assert broken(given, combinations, {}) == {100, 101}
