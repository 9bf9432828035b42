"""The commands ``targets``, ``setup-arm`` and ``calibrate``: the boards that are known."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from toolchain.cli import asking
from toolchain.cli.app import Json, app, stage_progress, table_console
from toolchain.cli.options.boards import Emulation, OwnTargets
from toolchain.cli.options.grouping import grouped
from toolchain.cli.streams import print_json


@app.command()
def targets(targets_file: OwnTargets = None, as_json: Json = False) -> None:
    """List the boards that are known, and how their times are estimated."""
    from toolchain.arm.targets import read_targets

    known = read_targets(targets_file)
    if as_json:
        print_json({key: dataclasses.asdict(board) for key, board in known.items()})
        return
    table = Table(box=None, pad_edge=False)
    for heading in (
        "target",
        "board",
        "core",
        "GHz",
        "cycles per instruction",
        "median / worst error",
    ):
        table.add_column(heading)
    for key, board in known.items():
        table.add_row(
            escape(key),
            escape(board.name),
            escape(board.core),
            f"{board.clock_hz / 1e9:g}",
            f"{board.cycles_per_instruction:g} (fitted on {escape(board.fitted_on)})",
            f"{board.median_error:.0%} / {board.worst_error:.0%}",
        )
    table_console().print(table)


@app.command(
    epilog="Example:  [bold]toolchain calibrate out/eresfd out/extd --target rpi4 --ssh pi@host[/]"
)
@grouped
def calibrate(
    folders: Annotated[list[Path], typer.Argument(help="Output folders of shrink.")],
    ssh: Annotated[str, typer.Option(help="The board, user@host.")],
    emulation: Emulation,
    target: Annotated[str, typer.Option(help="What kind of board it is.")] = "rpi4",
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Of ssh.")] = None,
    key: Annotated[Path | None, typer.Option(help="Of ssh.")] = None,
    ssh_config: Annotated[Path | None, typer.Option(help="In place of ~/.ssh/config.")] = None,
    runs: Annotated[int, typer.Option(min=5, max=10_000, help="Timed runs of each file.")] = 50,
    out: Annotated[Path, typer.Option(help="The table for --targets.")] = Path("targets.toml"),
) -> None:
    """Measure files on a board of your own, so that its times are estimated better."""
    import datetime

    for folder in folders:
        asking.need_folder(folder, asking.FOLDER)
    asking.need(key, "a private key")
    asking.need(ssh_config, "a configuration of ssh")

    from toolchain.arm.board import check_board
    from toolchain.arm.calibrating import as_toml, fitted, points_of
    from toolchain.arm.checking import check_folder
    from toolchain.arm.remote import Board
    from toolchain.arm.sysroot import prepare
    from toolchain.arm.targets import find_target
    from toolchain.errors import InputError
    from toolchain.system.files import write_bytes

    board = find_target(target, emulation.targets_file)
    reached = Board(ssh, port, key, ssh_config)
    points = []
    with stage_progress() as on_stage:
        sysroot = prepare(board, emulation.cache, on_stage)
        for folder in folders:
            timed = check_board(folder, None, target, reached, (), runs, 1, on_stage)
            if not timed.passed:
                raise InputError(f"{folder}: gives other outputs on {ssh}; see toolchain check")
            counted = check_folder(folder, None, board, sysroot, (), emulation.cache, on_stage)
            points += points_of(counted, timed)
    made = fitted(board, points, ssh.rpartition("@")[2], datetime.date.today())
    try:
        write_bytes(out, as_toml(made, points).encode())
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from error
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    console.print(
        f"{made.cycles_per_instruction:g} cycles per instruction in place of "
        f"{board.cycles_per_instruction:g}; errors {made.median_error:.0%} median, "
        f"{made.worst_error:.0%} worst. Use it: --targets {escape(str(out))}"
    )
    if timed.machine != "aarch64":
        console.print(f"[bold yellow]{escape(ssh)} is no 64-bit ARM board: {timed.machine}[/]")


@app.command("setup-arm")
@grouped
def setup_arm(
    emulation: Emulation,
    target: Annotated[str, typer.Option(help="A board of toolchain targets.")] = "rpi4",
) -> None:
    """Fetch what emulation needs, so that check needs no network; no root rights are needed."""
    from toolchain.arm.sysroot import prepare
    from toolchain.arm.targets import find_target

    board = find_target(target, emulation.targets_file)
    with stage_progress() as on_stage:
        ready = prepare(board, emulation.cache, on_stage)
    places = (ready.host, ready.root, ready.site)
    size = sum(
        path.lstat().st_size for place in places for path in place.rglob("*") if path.is_file()
    )
    print(f"{board.name}: ready in {emulation.cache} ({size / 1e6:.0f} MB)")
