"""A detector with anchors is looked at level by level: coarse ones count as the finest does."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from toolchain.models.registry import build
from toolchain.recipe import default_recipe
from toolchain.recovery.cells import cell_weights, weighed
from toolchain.recovery.levels import balanced, in_levels, joined, strides_of, told_by_level
from toolchain.recovery.outputs import outputs_of

STRIDES = (4, 8, 16, 32, 64, 128)


def test_levels_are_given_one_by_one_and_are_all_there_is() -> None:
    """At a size that no stride divides; afterwards the network gives what it gave."""
    network = build("eresfd", 0).eval()
    image = torch.randn(1, 3, 70, 133)
    with torch.no_grad():
        whole_cells = network(image)
        with in_levels([network, network], STRIDES):
            levels = network(image)
        after = network(image)
    assert [*levels] == [f"output_{part}_stride_{stride}" for part in (0, 1) for stride in STRIDES]
    for part, whole in enumerate(whole_cells):
        found = [levels[f"output_{part}_stride_{stride}"] for stride in STRIDES]
        assert [each.shape[1] for each in found] == [18 * 34, 9 * 17, 5 * 9, 3 * 5, 2 * 3, 1 * 2]
        assert torch.equal(torch.cat(found, dim=1), whole)
        assert torch.equal(after[part], whole)


class Several(nn.Module):
    """Gives boxes of all cells, something of the whole image, and a map."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.zeros(1, 64 + 16, 4), torch.zeros(1, 3), image


def test_outputs_that_are_not_of_all_cells_stay_as_they_are() -> None:
    network = Several()
    with in_levels([network], (4, 8)):
        given = network(torch.zeros(1, 3, 32, 32))
    assert {name: tuple(tensor.shape) for name, tensor in given.items()} == {
        "output_0_stride_4": (1, 64, 4),
        "output_0_stride_8": (1, 16, 4),
        "output_1": (1, 3),
        "output_2": (1, 3, 32, 32),
    }


def test_without_anchors_nothing_is_cut() -> None:
    network = Several()
    with in_levels([network], strides_of(default_recipe("yunet"))):
        assert isinstance(network(torch.zeros(1, 3, 32, 32)), tuple)
    assert strides_of(default_recipe("extd")) == STRIDES


def test_nothing_stays_on_the_network_whatever_happens() -> None:
    network = Several()
    with pytest.raises(KeyboardInterrupt), in_levels([network], (4, 8)):
        raise KeyboardInterrupt
    assert isinstance(network(torch.zeros(1, 3, 32, 32)), tuple)
    assert isinstance(copy.deepcopy(network)(torch.zeros(1, 3, 32, 32)), tuple)


@pytest.mark.parametrize("key", ["1", "output_1"])
def test_what_is_told_of_an_output_is_told_of_its_levels(key: str) -> None:
    levels = ["output_1_stride_4", "output_1_stride_8"]
    names = ["output_0_stride_4", "output_0_stride_8", *levels, "output_2"]
    assert told_by_level({key: "logits"}, names) == dict.fromkeys(levels, "logits")
    assert told_by_level({"2": "boxes"}, names) == {"output_2": "boxes"}
    assert told_by_level({key: "logits"}, ["output_0", "output_1"]) == {key: "logits"}


def scores(faces: int, cells: int) -> torch.Tensor:
    """(1, cells, 2): background and face, of which the first few are found."""
    found = torch.tensor([3.0, 0.0]).repeat(1, cells, 1)
    found[:, :faces] = torch.tensor([0.0, 3.0])
    return found


@pytest.mark.parametrize(
    ("faces", "weights"), [((3, 1), (1.25, 0.75)), ((4, 0), (1.5, 0.5)), ((0, 0), (1, 1))]
)
def test_a_level_counts_half_by_what_is_found_there_and_half_evenly(
    faces: tuple[int, int], weights: tuple[float, float]
) -> None:
    fine, coarse = (scores(count, cells) for count, cells in zip(faces, (64, 16), strict=True))
    given = {
        "output_0_stride_4": torch.randn(1, 64, 4),
        "output_0_stride_8": torch.randn(1, 16, 4),
        "output_1_stride_4": fine,
        "output_1_stride_8": coarse,
        "output_2": torch.randn(1, 3),
    }
    told = {"output_1_stride_4": "logits", "output_1_stride_8": "logits"}
    outputs = balanced(outputs_of([given, given], told, []), [given, given])
    assert [output.weight for output in outputs] == pytest.approx([*weights, *weights, 1])


@pytest.mark.parametrize("sure", [3.0, -3.0])
def test_boxes_count_where_something_is_seen_at_levels_that_are_never_sure_as_well(
    sure: float,
) -> None:
    """At the coarsest no score comes to a half; another level's do, or none does."""
    fine, coarse = scores(3, 64), scores(1, 16)
    fine[:, :3] = torch.tensor([0.0, sure])
    coarse[:, 0] = torch.tensor([1.0, 0.0])
    given = {
        "output_0_stride_4": torch.randn(1, 64, 4),
        "output_0_stride_8": torch.randn(1, 16, 4),
        "output_1_stride_4": fine,
        "output_1_stride_8": coarse,
    }
    told = {"output_1_stride_4": "logits", "output_1_stride_8": "logits"}
    outputs = weighed(outputs_of([given, given], told, []), [given, given], joined)
    weights = cell_weights(outputs, [*given.values()])
    assert weights[2:] == [None, None]
    assert (weights[1] is None) == (weights[0] is None) == (sure < 0)
    if (weight := weights[1]) is not None:
        assert int(weight.flatten().argmax()) == 0
        assert float(weight.flatten()[0]) > 20 * float(weight.flatten()[1])
