"""The command ``doctor``: what is installed, what is missing for which stage, how to get it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import typer
from rich.markup import escape
from rich.table import Table

from toolchain.cli.app import Json, app, table_console
from toolchain.cli.streams import print_json
from toolchain.system.installation import how_to_get

if TYPE_CHECKING:
    from toolchain.workflows.readiness import Readiness


@app.command(epilog="Example:  [bold]toolchain doctor[/]")
def doctor(as_json: Json = False) -> None:
    """Tell what is installed, what is missing for which stage, and how to get it.

    The exit code is 1 where the main job (shrink, prove, export to ONNX) cannot run, else 0.
    """
    from toolchain.workflows.readiness import look

    found = look()
    if as_json:
        stages = [
            dataclasses.asdict(stage) | {"is_ready": stage.is_ready} for stage in found.stages
        ]
        can = {"can_do_main_job": found.can_do_main_job}
        print_json(dataclasses.asdict(found) | {"stages": stages} | can)
    else:
        _print(found)
    if not found.can_do_main_job:
        raise typer.Exit(1)


def _print(found: Readiness) -> None:
    console = table_console()
    origin = f"checkout {found.checkout}" if found.checkout else "installed"
    console.print(f"toolchain {found.version} ({origin}), Python {found.python}", markup=False)
    console.print(found.machine, markup=False)
    size = f"{found.cache_bytes / 1e6:.0f} MB" if found.cache_bytes else "nothing in it yet"
    console.print(f"cache: {found.cache} ({size}; TOOLCHAIN_CACHE moves it)\n", markup=False)
    table = Table(box=None, pad_edge=False)
    for heading in ("", "for", "there", "missing"):
        table.add_column(heading, overflow="fold")
    for stage in found.stages:
        missing = ", ".join(stage.missing) + (f": {stage.remedy}" if stage.remedy else "")
        mark = "ok" if stage.is_ready else "NO" if stage.is_main else "-"
        table.add_row(mark, stage.name, escape(", ".join(stage.found)), escape(missing))
    console.print(table)
    if not found.can_do_main_job:
        console.print(f"\nThe main job cannot run: {escape(how_to_get())}")
