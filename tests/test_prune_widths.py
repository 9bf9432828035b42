"""Widths of groups in a recipe: what goes, what is refused, and where it is taken from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny import Tiny
from torch import nn

from toolchain.errors import RecipeError
from toolchain.pruning.zeroing import zero_filters
from toolchain.recipe import PruneSection, default_recipe, override, parse_recipe
from toolchain.recipe.writing import as_toml
from toolchain.train.filters import check_rate
from toolchain.train.masks import choose_masks, zero_filters_of
from toolchain.workflows.pipeline import Job, run_shrink
from toolchain.zoo.sources import load_start

torch.set_num_threads(1)
EXAMPLE = torch.zeros(1, 3, 64, 64)
HEAD = '[model]\nname = "eresfd"\n'


class Chain(nn.Module):
    """Two groups: a stream that stem and end write, and what is between them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.inner = nn.Conv2d(8, 6, 3, padding=1)
        self.end = nn.Conv2d(6, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) -> (N, 2, H, W)."""
        x = self.stem(x).relu()
        out: torch.Tensor = self.head(x + self.end(self.inner(x).relu()))
        return out


def pruned(**widths: int) -> PruneSection:
    return PruneSection(protected=("head",), widths=widths)


def gone(network: nn.Module) -> dict[str, list[int]]:
    return {
        name: (module.weight.flatten(1) == 0).all(dim=1).nonzero().flatten().tolist()
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    }


def test_a_group_keeps_as_many_as_its_width_and_others_are_left_alone() -> None:
    before = Chain().eval()
    found = gone(zero_filters(before, EXAMPLE, pruned(inner=2)))
    assert {name: len(zeros) for name, zeros in found.items()} == {
        "stem": 0, "inner": 4, "end": 0, "head": 0,
    }  # fmt: skip
    alone = zero_filters(before, EXAMPLE, PruneSection(4 / 6, protected=("head", "end", "stem")))
    assert found["inner"] == gone(alone)["inner"]  # chosen as a rate chooses


def test_any_layer_of_a_group_names_it() -> None:
    by_first = gone(zero_filters(Chain().eval(), EXAMPLE, pruned(stem=5)))
    by_last = gone(zero_filters(Chain().eval(), EXAMPLE, pruned(end=5)))
    assert by_first == by_last
    assert len(by_first["stem"]) == len(by_first["end"]) == 3


def test_a_width_goes_before_the_rate() -> None:
    prune = dataclasses.replace(pruned(inner=6), rate=0.5)
    found = gone(zero_filters(Chain().eval(), EXAMPLE, prune))
    assert (len(found["inner"]), len(found["stem"])) == (0, 4)


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ({"inner": 7}, "inner has 6 filters; its width must be >= 1 and <= 6 (got 7)"),
        ({"head": 1}, "head is no layer whose filters can be removed; name a group by its first"),
        ({"nothing": 1}, "nothing is no layer"),
        ({"stem": 3, "end": 4}, "stem and end share a width, but are given 3 and 4"),
    ],
)
def test_a_width_that_fits_no_group_is_refused(widths: dict[str, int], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        zero_filters(Chain().eval(), EXAMPLE, pruned(**widths))
    assert message in str(caught.value)
    with pytest.raises(RecipeError):  # a training tells before it begins
        check_rate(Chain().eval(), EXAMPLE, pruned(**widths))


def test_filters_that_are_named_go_whatever_the_criterion_says() -> None:
    by_criterion = gone(zero_filters(Chain().eval(), EXAMPLE, pruned(inner=2, stem=6)))
    others = [index for index in range(6) if index not in by_criterion["inner"]][:2]
    named = [*others, *by_criterion["inner"][:2]]
    prune = dataclasses.replace(pruned(inner=2, stem=6), pruned_channels={"inner": tuple(named)})
    found = gone(zero_filters(Chain().eval(), EXAMPLE, prune))
    assert found == {**by_criterion, "inner": sorted(named)}
    assert (prune.chosen_by, pruned(inner=2).chosen_by) == ("outputs", "fpgm")
    masks = choose_masks(Chain().eval(), EXAMPLE, prune)
    assert zero_filters_of(Chain(), masks)["inner"] == sorted(named)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"inner": (0, 1, 2)}, "inner has 6 filters, 0 to 5, of which 4 go by its width"),
        ({"inner": (0, 1, 2, 6)}, "each once (got [0, 1, 2, 6])"),
        ({"inner": (0, 1, 1, 2)}, "each once (got [0, 1, 1, 2])"),
        ({"stem": (0,)}, "stem has 8 filters, 0 to 7, of which 0 go"),
        ({"head": (0,)}, "head is no layer whose filters can be removed"),
    ],
)
def test_filters_that_do_not_go_with_the_widths_are_refused(
    named: dict[str, tuple[int, ...]], message: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        zero_filters(
            Chain().eval(), EXAMPLE, dataclasses.replace(pruned(inner=2), pruned_channels=named)
        )
    assert message in str(caught.value)
    with pytest.raises(RecipeError):  # a training tells before it begins
        check_rate(
            Chain().eval(), EXAMPLE, PruneSection(protected=("head",), pruned_channels=named)
        )


def test_what_is_zero_already_counts() -> None:
    once = zero_filters(Chain().eval(), EXAMPLE, pruned(inner=2, stem=5))
    again = zero_filters(once, EXAMPLE, pruned(inner=2, stem=5), zeros_first=True)
    assert gone(again) == gone(once)


def test_widths_are_of_groups() -> None:
    with pytest.raises(RecipeError, match="scope must be group"):
        zero_filters(Chain(), EXAMPLE, dataclasses.replace(pruned(inner=2), scope="layer"))


def test_a_training_holds_them_at_zero() -> None:
    masks = choose_masks(Chain().eval(), EXAMPLE, pruned(inner=2, stem=6))
    held = {name: len(zeros) for name, zeros in zero_filters_of(Chain(), masks).items()}
    assert held == {"stem": 2, "inner": 4, "end": 2}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('"a.b.0" = 0', "r.toml:5: prune.widths.a.b.0 must be >= 1 and <= 65536 (got 0)"),
        ('"a.b.0" = 2.5', "r.toml:5: prune.widths.a.b.0 must be int (got 2.5)"),
    ],
)
def test_a_recipe_tells_the_line_of_a_wrong_width(line: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(f"{HEAD}[prune]\n[prune.widths]\n{line}\n", "r.toml")
    assert str(caught.value) == message


@pytest.mark.parametrize("model", ["eresfd", "extd", "mine:net"])
def test_what_is_written_reads_as_the_same_recipe(model: str) -> None:
    changes = {
        "prune.widths": {"base.conv1.0": 5, 'odd "name" 2': 1, "plain": 3},
        "prune.pruned_channels": {"base.conv1.0": [7, 2, 1], "none": []},
    }
    recipe = override(default_recipe(model), {**changes, "gate.time": {"relative": 0.5}})
    assert parse_recipe(as_toml(recipe), "again") == recipe


def test_widths_start_from_the_whole_network_that_is_shipped() -> None:
    recipe = override(default_recipe("eresfd"), {"prune.widths": {"base.conv1.0": 4}})
    loaded = load_start(recipe, None)
    assert loaded.member is not None
    assert loaded.member["rate"] == 0
    assert loaded.recipe.prune.widths == {"base.conv1.0": 4}


@pytest.mark.slow
def test_shrink_takes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_latency: None
) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    changes = {"prune.widths": {"block.0": 9}, "input.height": 40, "input.width": 40}
    recipe = override(default_recipe("tiny:Tiny"), changes)
    made = run_shrink(Job(recipe, tmp_path / "a", untrained=True, formats=("onnx",)))
    after = {layer.layer: layer.out_channels_after for layer in made.surgery.layers}
    assert after["block.0"] == after["stem.0"] == 9  # a residual stream: one group
    assert (made.rate, made.criterion) == (None, "fpgm")
    assert "a width for each group" in (tmp_path / "a" / "report.md").read_text()
    assert Tiny().stem[0].out_channels == 16
