"""Branches: each starts from the same weights, and the mean of what they end in comes out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from torch import Tensor, nn
from widerface import make_wider

from toolchain.data.wider import Split, read_split
from toolchain.errors import InputError
from toolchain.models.layouts import read_checkpoint
from toolchain.models.reading import read_pickle
from toolchain.recipe import TeachSection, default_recipe, override
from toolchain.train.job import TrainingJob
from toolchain.train.soup import Soup
from toolchain.train.teaching import TeachingPlan
from toolchain.train.training import train

START = ROOT / "toolchain" / "shipped" / "eresfd-0.safetensors"


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    found = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
    found(torch.randn(4, 2, 5, 5))
    return found


def test_what_comes_out_is_the_mean() -> None:
    origin, student = network(9), network(9)
    ends = [network(seed) for seed in range(3)]
    soup = Soup()
    assert soup.state() is None
    soup.begin(student)
    for end in ends[:2]:
        student.load_state_dict(end.state_dict())
        soup.end_branch(student)
        soup.start_branch(student)
        for name, value in student.state_dict().items():
            assert torch.equal(value, origin.state_dict()[name])
    taken_up = Soup()
    taken_up.load(soup.state() or {}, "cpu")
    for each in (soup, soup, taken_up):  # asking changes nothing
        mixed = each.with_last(ends[2]).state_dict()
        for name, value in mixed.items():
            if value.is_floating_point():
                mean = torch.stack([end.state_dict()[name].double() for end in ends]).mean(0)
                assert torch.allclose(value.double(), mean, rtol=0, atol=1e-7), name
    assert int(mixed["1.num_batches_tracked"]) == 1


def test_the_learning_rate_falls_in_each_branch() -> None:
    plan = TeachingPlan.of(TeachSection(branches=3, local_share=0.2), 50, begun=False)
    assert (plan.local_steps, plan.branch_ends) == (10, (23, 36, 50))
    assert [plan.branch(step) for step in (10, 22, 23, 35, 36, 49)] == [
        (10, 23), (10, 23), (23, 36), (23, 36), (36, 50), (36, 50),
    ]  # fmt: skip
    assert TeachingPlan.of(TeachSection(), 50, begun=False).branch(49) == (20, 50)


# For real -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    root = make_wider(tmp_path_factory.mktemp("wider"), 1, train=8)
    return read_split(root, "train")


def job(out: Path, images: int, branches: int, **more: object) -> TrainingJob:
    wanted = {"prune.rate": 0.25, "crops.side": 96, "teach.batch": 2, "teach.features": 1.0}
    wanted |= {"teach.local_share_begun": 0.0, "teach.branches": branches, **more}
    recipe = override(default_recipe("eresfd"), wanted)
    cache = out.parent / "cache"
    return TrainingJob(
        recipe, out, cache, START, start=START, images=images, keep_every_seconds=0.0
    )


def run(wanted: TrainingJob, split: Split, stop_after: int | None = None) -> None:
    def on_step(phase: str, step: int, steps: int, loss: float) -> None:
        if step == stop_after:
            raise KeyboardInterrupt

    train(wanted, split, None, lambda done, total: None, on_step)


def weights(out: Path) -> dict[str, Tensor]:
    return dict(read_checkpoint(out / "model.safetensors").state)


def test_a_training_in_branches(split: Split, tmp_path: Path) -> None:
    whole = job(tmp_path / "whole", 12, 2)
    run(whole, split)
    state = read_pickle(tmp_path / "whole" / "state.pt")
    first, last = state["soup"]["mean"], state["network"]
    # The first branch is a training of its own, of as many crops.
    run(job(tmp_path / "alone", 6, 1), split)
    alone = read_pickle(tmp_path / "alone" / "state.pt")["network"]
    moved = [name for name, value in first.items() if not torch.equal(value.float(), alone[name])]
    assert moved == []
    found = weights(tmp_path / "whole")
    mean = {name: (value + last[name]) / 2 for name, value in first.items()}
    assert mean.keys() & found.keys()
    for name in mean.keys() & found.keys():
        assert torch.equal(found[name], mean[name].float()), name
    assert any(not torch.equal(found[name], last[name]) for name in mean.keys() & found.keys())
    # Stopped within a branch and between two, it ends the same.
    again = dataclasses.replace(whole, out=tmp_path / "again")
    for step in (1, 3, 5):
        with pytest.raises(KeyboardInterrupt):
            run(again, split, stop_after=step)
    run(again, split)
    resumed = weights(tmp_path / "again")
    assert all(torch.equal(value, resumed[name]) for name, value in found.items())
    run(again, split)  # all is done: the same once more
    assert all(torch.equal(value, resumed[name]) for name, value in weights(again.out).items())


def test_branches_choose_no_filters_of_their_own(split: Split, tmp_path: Path) -> None:
    soft = job(tmp_path / "soft", 12, 2, **{"teach.soft_share": 0.5})
    with pytest.raises(InputError, match=r"teach\.branches and teach\.soft_share"):
        run(soft, split)
