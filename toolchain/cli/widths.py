"""What the commands ``cost`` and ``plan`` share: their options, and a network on a board."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from toolchain.cli.app import messages

if TYPE_CHECKING:
    from toolchain.models.choosing import Choice
    from toolchain.recipe import Recipe
    from toolchain.records.cost_tables import CostReport
    from toolchain.widths.costs import CostModel
    from toolchain.widths.looking import Board
    from toolchain.zoo.sources import Loaded

Model = Annotated[str, typer.Argument(help="eresfd, extd, yunet, or module:factory for your own.")]
OnBoard = Annotated[str, typer.Option("--target", help="A board with 64 bits.")]
Weights = Annotated[
    Path | None, typer.Option("--ckpt", help="Weights; without, the unpruned that are shipped.")
]
Every = Annotated[
    int, typer.Option(min=1, max=4096, help="Measure every so many widths; for wide networks.")
]
Runtime = Annotated[
    Literal["ncnn", "onnxruntime", "litert"] | None,
    typer.Option(help="Whose costs; without, the fastest that the board has: ncnn, if it can be."),
]
OwnRecipe = Annotated[Path | None, typer.Option(help="A recipe instead of the shipped one.")]


def unpruned(recipe: Recipe) -> Recipe:
    """Return the recipe of the whole network: costs are measured of that, plans made from it."""
    from toolchain.recipe import override

    return override(
        recipe,
        {
            "prune.rate": None,
            "prune.widths": {},
            "prune.pruned_channels": {},
            "prune.scope": "group",
        },
    )


def measured(
    load: Callable[[], Loaded],
    target: tuple[str, Path | None],
    runtime: str | None,
    cache: Path,
    every: int,
    on_stage: Callable[[str], None],
) -> tuple[Board, Loaded, CostReport, CostModel]:
    """Return the board, the network, what its widths cost there, and what tells of others."""
    from toolchain.arm.sysroot import prepare
    from toolchain.arm.targets import find_target

    found = find_target(*target)  # before what takes seconds to load

    from toolchain.widths.looking import Board, choose_runtime, measure_report, open_costs

    sysroot = prepare(found, cache, on_stage)
    kind = choose_runtime(runtime, found, sysroot)
    loaded = load()
    board = Board(found, sysroot, cache, kind)
    costs = open_costs(loaded, board, on_stage)
    return board, loaded, measure_report(loaded, costs, board, every, on_stage), costs


def load(recipe: Recipe, ckpt: Path | None, choice: Choice) -> Loaded:
    """Return the network with its weights; print what is to be known of them."""
    from toolchain.zoo.sources import load_start

    loaded = load_start(recipe, ckpt, choice=choice)
    for note in loaded.notes:
        messages.print(note, markup=False)
    return loaded
