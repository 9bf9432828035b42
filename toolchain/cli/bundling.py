"""The command ``bundle``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from toolchain.cli import asking
from toolchain.cli.app import Json, app, stage_progress, table_console
from toolchain.cli.options.alone import Alone
from toolchain.cli.options.boards import CACHE, ArmCache, OwnTargets
from toolchain.cli.options.grouping import grouped
from toolchain.cli.streams import print_json
from toolchain.errors import InputError

if TYPE_CHECKING:
    from toolchain.bundle.building import Bundle


@app.command(
    epilog="Example:  [bold]toolchain bundle out/eresfd --target rpi4 --offline[/], then on the "
    "board  [bold]tar xf eresfd-rpi4.tar.gz && eresfd-rpi4/install.sh[/]"
)
@grouped
def bundle(
    folder: Annotated[
        Path, typer.Argument(help="An output folder of shrink, or a file: ONNX, TFLite, ncnn.")
    ],
    alone: Alone,
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="Of a file on its own: how it is fed (\\[input]), what it gives (\\[task])."
        ),
    ] = None,
    target: Annotated[
        str, typer.Option(help="A 64-bit board, see toolchain targets; or local, this machine.")
    ] = "rpi4",
    runtime: Annotated[
        Literal["onnxruntime", "litert", "ncnn"] | None,
        typer.Option(help="Of the files that it runs; without, of all files."),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Pack the wheels too: no network is needed there.")
    ] = False,
    python: Annotated[
        str | None, typer.Option(help="Version there, as 3.13; the board's own by default.")
    ] = None,
    decoder: Annotated[
        str | None,
        typer.Option(
            help="FILE.py:FUNCTION of your own that finds the boxes there; packed, and run."
        ),
    ] = None,
    targets_file: OwnTargets = None,
    out: Annotated[Path, typer.Option(help="Folder of the archive.")] = Path("out") / "bundle",
    cache: ArmCache = CACHE,
    as_json: Json = False,
) -> None:
    """Pack an archive that a board installs: the best file, detect.py, wheels, a self-test."""
    asking.need(folder, f"{asking.FOLDER}, or a model file")
    asking.need_room(out)
    from toolchain.bundle.destination import find_destination

    destination = find_destination(target, targets_file, python)

    from toolchain.bundle.building import bundle_file, make_bundle
    from toolchain.recipe import load_recipe
    from toolchain.records.run_folder import model_file

    file = model_file(folder)
    told = alone.told(file)
    own = None if recipe is None else load_recipe(recipe)
    if file.is_file() and runtime is not None:
        raise InputError(f"{folder}: is run by what it is made for; leave out --runtime")
    if not file.is_file() and own is not None:
        raise InputError(f"{folder}: has its recipe; --recipe is for a file on its own")
    with stage_progress() as on_stage:
        if file.is_file():
            made = bundle_file(file, own, told, destination, offline, out, cache, on_stage, decoder)
        else:
            made = make_bundle(folder, destination, runtime, offline, out, cache, on_stage, decoder)
    if as_json:
        print_json(dataclasses.asdict(made))
    else:
        _print(made)


def _print(made: Bundle) -> None:
    console = table_console()
    console.print(f"{escape(made.model)}: {escape(made.why)}.")
    found = f"{escape(made.found)} on the bundle's photo" if made.found else "outputs compared"
    brought = "with their wheels" if made.offline else "to be fetched there"
    console.print(
        f"[bold]{escape(made.path)}[/]: {made.size_bytes / 1e6:.1f} MB, {found}; Python "
        f"{made.python}, {', '.join(made.packages)}, {brought}."
    )
    console.print(f"SHA-256 {made.sha256}")
    name = escape(made.name)
    console.print(f"There: [bold]tar xf {name}.tar.gz && {name}/install.sh[/]")
