"""The command ``cost``: what every width takes on an emulated board."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from toolchain.cli import asking
from toolchain.cli.app import Json, app, stage_progress, table_console
from toolchain.cli.feeding import need_size
from toolchain.cli.options.boards import CACHE, ArmCache, OwnTargets
from toolchain.cli.options.grouping import grouped
from toolchain.cli.options.inputs import Size
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

if TYPE_CHECKING:
    from toolchain.records.cost_tables import CostReport


@app.command(epilog="Example:  [bold]toolchain cost eresfd --target rpi4 --size 320x320[/]")
@grouped
def cost(
    model: Model,
    chosen: Chosen,
    target: OnBoard = "rpi4",
    runtime: Runtime = None,
    size: Size = None,
    ckpt: Weights = None,
    every: Every = 1,
    recipe: OwnRecipe = None,
    targets_file: OwnTargets = None,
    out: Annotated[Path | None, typer.Option(help="Folder; out/cost/MODEL-TARGET.")] = None,
    cache: ArmCache = CACHE,
    as_json: Json = False,
) -> None:
    """Measure what every width of every dependency group costs, on an emulated board."""
    from toolchain.report.costs.cost_tables import cost_document
    from toolchain.report.document.html import html
    from toolchain.widths.files import NAME, place_of, report_json

    whole = unpruned(recipe_for(model, recipe, {}, size))
    need_size(model, whole, recipe, size)
    asking.need_module(model)
    asking.need_checkpoint(ckpt)
    asking.need_room(out)
    choice = chosen.choice
    with stage_progress() as on_stage:
        read = partial(load, whole, ckpt, choice)
        _, _, found, _ = measured(read, (target, targets_file), runtime, cache, every, on_stage)
    place = out or place_of(model, target).parent
    page = html(cost_document(found))
    write_all(place, {NAME: report_json(found), "cost.html": page.encode()})
    if as_json:
        print_json_text(report_json(found).decode())
    else:
        _print_cost(found, place)


def _print_cost(found: CostReport, place: Path) -> None:
    console = table_console()
    table = Table(box=None, pad_edge=False)
    for heading in ("group", "filters", "millions of instructions", "at half", "narrowest"):
        table.add_column(heading, justify="left" if heading == "group" else "right")
    for group_cost in sorted(found.groups, key=lambda each: -each.instructions[-1]):
        table.add_row(
            escape(group_cost.group),
            str(group_cost.width),
            f"{group_cost.instructions[-1] / 1e6:.2f}",
            f"{group_cost.at((group_cost.width + 1) // 2) / 1e6:.2f}",
            f"{group_cost.instructions[0] / 1e6:.2f}",
        )
    console.print(table)
    height, width = found.size
    console.print(
        f"{escape(found.name)} emulated, {escape(found.runtime)}, input {height}x{width}, one "
        f"thread: "
        f"{found.instructions:,} instructions of one inference. Each group: the operators that "
        f"touch it, all others whole."
    )
    console.print(f"Results are in [bold]{escape(str(place))}[/]; look at cost.html.")
