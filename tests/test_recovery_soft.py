"""Recoveries before which filters are chosen anew, and may come back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from recoveries import EXAMPLE, go, job_of, network, pictures, weights
from torch import nn

import toolchain as tc
from toolchain.errors import CheckpointError, InputError, RecipeError
from toolchain.recipe import override
from toolchain.recovery.soft import SoftCourse
from toolchain.train.masks import Masks, zero_filters_of


def recovered(**options: Any) -> tuple[nn.Module, tc.RecoveryReport]:
    reports: list[tc.RecoveryReport] = []
    settings = {"images": pictures(64), "steps": 40, "rate": 0.3, "on_report": reports.append}
    student = tc.recover(network(), EXAMPLE, **{**settings, **options})
    return student, reports[0]


def zeros_of(student: nn.Module) -> dict[str, list[int]]:
    masks = {name: each != 0 for name, each in student.named_parameters()}
    return zero_filters_of(student, masks)


@pytest.mark.slow
def test_filters_come_back_until_the_last_choice_and_as_many_go_as_without() -> None:
    told: list[str] = []
    softly, report = recovered(soft_share=0.5, on_note=told.append)
    once, plain = recovered()
    ours, theirs = zeros_of(softly), zeros_of(once)
    assert {name: len(each) for name, each in ours.items()} == {
        name: len(each) for name, each in theirs.items()
    }
    assert report.pruned == plain.pruned
    assert report.zeroed == plain.zeroed
    assert (report.steps, report.soft_steps, report.kept_step) == (40, 20, 40)
    assert "of these, 20 first in which filters might come back" in report.notes[-1]
    assert len(told) == len(set(told))
    assert told[0].startswith("output is compared as plain numbers")
    assert report.recovered["output"] > report.pruned["output"]
    assert not tc.shrink(softly, EXAMPLE).report.kept


@pytest.mark.slow
def test_figures_of_the_pruned_network_are_of_before_the_first_step() -> None:
    def evaluate(student: nn.Module) -> dict[str, float]:
        with torch.no_grad():
            return {"mean": float(student(pictures(4)).abs().mean())}

    softly, report = recovered(soft_share=0.5, evaluate=evaluate)
    _, plain = recovered(evaluate=evaluate)
    assert report.evaluated["pruned"] == plain.evaluated["pruned"]
    assert [*report.evaluated] == ["before", "pruned", "recovered"]
    assert evaluate(softly.eval()) == pytest.approx(report.evaluated["recovered"])


@pytest.mark.slow
def test_what_was_zeroed_comes_back_between_choices_and_the_last_ones_are_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever scores filters by chance has others zeroed each time."""
    generator = torch.Generator().manual_seed(0)
    chosen: list[Masks | None] = []
    zeros: list[int] = []
    take = SoftCourse.take

    def watched(self: SoftCourse, step: int, batch: Any) -> float:
        chosen.append(self.filters.masks)
        zeros.append(sum(map(len, zeros_of(self.student).values())))
        return take(self, step, batch)

    def by_chance(filters: torch.Tensor) -> torch.Tensor:
        return torch.rand(len(filters), generator=generator)

    monkeypatch.setattr(SoftCourse, "take", watched)
    student, report = recovered(soft_share=0.5, criterion=by_chance)
    moved = [step for step in range(1, 20) if chosen[step] is not chosen[step - 1]]
    assert moved == [*range(2, 20, 2)]
    assert all(zeros[step] > zeros[step + 1] for step in (0, *moved) if step + 1 < 20)
    others = int(report.notes[-1].split(", ")[-1].split()[0])
    assert others > 0
    assert zeros_of(student)
    assert not tc.shrink(student, EXAMPLE).report.kept


@pytest.mark.slow
@pytest.mark.parametrize("stop_after", [3, 4, 6])
def test_one_that_is_taken_up_ends_bit_for_bit_the_same(
    stop_after: int, home_folder: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While filters may come back, after the last choice, and once they are held."""
    take = SoftCourse.take

    def shaken(self: SoftCourse, step: int, batch: Any) -> float:
        """Let the last choice fall on others than the first."""
        if step + 1 == self.plan.steps:
            generator = torch.Generator().manual_seed(0)
            for parameter in self.student.parameters():
                if parameter.ndim == 4:
                    noise = torch.randn(parameter.shape, generator=generator)
                    parameter.data.copy_(0.1 * noise)
        return take(self, step, batch)

    monkeypatch.setattr(SoftCourse, "take", shaken)
    whole = job_of(home_folder, photo_folder, "whole", soft_share=0.33)
    assert ", 0 are others" not in go(whole).notes[-1]
    parts = dataclasses.replace(whole, out=home_folder / "parts")
    with pytest.raises(KeyboardInterrupt):
        go(parts, stop_after=stop_after)
    assert (home_folder / "parts" / "soft" / "state.pt").exists()
    go(parts)
    ours, theirs = weights(home_folder, "parts"), weights(home_folder, "whole")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    with pytest.raises(CheckpointError, match="soft_share"):
        go(dataclasses.replace(parts, soft_share=0.5))
    (home_folder / "parts" / "soft" / "state.pt").unlink()
    with pytest.raises(CheckpointError, match="which is gone"):
        go(parts)


@pytest.mark.slow
def test_where_no_filter_can_be_chosen_anew_it_is_refused(
    home_folder: Path, photo_folder: Path
) -> None:
    job = job_of(home_folder, photo_folder, "first")
    width = {"prune.widths": {"layer1.0.conv1": 6}}
    named = {**width, "prune.pruned_channels": {"layer1.0.conv1": [1, 3]}}
    planned = dataclasses.replace(job, recipe=override(job.recipe, named), soft_share=0.3)
    with pytest.raises(RecipeError, match="names the filters that go"):
        go(planned)
    widths = override(job.recipe, width)
    go(dataclasses.replace(job, recipe=widths, soft_share=0.3))
    start = home_folder / "first" / "model.safetensors"
    more = dataclasses.replace(
        job, recipe=widths, soft_share=0.3, start=start, out=home_folder / "more"
    )
    with pytest.raises(InputError, match="are chosen for good"):
        go(more)
    for share in (-0.1, 0.99):
        with pytest.raises(RecipeError, match="soft_share must be"):
            recovered(soft_share=share)
