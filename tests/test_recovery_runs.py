"""Recoveries in Python, from beginning to end."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from recoveries import EXAMPLE, network, pictures
from torch import Tensor, nn

import toolchain as tc
from toolchain.errors import InputError, RecipeError


def recovered(**options: Any) -> tuple[nn.Module, tc.RecoveryReport]:
    reports: list[tc.RecoveryReport] = []
    settings = {"images": pictures(96), "steps": 24, "rate": 0.3, "on_report": reports.append}
    student = tc.recover(network(), EXAMPLE, **{**settings, **options})
    return student, reports[0]


@pytest.mark.slow
def test_a_pruned_network_comes_nearer_to_what_it_was_and_can_be_shrunk() -> None:
    given = network()
    before = copy.deepcopy(given.state_dict())
    reports: list[tc.RecoveryReport] = []
    notes: list[str] = []
    student = tc.recover(
        given,
        EXAMPLE,
        images=pictures(96),
        steps=24,
        rate=0.3,
        on_report=reports.append,
        on_note=notes.append,
    )
    (report,) = reports
    assert report.recovered["output"] > max(report.solved["output"], report.pruned["output"])
    assert notes[0].startswith("output is compared as plain numbers; ")
    assert notes[1].startswith("layers solved in closed form: output ")
    assert all(torch.equal(given.state_dict()[name], value) for name, value in before.items())
    assert student.training
    assert given.training
    assert all(parameter.requires_grad for parameter in student.parameters())
    small = tc.shrink(student, EXAMPLE)
    assert not small.report.kept
    assert "24 steps" in str(report)


@pytest.mark.slow
def test_the_users_loss_and_evaluation_count_and_the_best_is_kept() -> None:
    seen: list[int] = []

    def loss(outputs: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
        seen.append(len(batch[1]))
        return nn.functional.cross_entropy(outputs, batch[1])

    figures = iter([0.9, 0.1, 0.2, 0.5, *[0.3] * 100])
    asked: list[Tensor] = []

    def evaluate(student: nn.Module) -> Mapping[str, float]:
        assert not student.training
        asked.append(student.get_parameter("fc.weight").detach().clone())
        return {"accuracy": next(figures)}

    labelled = [(each, torch.arange(8) % 3) for each in pictures(64).split(8)]
    student, report = recovered(images=labelled, loss=loss, evaluate=evaluate, steps=20)
    assert seen == [8] * 14  # end to end alone
    assert report.evaluated["before"] == {"accuracy": 0.9}
    assert report.kept_step < 20
    assert torch.equal(student.get_parameter("fc.weight"), asked[3])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate": 0.99}, "too few to learn through"),
        ({"rate": 0.0}, "nothing is to be pruned"),
        ({"steps": 0}, "steps must be"),
        ({"minutes": 0}, "minutes must be"),
        (
            {"minutes": 1e-6, "steps": None},
            "minutes are too few: all but the steps takes",
        ),
        ({"outputs": {"0": "boxs"}}, "must be one of"),
        ({"blocks": ["layr1"]}, "no module's name matches"),
        ({"blocks": "layer1"}, "must be a list"),
        ({"blocks": []}, "must be a list"),
        ({"minutes": "3"}, "minutes must be"),
        ({"loss": lambda outputs, batch: outputs.sum() * math.nan}, "must return a finite number"),
        ({"evaluate": lambda network: None}, "must return a dict of figures"),
        ({"evaluate": lambda network: {"accuracy": "high"}}, "must return a dict of figures"),
        ({"evaluate": lambda network: {"accuracy": math.nan}}, "must return a dict of figures"),
    ],
)
@pytest.mark.slow
def test_what_cannot_be_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises((RecipeError, InputError), match=words):
        recovered(**options)
