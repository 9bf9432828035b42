"""The command ``balance``: levels whose scores speak of the same."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from toolchain.cli import asking
from toolchain.cli.app import Json, app, stage_progress, table_console
from toolchain.cli.feeding import read_size
from toolchain.cli.options.data import Data, Limit, SplitName
from toolchain.cli.photo_progress import photo_progress
from toolchain.cli.streams import print_json_text
from toolchain.errors import InputError

if TYPE_CHECKING:
    from toolchain.records.balance import Balance, Precisions


@app.command(
    epilog="Example:  [bold]toolchain balance out/recovered/model.safetensors --data WIDER[/]   "
    "and then   [bold]toolchain shrink extd --ckpt out/balance/model/model.safetensors[/]"
)
def balance(
    weights: Annotated[Path, typer.Argument(help="Weights of eresfd or extd.")],
    data: Data,
    split: SplitName = "train",
    limit: Limit = None,
    size: Annotated[
        list[str] | None,
        typer.Option(
            help="HEIGHTxWIDTH that photos are fitted into, or own, their own size, which is the "
            "default; may be repeated."
        ),
    ] = None,
    weigh: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND=TIMES",
            help="How much a kind of faces counts in the mean: large, middle, small of train; "
            "easy, medium, hard of val. Repeatable; 1 by default.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The network, where the weights do not tell.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, max=256, help="Threads.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Output folder; out/balance/NAME by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Shift the scores of each level by what finds most on photos with known faces.

    The shifts become a part of the heads' biases: a board computes nothing for them. Half of the
    photos chooses shifts for the other, which tells what they are worth on photos not seen.
    """
    asking.need_folder(data, "the folder of WIDER FACE")
    place = out or Path("out") / "balance" / weights.stem
    asking.need_room(place)
    from toolchain.data.wider import read_split
    from toolchain.models.layouts import known_model
    from toolchain.records.run_folder import model_file
    from toolchain.system.files import as_json as as_json_bytes
    from toolchain.workflows.balance import BalanceJob
    from toolchain.workflows.balance import balance as balance_levels

    path = model_file(weights)
    sizes = [None if text == "own" else read_size(text) for text in size or ["own"]]
    job = BalanceJob(
        model=known_model(path, model),
        weights=path,
        out=place,
        threads=threads or len(os.sched_getaffinity(0)),
        sizes=tuple(dict.fromkeys(sizes)),
        counts=dict(map(_counted, weigh or ())),
        command=shlex.join(["toolchain", *sys.argv[1:]]),
    )
    photos = read_split(data, split).spread(limit)
    with photo_progress() as on_photo, stage_progress() as on_stage:
        found = balance_levels(job, photos, on_photo, on_stage)
    if as_json:
        import dataclasses

        print_json_text(as_json_bytes(dataclasses.asdict(found)).decode())
    else:
        _print(found, place)


def _counted(text: str) -> tuple[str, float]:
    name, _, times = text.partition("=")
    try:
        return name, float(times)
    except ValueError as error:
        raise InputError(f"--weigh must be KIND=TIMES, such as large=2 (got {text!r})") from error


def _print(found: Balance, out: Path) -> None:
    console = table_console()
    levels = Table(box=None, pad_edge=False)
    levels.add_column("level, pixels a cell")
    levels.add_column("log-odds", justify="right")
    for stride, shift in zip(found.strides, found.shifts, strict=True):
        levels.add_row(str(stride), f"{shift:+.3f}")
    console.print(levels)
    table = Table(box=None, pad_edge=False)
    table.add_column("average precision")
    columns = _columns(found)
    for heading in columns:
        table.add_column(heading, justify="right")
    for kind in found.before:
        table.add_row(escape(kind), *(f"{each[kind]:.4f}" for each in columns.values()))
    console.print(table)
    for photo in found.broken:
        console.print(escape(f"{photo.name} cannot be read ({photo.reason})"))
    if found.gained <= 0:
        console.print(
            "Nothing is written: shifts that one half of the photos chose find no more on the "
            "other. The levels agree as they are, or there are too few photos."
        )
        return
    console.print(
        f"As many boxes pass the threshold of {found.threshold:g} on these photos as before: "
        f"{found.shown:,}."
    )
    console.print(
        f"Weights are in [bold]{escape(str(out / 'model.safetensors'))}[/]. Next: toolchain "
        f"evaluate {escape(str(out / 'model.safetensors'))} --data DATA, on photos that chose "
        f"nothing."
    )


def _columns(found: Balance) -> dict[str, Precisions]:
    """Return average precision by heading; what a half gained by the other's shifts counts."""
    columns = {f"{found.sample.images} photos": found.before, "after": found.after}
    for place, half in enumerate(found.halves, start=1):
        columns[f"half {place}"] = half.before
        columns[f"by half {3 - place}'s shifts"] = half.after
    return columns
