"""The commands ``check`` and ``targets``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from toolchain.cli.app import Json, app, messages, stage_progress

if TYPE_CHECKING:
    from toolchain.timings import BoardCheck, Check

OwnTargets = Annotated[
    Path | None, typer.Option("--targets", help="A table of boards of your own.")
]
CACHE = Path(".cache") / "arm"


@app.command(
    epilog="Examples:  [bold]toolchain check out/eresfd --target rpi4[/]   |   "
    "[bold]toolchain check out/eresfd --target rpi5 --file model_int8.tflite --photo group.jpg[/]"
)
def check(
    folder: Annotated[Path, typer.Argument(help="An output folder of shrink.")],
    target: Annotated[str, typer.Option(help="A board; see toolchain targets.")] = "rpi4",
    file: Annotated[
        list[str] | None, typer.Option(help="A model file in the folder; all by default.")
    ] = None,
    photo: Annotated[
        list[Path] | None, typer.Option(help="A photo on which boxes must be the same.")
    ] = None,
    targets_file: OwnTargets = None,
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe with [budget.TARGET]; the folder's by default.")
    ] = None,
    ssh: Annotated[
        str | None, typer.Option(help="A real board, user@host, in place of the emulated one.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Of ssh.")] = None,
    key: Annotated[Path | None, typer.Option(help="Of ssh.")] = None,
    ssh_config: Annotated[Path | None, typer.Option(help="In place of ~/.ssh/config.")] = None,
    runs: Annotated[int, typer.Option(min=5, max=10_000, help="Timed on a real board.")] = 50,
    threads: Annotated[int, typer.Option(min=1, max=64, help="On a real board.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder; out/check/NAME-TARGET.")] = None,
    cache: Annotated[Path, typer.Option(help="What emulation needs, and earlier checks.")] = CACHE,
    as_json: Json = False,
) -> None:
    """Run the files on a board, emulated or over ssh: parity, instructions or time, memory."""
    from toolchain.arm.board import check_board
    from toolchain.arm.budget import exceeded, parameters_of
    from toolchain.arm.checking import check_folder
    from toolchain.arm.comparing import recipe_of
    from toolchain.arm.remote import Board
    from toolchain.arm.sysroot import prepare
    from toolchain.arm.targets import find_target
    from toolchain.errors import InputError
    from toolchain.files import as_json as json_bytes
    from toolchain.files import write_bytes
    from toolchain.pictures import read_photos
    from toolchain.recipe import load_recipe
    from toolchain.report.check import check_html

    board = find_target(target, targets_file)
    budget = load_recipe(recipe).budget if recipe else None
    photos = read_photos(photo or ())
    if ssh is not None:
        reached = Board(ssh, port, key, ssh_config)
        with stage_progress() as on_stage:
            timed = check_board(folder, file, target, reached, photos, runs, threads, on_stage)
        _finish_board(timed, out or Path("out") / "check" / f"{timed.folder}-{target}", as_json)
        return
    with stage_progress() as on_stage:
        sysroot = prepare(board, cache, on_stage)
        found = check_folder(folder, file, board, sysroot, photos, cache, on_stage)
    place = out or Path("out") / "check" / f"{found.folder}-{target}"
    limits = budget or recipe_of(folder).budget
    over = exceeded(found, limits[target], parameters_of(folder)) if target in limits else ()
    passed = found.passed and not over
    content = {**dataclasses.asdict(found), "over_budget": list(over), "passed": passed}
    try:
        place.mkdir(parents=True, exist_ok=True)
        write_bytes(place / "check.json", json_bytes(content))
        write_bytes(place / "check.html", check_html(found, over).encode())
    except OSError as error:
        raise InputError(f"{place}: cannot be written ({error.strerror or error})") from error
    if as_json:
        print(json.dumps(dataclasses.asdict(found.main), indent=2))
    else:
        _print(found, place)
    for sentence in over:
        messages.print(f"[bold red]over budget:[/] {escape(sentence)}")
    if not passed:
        raise typer.Exit(1)


@app.command(
    epilog="Example:  [bold]toolchain calibrate out/eresfd out/extd --target rpi4 --ssh pi@host[/]"
)
def calibrate(
    folders: Annotated[list[Path], typer.Argument(help="Output folders of shrink.")],
    ssh: Annotated[str, typer.Option(help="The board, user@host.")],
    target: Annotated[str, typer.Option(help="What kind of board it is.")] = "rpi4",
    targets_file: OwnTargets = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Of ssh.")] = None,
    key: Annotated[Path | None, typer.Option(help="Of ssh.")] = None,
    ssh_config: Annotated[Path | None, typer.Option(help="In place of ~/.ssh/config.")] = None,
    runs: Annotated[int, typer.Option(min=5, max=10_000, help="Timed runs of each file.")] = 50,
    out: Annotated[Path, typer.Option(help="The table for --targets.")] = Path("targets.toml"),
    cache: Annotated[Path, typer.Option(help="What emulation needs, and earlier checks.")] = CACHE,
) -> None:
    """Measure files on a board of your own, so that its times are estimated better."""
    import datetime

    from toolchain.arm.board import check_board
    from toolchain.arm.calibrating import as_toml, fitted, points_of
    from toolchain.arm.checking import check_folder
    from toolchain.arm.remote import Board
    from toolchain.arm.sysroot import prepare
    from toolchain.arm.targets import find_target
    from toolchain.errors import InputError
    from toolchain.files import write_bytes

    board, reached = find_target(target, targets_file), Board(ssh, port, key, ssh_config)
    points = []
    with stage_progress() as on_stage:
        sysroot = prepare(board, cache, on_stage)
        for folder in folders:
            timed = check_board(folder, None, target, reached, (), runs, 1, on_stage)
            if not timed.passed:
                raise InputError(f"{folder}: gives other outputs on {ssh}; see toolchain check")
            counted = check_folder(folder, None, board, sysroot, (), cache, on_stage)
            points += points_of(counted, timed)
    made = fitted(board, points, ssh.rpartition("@")[2], datetime.date.today())
    try:
        write_bytes(out, as_toml(made, points).encode())
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from error
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{made.cycles_per_instruction:g} cycles per instruction in place of "
        f"{board.cycles_per_instruction:g}; errors {made.median_error:.0%} median, "
        f"{made.worst_error:.0%} worst. Use it: --targets {escape(str(out))}"
    )
    if timed.machine != "aarch64":
        console.print(f"[bold yellow]{escape(ssh)} is no 64-bit ARM board: {timed.machine}[/]")


def _finish_board(timed: BoardCheck, place: Path, as_json: bool) -> None:
    """Write and print what a real board gave; exit with 1 if it differs."""
    from toolchain.errors import InputError
    from toolchain.files import as_json as json_bytes
    from toolchain.files import write_bytes

    content = {**dataclasses.asdict(timed), "passed": timed.passed}
    try:
        place.mkdir(parents=True, exist_ok=True)
        write_bytes(place / "board.json", json_bytes(content))
    except OSError as error:
        raise InputError(f"{place}: cannot be written ({error.strerror or error})") from error
    if as_json:
        print(json.dumps(content, indent=2))
    else:
        _print_board(timed, place)
    if not timed.passed:
        raise typer.Exit(1)


def _print_board(timed: BoardCheck, place: Path) -> None:
    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for heading in ("file", "ms", "quartiles", "differs by"):
        table.add_column(heading, justify="left" if heading == "file" else "right")
    for file in timed.files:
        table.add_row(
            file.file,
            f"{file.median_ms:.2f}",
            f"{file.low_ms:.2f} to {file.high_ms:.2f}",
            f"{file.max_abs_diff:.1e}" + ("" if file.parity else " [bold red]TOO MUCH[/]"),
        )
    console.print(table)
    for words in dict.fromkeys(words for file in timed.files for words in file.warnings):
        console.print(f"[yellow]{escape(words)}[/]")
    console.print(
        f"Measured on {escape(timed.board or timed.host)} ({timed.machine}, {timed.cores} cores). "
        f"Results are in [bold]{escape(str(place / 'board.json'))}[/]."
    )


@app.command()
def targets(targets_file: OwnTargets = None, as_json: Json = False) -> None:
    """List the boards that are known, and how their times are estimated."""
    from toolchain.arm.targets import read_targets

    known = read_targets(targets_file)
    if as_json:
        print(
            json.dumps({key: dataclasses.asdict(board) for key, board in known.items()}, indent=2)
        )
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
            key,
            board.name,
            board.core,
            f"{board.clock_hz / 1e9:g}",
            f"{board.cycles_per_instruction:g} (fitted on {board.fitted_on})",
            f"{board.median_error:.0%} / {board.worst_error:.0%}",
        )
    Console(highlight=False, soft_wrap=True).print(table)


def _print(found: Check, place: Path) -> None:
    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    headings = ("file", "instructions", "multiply-add", "memory, MB", "ms, estimated", "differs by")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "file" else "right")
    for file in found.files:
        time = file.estimate_ms
        table.add_row(
            file.file,
            f"{file.instructions_per_inference:,}",
            f"{file.instructions.multiply_add / file.instructions_per_inference:.0%}",
            f"{file.peak_memory_bytes / 1e6:.0f}",
            f"{time.low:.1f} to {time.high:.1f}",
            f"{file.max_abs_diff:.1e}" + ("" if file.parity else " [bold red]TOO MUCH[/]"),
        )
    console.print(table)
    height, width = found.main.size
    console.print(
        f"{escape(found.name)} ({found.core}, {found.clock_hz / 1e9:g} GHz) emulated, input "
        f"{height}x{width}, one thread. Instructions are exact; milliseconds are estimated from "
        f"them, with a worst error of {found.main.estimate_error['worst']:.0%} where they were "
        f"fitted ({escape(found.fitted_on)})."
    )
    if found.program is not None:
        program = found.program
        console.print(
            f"detect.py itself, on the board: {program.both} faces as here, {program.missed} "
            f"missed, {program.added} added"
        )
    if len(found.files) > 1:
        console.print(f"Fewest instructions: [bold]{escape(found.cheapest.file)}[/]")
    console.print(f"Results are in [bold]{escape(str(place))}[/]; look at check.html.")
