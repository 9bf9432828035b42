"""The command ``check``: a folder's files on a board, emulated or real."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from toolchain.cli import asking
from toolchain.cli.app import Json, app, messages, stage_progress, table_console
from toolchain.cli.options.alone import Alone
from toolchain.cli.options.boards import Emulation, Ssh
from toolchain.cli.options.grouping import grouped
from toolchain.cli.streams import print_json
from toolchain.cli.writing import write_all
from toolchain.report import wording
from toolchain.system.files import as_json as as_json_bytes
from toolchain.system.files import without_infinities

if TYPE_CHECKING:
    from toolchain.arm.targets import Target
    from toolchain.bench.feeds import Told
    from toolchain.checking.pictures import Photo
    from toolchain.recipe import BudgetSection
    from toolchain.records.timings import BoardCheck, Check


@app.command(
    epilog="Examples:  [bold]toolchain check out/eresfd --target rpi4[/]   |   "
    "[bold]toolchain check out/eresfd --target rpi5 --file model_int8.tflite --photo group.jpg[/]"
)
@grouped
def check(
    folder: Annotated[
        Path, typer.Argument(help="An output folder of shrink, or a file: ONNX, TFLite, ncnn.")
    ],
    emulation: Emulation,
    ssh: Ssh,
    alone: Alone,
    target: Annotated[
        list[str] | None,
        typer.Option(help="A board, see toolchain targets; repeatable, or all.  \\[default: rpi4]"),
    ] = None,
    file: Annotated[
        list[str] | None, typer.Option(help="A model file in the folder; all by default.")
    ] = None,
    photo: Annotated[
        list[Path] | None, typer.Option(help="A photo on which boxes must be the same.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe with \\[budget.TARGET]; the folder's by default.")
    ] = None,
    runs: Annotated[int, typer.Option(min=5, max=10_000, help="Timed on a real board.")] = 50,
    threads: Annotated[int, typer.Option(min=1, max=64, help="On a real board.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder; out/check/NAME-TARGET.")] = None,
    as_json: Json = False,
) -> None:
    """Run the files on a board, emulated or over ssh: parity, instructions or time, memory."""
    asking.need(folder, f"{asking.FOLDER}, or a model file")
    asking.need_photos(photo)
    asking.need_room(out)
    boards = _boards(target or ["rpi4"], emulation.targets_file)
    from toolchain.checking.pictures import read_photos
    from toolchain.errors import InputError
    from toolchain.recipe import load_recipe
    from toolchain.records.run_folder import model_file

    folder = model_file(folder)
    told = alone.told(folder)
    if photo and folder.is_file():
        raise InputError(
            f"{folder}: --photo is for output folders, whose recipe says how photos are fed; leave "
            f"it out, or give inputs by --inputs FILE.npz"
        )
    reached = ssh.board
    if len(boards) > 1 and (reached is not None or as_json):
        raise InputError("--ssh and --json are for one --target")
    photos = read_photos(photo or ())
    if reached is not None:
        from toolchain.arm.board import check_board

        with stage_progress() as on_stage:
            timed = check_board(
                folder, file, boards[0].key, reached, photos, runs, threads, on_stage, told
            )
        place = out or Path("out") / "check" / f"{timed.folder}-{boards[0].key}"
        _finish_board(timed, place, as_json)
        return
    budgets = load_recipe(recipe).budget if recipe else None
    look = functools.partial(
        _emulated, folder, file, photos=photos, cache=emulation.cache, told=told
    )
    tell = functools.partial(_tell, folder=folder, budgets=budgets, out=out, as_json=as_json)
    if not _on_each(boards, look, tell, out):
        raise typer.Exit(1)


def _on_each(
    boards: Sequence[Target],
    look: Callable[[Target], Check],
    told: Callable[..., bool],
    out: Path | None,
) -> bool:
    """Check on each board and tell of it; return whether all passed and none is over budget."""
    from toolchain.errors import InputError

    checks, passed = [], True
    for board in boards:
        try:
            found = look(board)
        except InputError as error:
            if len(boards) == 1:
                raise
            messages.print(f"[bold yellow]left out:[/] {escape(str(error))}")
            continue
        checks.append(found)
        passed &= told(found, several=len(boards) > 1)
    if len(boards) > 1:
        _finish_several(checks, out or Path("out") / "check")
    return passed


def _tell(
    found: Check,
    *,
    folder: Path,
    budgets: Mapping[str, BudgetSection] | None,
    out: Path | None,
    as_json: bool,
    several: bool,
) -> bool:
    """Write and print a check; return whether it passed and nothing is over budget."""
    over = _over(found, folder, budgets)
    place = _place(found, out, several=several)
    _write(found, over, place)
    if as_json:
        print_json(dataclasses.asdict(found.main))
    else:
        _print(found, place)
    for sentence in over:
        messages.print(f"[bold red]over budget:[/] {escape(sentence)}")
    return found.passed and not over


def _boards(names: Sequence[str], targets_file: Path | None) -> list[Target]:
    from toolchain.arm.targets import find_target, read_targets

    if "all" in names:
        return list(read_targets(targets_file).values())
    return [find_target(name, targets_file) for name in names]


def _place(found: Check, out: Path | None, *, several: bool) -> Path:
    if out is None:
        return Path("out") / "check" / f"{found.folder}-{found.target}"
    return out / found.target if several else out


def _emulated(
    folder: Path,
    files: Sequence[str] | None,
    board: Target,
    *,
    photos: Sequence[Photo],
    cache: Path,
    told: Told,
) -> Check:
    from toolchain.library.checking import check_photos

    with stage_progress() as on_stage:
        return check_photos(folder, files, board, photos, cache, on_stage, told)


def _over(
    found: Check, folder: Path, budgets: Mapping[str, BudgetSection] | None
) -> tuple[str, ...]:
    """Return what is over the board's budget, of the recipe given or of the folder's."""
    from toolchain.arm.budget import exceeded, parameters_of
    from toolchain.arm.comparing import recipe_of

    limits = budgets or ({} if folder.is_file() else recipe_of(folder).budget)
    if found.target not in limits:
        return ()
    return exceeded(found, limits[found.target], parameters_of(folder))


def _write(found: Check, over: Sequence[str], place: Path) -> None:
    from toolchain.report.costs.check import check_document
    from toolchain.report.document.html import html

    passed = found.passed and not over
    content = without_infinities(
        {**dataclasses.asdict(found), "over_budget": list(over), "passed": passed}
    )
    write_all(
        place,
        {
            "check.json": as_json_bytes(content),
            "check.html": html(check_document(found, over)).encode(),
        },
    )


def _finish_several(checks: Sequence[Check], place: Path) -> None:
    """Tell which file is best on which board."""
    from toolchain.errors import InputError
    from toolchain.report.costs.check import boards_document
    from toolchain.report.document.html import html

    if not checks:
        raise InputError("none of the boards can run any of the files (see above)")
    table = Table(box=None, pad_edge=False)
    for heading in ("board", "fewest instructions", "", "ms, estimated"):
        table.add_column(heading, no_wrap=True)
    for found in checks:
        best = found.cheapest
        table.add_row(
            escape(found.name),
            escape(best.file),
            f"{best.instructions_per_inference:,}",
            f"{best.estimate_ms.low:.1f} to {best.estimate_ms.high:.1f}",
        )
    name = f"{checks[0].folder}-boards.html"
    write_all(place, {name: html(boards_document(checks)).encode()})
    console = table_console()
    console.print(table)
    console.print(f"All boards are in [bold]{escape(str(place / name))}[/].")


def _finish_board(timed: BoardCheck, place: Path, as_json: bool) -> None:
    """Write and print what a real board gave; exit with 1 if it differs."""
    content = without_infinities({**dataclasses.asdict(timed), "passed": timed.passed})
    write_all(place, {"board.json": as_json_bytes(content)})
    if as_json:
        print_json(content)
    else:
        _print_board(timed, place)
    if not timed.passed:
        raise typer.Exit(1)


def _print_board(timed: BoardCheck, place: Path) -> None:
    console = table_console()
    table = Table(box=None, pad_edge=False)
    for heading in ("file", "ms", "quartiles", "differs by"):
        table.add_column(heading, justify="left" if heading == "file" else "right")
    for file in timed.files:
        table.add_row(
            escape(file.file),
            f"{file.median_ms:.2f}",
            f"{file.low_ms:.2f} to {file.high_ms:.2f}",
            wording.difference(file.apart.worst)
            + ("" if file.parity else " [bold red]TOO MUCH[/]"),
        )
    console.print(table)
    for words in dict.fromkeys(words for file in timed.files for words in file.warnings):
        console.print(f"[yellow]{escape(words)}[/]")
    console.print(
        f"Measured on {escape(timed.board or timed.host)} ({timed.machine}, {timed.cores} cores). "
        f"Results are in [bold]{escape(str(place / 'board.json'))}[/]."
    )


def _print(found: Check, place: Path) -> None:
    console = table_console()
    table = Table(box=None, pad_edge=False)
    headings = ("file", "instructions", "multiply-add", "memory, MB", "ms, estimated", "differs by")
    for heading in headings:
        left = heading == "file"
        table.add_column(heading, justify="left" if left else "right", no_wrap=left, min_width=4)
    for file in found.files:
        time = file.estimate_ms
        table.add_row(
            escape(file.file),
            f"{file.instructions_per_inference:,}",
            f"{file.instructions.multiply_add / file.instructions_per_inference:.0%}",
            f"{file.peak_memory_bytes / 1e6:.0f}",
            f"{time.low:.1f} to {time.high:.1f}",
            wording.difference(file.apart.worst)
            + ("" if file.parity else " [bold red]TOO MUCH[/]"),
        )
    console.print(table)
    console.print(
        f"{escape(found.name)} ({found.core}, {found.clock_hz / 1e9:g} GHz) emulated, input "
        f"{escape(found.main.input_words)}, one thread. Instructions are exact; milliseconds are "
        f"estimated from them, with a worst error of {found.main.estimate_error['worst']:.0%} "
        f"where they were fitted ({escape(found.fitted_on)})."
    )
    if found.program is not None:
        program = found.program
        console.print(
            f"detect.py itself, on the board: {program.both} faces as here, {program.missed} "
            f"missed, {program.added} added"
        )
    if found.stages is not None:
        stages = found.stages
        console.print(
            f"outside the network it takes {stages.outside:.1%} of the network's instructions: "
            f"{stages.fitting / 1e6:.2f} M to fit the photo, {stages.decoding / 1e6:.2f} M to "
            f"decode"
        )
    if found.main.operators:
        total = found.main.instructions_per_inference
        dearest = ", ".join(
            f"{count} {kind} {spent / total:.0%}"
            for kind, (count, spent) in list(found.main.operator_types.items())[:4]
        )
        console.print(f"Where they go, in {escape(found.main.file)}: {escape(dearest)}")
    if len(found.files) > 1:
        console.print(f"Fewest instructions: [bold]{escape(found.cheapest.file)}[/]")
    console.print(f"Results are in [bold]{escape(str(place))}[/]; look at check.html.")
