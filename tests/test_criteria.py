"""Which filters go first: the criteria against plain Python.

On random weights the choices are those of NNI 3.0's FPGMPruner and L1NormPruner as well; that was
compared by hand, NNI is no dependency.
"""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from literal_criteria import (
    criteria,
    percents,
    random_filters,
    sizes,
    slow_choice,
    slow_scores,
)
from torch import Tensor, nn

from toolchain.errors import InputError
from toolchain.pruning import criteria as criteria_module
from toolchain.pruning.criteria import CRITERIA, choose, fpgm_scores, l1_scores
from toolchain.recipe import Criterion
from toolchain.surgery.layers import Layer

torch.set_num_threads(1)


@given(sizes, criteria)
@settings(deadline=None)
def test_scores_are_those_of_the_papers(size: tuple[int, int, int], criterion: Criterion) -> None:
    filters = random_filters(*size)
    expected = slow_scores(filters.tolist(), criterion)
    assert CRITERIA[criterion](filters).tolist() == pytest.approx(expected, rel=1e-13, abs=1e-13)


@given(sizes, percents, criteria)
@settings(deadline=None)
def test_choice_is_that_of_the_papers(
    size: tuple[int, int, int], percent: int, criterion: Criterion
) -> None:
    filters = random_filters(*size)
    if size[0] == 2 or size[1] == 1:
        filters = (filters * 8).round()  # there filters tie in truth: compute without rounding
    expected = slow_choice(filters.tolist(), Fraction(percent, 100), criterion)
    assert choose(filters, percent / 100, criterion) == expected


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=14), percents, criteria)
@settings(deadline=None)
def test_ties_go_by_index(weights: list[int], percent: int, criterion: Criterion) -> None:
    """Whole numbers in one dimension: every sum is exact, and many are equal."""
    filters = torch.tensor(weights, dtype=torch.float32)[:, None]
    expected = slow_choice(
        [[float(weight)] for weight in weights], Fraction(percent, 100), criterion
    )
    assert choose(filters, percent / 100, criterion) == expected


def test_fpgm_by_hand() -> None:
    """Points 0, 1, 3 and 10 on a line: 14, 12, 12 and 26. A right triangle of sides 3, 4, 5."""
    line = torch.tensor([[0.0], [1], [3], [10]])
    assert fpgm_scores(line).tolist() == [14, 12, 12, 26]
    assert [choose(line, rate, "fpgm") for rate in (0.24, 0.25, 0.5, 0.75)] == [
        [],
        [1],
        [1, 2],
        [0, 1, 2],
    ]
    assert fpgm_scores(torch.tensor([[0.0, 0], [3, 0], [0, 4]])).tolist() == [7, 8, 9]


def test_l1_by_hand() -> None:
    filters = torch.tensor([[1.0, -2], [0, 0.5], [-3, 3]])
    assert l1_scores(filters).tolist() == [3, 0.5, 6]
    assert choose(filters, 0.67, "l1") == [0, 1]


@given(st.integers(1, 99), st.integers(1, 130))
@settings(deadline=None, max_examples=300)
def test_count_is_the_floor_of_the_exact_product(percent: int, n: int) -> None:
    """In floats 0.29 * 100 is 28.999999999999996; of 100 filters 29 go all the same."""
    filters = torch.arange(float(n))[:, None]
    assert choose(filters, percent / 100, "l1") == list(range(percent * n // 100))


@pytest.mark.parametrize(
    ("rate", "n", "count"),
    [
        (0.1, 10, 1),
        (0.3, 10, 3),
        (0.7, 10, 7),
        (0.29, 100, 29),
        (0.57, 100, 57),
        (0.1, 9, 0),
        (0.1, 16, 1),
        (0.5, 4, 2),
        (1 / 3, 3, 1),
    ],
)
def test_counts_that_rounding_could_get_wrong(rate: float, n: int, count: int) -> None:
    assert len(choose(random_filters(n, 4, n), rate, "fpgm")) == count


@given(sizes.filter(lambda size: size[0] >= 3), st.integers(0, 11))
@settings(deadline=None)
def test_a_sign_flip_matters_to_fpgm_alone(size: tuple[int, int, int], at: int) -> None:
    """FPGM is about distances between filters; on |w| (torch-pruning's) a flip changes nothing."""
    filters = random_filters(*size)
    flipped = filters.clone()
    flipped[at % len(filters)] *= -1
    assert not torch.equal(fpgm_scores(filters), fpgm_scores(flipped))
    assert torch.equal(l1_scores(filters), l1_scores(flipped))


def test_a_sign_flip_changes_the_choice_of_fpgm() -> None:
    near = torch.tensor([[4.0], [5], [6], [1]])
    assert choose(near, 0.5, "fpgm") == [0, 1]
    far = torch.tensor([[-4.0], [5], [6], [1]])
    assert choose(far, 0.5, "fpgm") == [1, 3]


def test_filters_that_are_zero_already_are_counted_first_if_asked() -> None:
    """FPGM alone takes the zero filter for one that is far from all others."""
    filters = torch.tensor([[5.0], [6], [0], [5.5], [-1]])
    assert choose(filters, 0.4, "fpgm") == [0, 3]
    assert choose(filters, 0.4, "fpgm", zeros_first=True) == [0, 2]
    assert choose(filters, 0.0, "fpgm", zeros_first=True) == []


def test_equal_filters_are_at_distance_zero_exactly() -> None:
    """So a filter that is there twice goes first, and the one with the lower index."""
    row = torch.full((1, 1000), 0.1)
    assert fpgm_scores(row.repeat(3, 1)).tolist() == [0, 0, 0]
    filters = random_filters(5, 9, 1)
    filters[3] = filters[1]
    scores = fpgm_scores(filters)
    assert scores[1] == scores[3]


# Large layers, criteria of one's own, transposed convolutions ------------------------------------


@given(st.integers(2, 12), st.integers(1, 12), st.integers(0, 2**31))
@settings(deadline=None)
def test_products_and_differences_give_the_same_scores(n: int, d: int, seed: int) -> None:
    filters = random_filters(n, d, seed).double()
    products = criteria_module._by_products(filters)
    assert products.tolist() == pytest.approx(fpgm_scores(filters).tolist(), rel=1e-6, abs=1e-6)


def test_products_are_taken_of_large_layers_and_equal_filters_tie(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    filters = random_filters(9, 40, 1)
    filters[[2, 7]], filters[[3, 5, 8]] = filters[4].clone(), 0.0
    expected = fpgm_scores(filters)
    monkeypatch.setattr(criteria_module, "PAIRWISE", 0)
    scores = fpgm_scores(filters)
    assert torch.allclose(scores, expected, rtol=1e-13)
    assert len({float(scores[index]) for index in (2, 4, 7)}) == 1
    assert len({float(scores[index]) for index in (3, 5, 8)}) == 1


def test_a_criterion_of_ones_own_chooses_its_smallest_first() -> None:
    filters = torch.tensor([[3.0, 0], [0, -1], [2, 2]])
    assert choose(filters, 0.67, lambda rows: -rows[:, 0]) == [0, 2]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (torch.zeros(3, 1), r"a score for each filter, shape \(3,\), .*got shape \(3, 1\)"),
        (torch.tensor([0.0, math.nan, 1]), "finite scores .got nan for filter 1."),
        ([0.0, 1.0, 2.0], "a tensor of 3 scores .got list."),
    ],
)
def test_what_a_criterion_returns_is_checked(returned: object, message: str) -> None:
    def mine(filters: Tensor) -> Tensor:
        return returned  # type: ignore[return-value]

    with pytest.raises(InputError, match=f"mine must return {message}"):
        choose(torch.ones(3, 2), 0.5, mine)


def test_zeroing_a_transposed_convolution_with_groups_takes_its_filters() -> None:
    layer = Layer("up", nn.ConvTranspose2d(4, 6, 3, groups=2))
    before = layer.filters().detach().clone()
    layer.zero([0, 4])
    assert layer.zero_filters().tolist() == [True, False, False, False, True, False]
    rest = [1, 2, 3, 5]
    assert torch.equal(layer.filters()[rest], before[rest])
    assert layer.bias is not None
    assert layer.bias[[0, 4]].tolist() == [0, 0]
