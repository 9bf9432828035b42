"""The command ``plan``: the widths that meet a budget and lose least."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from toolchain.cli import asking
from toolchain.cli.app import Json, app, stage_progress, table_console
from toolchain.cli.feeding import need_size
from toolchain.cli.options.boards import CACHE, ArmCache, OwnTargets
from toolchain.cli.options.budgets import Budget
from toolchain.cli.options.computing import PHOTOS
from toolchain.cli.options.grouping import grouped
from toolchain.cli.options.inputs import Pixels, Size
from toolchain.cli.options.pruning import Align
from toolchain.cli.options.weights import Chosen
from toolchain.cli.recipes import recipe_for
from toolchain.cli.streams import print_json_text
from toolchain.cli.widths import (
    Every,
    Model,
    OnBoard,
    OwnRecipe,
    Runtime,
    Weights,
    load,
    measured,
    unpruned,
)
from toolchain.cli.writing import write_all
from toolchain.errors import InputError
from toolchain.system.files import as_json as as_json_bytes

if TYPE_CHECKING:
    from toolchain.data.wider import Split
    from toolchain.records.cost_tables import WidthPlan
    from toolchain.widths.looking import Look
    from toolchain.workflows.plans import Wish
    from toolchain.zoo.sources import Loaded


@app.command(
    epilog="Examples:  [bold]toolchain plan eresfd --target rpi4 --latency 0.6[/]   |   "
    "[bold]toolchain plan eresfd --ckpt mine.pth --instructions 40M[/]   |   "
    "[bold]toolchain plan eresfd --parameters 52k --data WIDER[/]   and then   "
    "[bold]toolchain train eresfd --recipe out/plan/eresfd-rpi4/plan.toml ...[/]"
)
@grouped
def plan(
    model: Model,
    chosen: Chosen,
    pixels: Pixels,
    budget: Budget,
    target: OnBoard = "rpi4",
    runtime: Runtime = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Of every group, in place of a budget; only filters are chosen."
        ),
    ] = None,
    criterion: Annotated[
        Literal["outputs", "fpgm", "l1"],
        typer.Option(help="Which filters go first: by what outputs lose, or by their weights."),
    ] = "outputs",
    size: Size = None,
    ckpt: Weights = None,
    every: Every = 1,
    align: Align = None,
    least: Annotated[
        float, typer.Option(min=0, max=1, help="Share of its filters that every group keeps.")
    ] = 0.25,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Folder of photos to see on what widths lose; without, random shapes."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="WIDER FACE, in place of --calibration: crops that show faces of all sizes."
        ),
    ] = None,
    recipe: OwnRecipe = None,
    targets_file: OwnTargets = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder; out/plan/MODEL-TARGET, -parameters, -macs or -rate-R."),
    ] = None,
    cache: ArmCache = CACHE,
    as_json: Json = False,
) -> None:
    """Choose the widths that meet a budget and lose least; shrink by them, and measure that."""
    wanted = budget.within(rate)
    recipe_for(model, recipe, {}, size)
    asking.need_module(model)
    asking.need_checkpoint(ckpt)
    asking.need_folder(calibration, "a folder of photos")
    asking.need_room(out)

    from toolchain.data.wider import read_split
    from toolchain.report.costs.cost_tables import plan_document
    from toolchain.report.document.html import html
    from toolchain.workflows.plans import Wish, plan_by_count, plan_by_rate, plan_on_board

    if data is not None and calibration is not None:
        raise InputError("--data and --calibration: widths are looked at on one of them; give one")
    split = read_split(data, "train") if data is not None else None
    of_weights: dict[str, object] = {} if criterion == "outputs" else {"criterion": criterion}
    whole = pixels.fed(unpruned(recipe_for(model, recipe, of_weights, size)))
    need_size(model, whole, recipe, size)
    choice = chosen.choice
    read = partial(load, whole, ckpt, choice)
    on_board = wanted.counted is None and wanted.rate is None
    kind = target if on_board else (wanted.counted or f"rate-{wanted.rate:g}").lower()
    place = out or Path("out") / "plan" / f"{model.replace(':', '-')}-{kind}"
    command = shlex.join(["toolchain", *sys.argv[1:]])

    with stage_progress() as on_stage:

        def wish(loaded: Loaded) -> Wish:
            look = _look(loaded, split, calibration, on_stage)
            return Wish(
                loaded, ckpt, choice, wanted, criterion, least, every, look, align or 1, place,
                command,
            )  # fmt: skip

        if on_board:
            board, loaded, report, costs = measured(
                read, (target, targets_file), runtime, cache, every, on_stage
            )
            made = plan_on_board(wish(loaded), costs, report, board, on_stage)
        else:
            plan_simply = plan_by_count if wanted.rate is None else plan_by_rate
            made = plan_simply(wish(read()), on_stage)
    content = as_json_bytes(dataclasses.asdict(made) | {"prediction_error": made.error})
    write_all(place, {"plan.json": content, "plan.html": html(plan_document(made)).encode()})
    if as_json:
        print_json_text(content.decode())
    else:
        _print_plan(made, place)


def _look(
    loaded: Loaded, split: Split | None, calibration: Path | None, on_stage: Callable[[str], None]
) -> Look:
    from toolchain.widths.looking import look_at_faces, read_look

    if split is None:
        return read_look(calibration, loaded)
    on_stage("read photos")
    return look_at_faces(split, loaded, PHOTOS)


def _next(model: str) -> str:
    """Return what takes a plan on: a training from faces, or else learning from photos."""
    from toolchain.models.detector import find

    found = find(model)
    if found is not None and found.blocks:
        return f"toolchain train {escape(model)} --data WIDER --teacher WEIGHTS"
    return f"toolchain recover {escape(model)} --ckpt WEIGHTS --images PHOTOS"


def _print_plan(made: WidthPlan, place: Path) -> None:
    console = table_console()
    narrowed = [group for group in made.groups if group.after < group.before]
    for group in narrowed:
        console.print(f"{escape(group.group)}: {group.after} of {group.before}")
    console.print(
        f"predicted {made.predicted:,} {made.unit} ({made.predicted / made.unpruned:.3f} of the "
        f"unpruned), measured {made.measured:,}: off by {made.error:+.2%}"
    )
    if made.uniform is not None:
        console.print(
            f"lost on {escape(made.looked_at)}: {made.loss:.2f}; at rate "
            f"{made.uniform.rate:.4g} for all, with {made.uniform.cost:,} {made.unit}, "
            f"{made.uniform.loss:.2f}"
        )
    recipe = escape(str(place / "plan.toml"))
    console.print(
        f"Next: [bold]{_next(made.model)} --recipe {recipe}[/], or shrink by the same recipe. Look "
        f"at plan.html."
    )
