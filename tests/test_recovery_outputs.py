"""What a network gives: kinds of outputs, how far two are apart, and how well they agree."""

from __future__ import annotations

import math

import pytest
import torch
from teaching import images
from torch import Tensor, nn

from toolchain.errors import RecipeError
from toolchain.recovery.agreement import agreement, by_class
from toolchain.recovery.outputs import Output, outputs_of, seen_kinds

EXAMPLE = torch.zeros(1, 3, 16, 16)


class Gives(nn.Module):
    """Gives one output of each kind that can be seen, moved about."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        classes = x.flatten(2).softmax(dim=1).permute(0, 2, 1)
        scores = torch.cat([x[:, :1].sigmoid().flatten(1), x[:, 1:].sigmoid().flatten(1)], dim=1)
        return {"classes": classes, "scores": scores, "doubled": 2 * x.sigmoid(), "plain": x}


def test_what_a_softmax_or_a_sigmoid_gave_is_seen() -> None:
    network = Gives()
    kinds = seen_kinds(network, EXAMPLE)
    assert kinds == ["probabilities", "scores", "values", "values"]
    given = [network(images(4)) for _ in range(2)]
    outputs = outputs_of(given, {"3": "boxes", "scores": "values"}, kinds)
    assert [output.kind for output in outputs] == ["probabilities", "values", "values", "boxes"]
    assert outputs[0].dim == 2


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"clases": "logits"}, "gives no 'clases'.*classes"),
        ({"0": "logit"}, "must be one of"),
        (["logits"], "must be a dict, such as"),
        ({7: "logits"}, "gives no '7'"),
    ],
)
def test_outputs_that_there_are_not_are_refused(told: dict[str, str], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        outputs_of([Gives()(images(4))], told, [])


def test_distances_are_shares_of_what_the_teacher_varies() -> None:
    theirs = torch.tensor([[0.0, 10.0], [2.0, 30.0]])
    values = Output("x", "values", 1, torch.tensor([1.0, 100.0]), torch.zeros(1, 2))
    assert float(values.distance(theirs + torch.tensor([1.0, 10.0]), theirs)) == pytest.approx(1.0)
    boxes = Output("x", "boxes", 1, torch.tensor([1.0, 100.0]), torch.zeros(1, 2))
    far = theirs + torch.tensor([100.0, 0.0])  # smooth L1 of 100 deviations: 99.5
    assert float(boxes.distance(far, theirs)) == pytest.approx(2 * 99.5 / 2)
    ours, wanted = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3.0), 0.0]])
    (logits,) = outputs_of([torch.tensor([[9.0, 0.0], [0.0, 9.0]])], {"0": "logits"}, [])
    divergence = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    squares = (math.log(3.0) ** 2 / 2) / (math.log(3.0) ** 2 / 4)
    expected = (divergence / float(logits.spread) + squares) / 2
    assert float(logits.distance(ours, wanted)) == pytest.approx(expected, rel=1e-4)
    assert float(logits.spread) == pytest.approx(math.log(2), rel=0.01)


def test_agreement_is_one_for_the_same_and_nought_for_the_mean() -> None:
    theirs = [torch.tensor([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]])]
    outputs = outputs_of(theirs, {"0": "logits"}, [])
    assert agreement(outputs, theirs, theirs) == {"output": 1.0, "output same class": 1.0}
    plain_outputs = outputs_of(theirs, {}, [])
    assert agreement(plain_outputs, [torch.ones(3, 3)], theirs) == {"output": 0.0}


def test_agreement_on_a_single_image_is_a_share_of_what_others_vary() -> None:
    """By the mean of other images: one has no mean of its own to be told from."""
    theirs = [torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0]])]  # of mean 2
    (output,) = outputs_of(theirs, {}, [])
    assert agreement([output], [torch.tensor([[3.0]])], [torch.tensor([[4.0]])]) == {"output": 0.75}


def test_agreement_where_images_differ_in_size_is_about_the_mean_of_channels() -> None:
    theirs = [torch.full((1, 1, 2, 2), 1.0), torch.full((1, 1, 2, 3), 3.0)]  # of mean 2
    (output,) = outputs_of(theirs, {}, [])
    ours = [torch.full((1, 1, 2, 2), 1.5), torch.full((1, 1, 2, 3), 3.5)]
    assert agreement([output], ours, theirs) == {"output": 0.75}


def test_agreement_by_class_is_of_where_the_teacher_finds_it() -> None:
    one = torch.eye(3)
    theirs = [one[[0, 0, 0, 1]]]
    outputs = outputs_of(theirs, {"0": "logits"}, [])
    found = by_class(outputs, [one[[0, 0, 2, 2]]], theirs)
    assert found == {"output": {0: (3, pytest.approx(2 / 3)), 1: (1, 0.0)}}
    assert by_class(outputs_of(theirs, {}, []), theirs, theirs) == {}


def test_agreement_of_yes_and_no_counts_what_any_says_yes_to() -> None:
    theirs = [torch.tensor([[0.9, 0.8, 0.1, 0.1]])]
    outputs = outputs_of([torch.rand(4, 4), *theirs], {"0": "scores"}, [])
    found = agreement(outputs, [torch.tensor([[0.9, 0.2, 0.7, 0.6]])], theirs)
    assert found["output same yes"] == 0.4  # 2 of 1 in both, over 3 and 2
    none = agreement(outputs, [torch.zeros(1, 4)], [torch.zeros(1, 4)])
    assert "output same yes" not in none


# Batches ----------------------------------------------------------------------------------------
