"""The command ``inspect``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from toolchain.cli import asking
from toolchain.cli.app import Json, app, stage_progress
from toolchain.cli.feeding import need_size
from toolchain.cli.options.grouping import grouped
from toolchain.cli.options.inputs import InputShape, Size
from toolchain.cli.options.weights import Chosen
from toolchain.cli.recipes import recipe_for
from toolchain.cli.streams import print_json

if TYPE_CHECKING:
    from toolchain.workflows.inspection import Inspection


@app.command(
    epilog="Examples:  [bold]toolchain inspect ERES30_FPGM.pth[/]   |   "
    "[bold]toolchain inspect weights.pth --model mynet:build --size 224x224[/]"
)
@grouped
def inspect(
    ckpt: Annotated[Path, typer.Argument(help="A file of weights, or a folder of five.")],
    chosen: Chosen,
    model: Annotated[
        str | None, typer.Option(help="The network, where the file does not tell.")
    ] = None,
    size: Size = None,
    input_shape: InputShape = None,
    as_json: Json = False,
) -> None:
    """Tell what is in a checkpoint: layout, parameters, zero filters, and how much could go."""
    asking.need_checkpoint(ckpt)
    if model is not None:
        recipe_for(model, None, {}, size)
        asking.need_module(model)
    from toolchain.models.layouts import known_model
    from toolchain.recipe import override
    from toolchain.workflows.inspection import inspect_checkpoint

    choice = chosen.choice
    name = known_model(ckpt, model)
    with stage_progress() as on_stage:
        on_stage("look")
        recipe = override(
            recipe_for(name, None, {}, size), {"input.shapes": input_shape} if input_shape else {}
        )
        need_size(name, recipe, None, size)
        found = inspect_checkpoint(ckpt, recipe, choice)
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        _print_inspection(found)


def _print_inspection(found: Inspection) -> None:
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    for note in found.notes:
        console.print(escape(note))
    console.print(
        f"{escape(found.name)}: {escape(str(found.layout))} of {escape(found.model)}, "
        f"SHA-256 {found.sha256}"
    )
    console.print(
        f"{found.parameters:,} parameters, {found.nonzero_parameters:,} of them not zero; "
        f"deployed {found.deployed_parameters_before:,}, after shrinking "
        f"{found.deployed_parameters_after:,}"
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("layer")
    for heading in ("filters", "zero", "could go"):
        table.add_column(heading, justify="right")
    for layer in found.layers:
        if layer.zeroed_filters:
            going = layer.zeroed_filters - layer.kept
            table.add_row(
                escape(layer.layer),
                str(layer.out_channels_before),
                str(layer.zeroed_filters),
                str(going),
            )
    if table.row_count:
        console.print(table)
    else:
        console.print("no filter is zero; shrink with --rate to zero some")
