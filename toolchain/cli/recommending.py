"""The command ``recommend``: what to put on a board."""

from __future__ import annotations

import dataclasses
import re
import sys
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.markup import escape
from rich.table import Table

from toolchain.cli.app import Json, app, table_console
from toolchain.cli.feeding import read_size
from toolchain.cli.options.boards import CACHE, ArmCache, OwnTargets
from toolchain.cli.streams import print_json
from toolchain.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from toolchain.records.recommendation import Level, Recommendation

LEVELS = ("mean", "easy", "medium", "hard")


@app.command(
    epilog="Examples:  [bold]toolchain recommend eresfd --target rpi5 --max-ms 5[/]   |   "
    "[bold]toolchain recommend --min-ap easy=0.85[/]   |   "
    "[bold]toolchain recommend out/mine out/other --target rpi4[/]"
)
def recommend(
    places: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL|DIR]...",
            help="eresfd, extd, or output folders of shrink; without, all that ships.",
        ),
    ] = None,
    target: Annotated[str, typer.Option(help="A board of toolchain targets.")] = "rpi4",
    min_ap: Annotated[
        str | None,
        typer.Option(
            help="Least average precision, 0 to 1: the mean of the three levels, as 0.8, or one "
            "level, as easy=0.85."
        ),
    ] = None,
    max_ms: Annotated[
        float | None,
        typer.Option(min=0, help="Most milliseconds of an inference, by the middle of estimates."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="Input of those that ship, HEIGHTxWIDTH.  \\[default: 320x320]"),
    ] = None,
    shares: Annotated[
        bool,
        typer.Option(
            "--shares",
            help="In place of sizes: instructions as shares of the unpruned network's, and of its "
            "plain export's.",
        ),
    ] = False,
    targets_file: OwnTargets = None,
    cache: ArmCache = CACHE,
    as_json: Json = False,
) -> None:
    """Tell what to put on a board: all there is, its accuracy, time and size, and the one to take.

    Nothing is run: it goes by cards, tables and what was checked before.
    """
    from toolchain.arm.targets import find_target
    from toolchain.records.recommendation import Wish
    from toolchain.workflows.recommending.answering import recommend as answer
    from toolchain.workflows.recommending.failing import demand_chosen

    board = find_target(target, targets_file)
    least, level = _read_min_ap(min_ap)
    wish = Wish(least, level, max_ms)
    found = answer(places or (), board, wish, _read_size(size), cache)
    if not as_json:
        _print(found, shares)
    demand_chosen(found, board)
    if as_json:
        print_json(_content(found))


def _read_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    size = read_size(text)
    if not all(32 <= side <= 8192 for side in size):
        raise InputError(f"--size must have sides >= 32 and <= 8192 (got {text!r})")
    return size


def _read_min_ap(text: str | None) -> tuple[float | None, Level]:
    if text is None:
        return None, "mean"
    level, _, number = text.rpartition("=")
    level = level.strip().lower() or "mean"
    if level not in LEVELS:
        raise InputError(
            f"--min-ap {text}: its level must be one of {', '.join(LEVELS)}"
            f"{did_you_mean(level, LEVELS)}"
        )
    if not re.fullmatch(r"\s*(0?\.\d+|[01](\.\d*)?)\s*", number) or float(number) > 1:
        raise InputError(
            f"--min-ap must be >= 0 and <= 1, as 0.8 or easy=0.85 (got {text!r}); 85 % is 0.85"
        )
    return float(number), cast("Level", level)


def _content(found: Recommendation) -> dict[str, object]:
    """Return the recommendation as JSON has it, with the means beside the levels."""
    content = dataclasses.asdict(found)
    for candidate, record in zip(found.candidates, content["candidates"], strict=True):
        if candidate.accuracy is not None:
            record["accuracy"]["mean"] = candidate.accuracy.mean
    return content


def _print(found: Recommendation, shares: bool) -> None:
    from toolchain.report.recommendation import LEFT, head, heading, legend, rows

    console = table_console()
    console.print(f"[bold]{escape(heading(found))}[/]\n")
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for index, title in enumerate(head(shares=shares)):
        left = index in LEFT
        table.add_column(title, justify="left" if left else "right", no_wrap=index != 1)
    for cells in rows(found, shares=shares):
        table.add_row(*map(escape, cells), style="bold" if cells[0] == "*" else None)
    console.print(table)
    console.print()
    words = not sys.stdout.isatty()  # a terminal's lines break between words, a file's do not
    for line in (*legend(found, shares=shares), "", *found.notes):
        console.print(escape(line), soft_wrap=words)
    chosen = next((each for each in found.candidates if each.name == found.chosen), None)
    if chosen is not None:
        console.print(f"\nNext, for [bold]{escape(chosen.name)}[/]:")
        for line in chosen.next:
            console.print(f"  [bold]{escape(line)}[/]")
