"""The command ``verify``."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from toolchain.cli import asking
from toolchain.cli.app import Json, app, stage_progress
from toolchain.cli.streams import print_json

if TYPE_CHECKING:
    from toolchain.lineage.verifying import Verification


@app.command(epilog="Example:  [bold]toolchain verify out/eresfd[/]")
def verify(
    folder: Annotated[Path, typer.Argument(help="An output folder of shrink.")],
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the random inputs; a new one by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check an output folder: every hash, and every link of its lineage again, on new inputs."""
    asking.need_folder(folder, asking.FOLDER)
    from toolchain.lineage.verifying import verify as verify_folder

    chosen = secrets.randbelow(2**31) if seed is None else seed
    with stage_progress() as on_link:
        found = verify_folder(folder, chosen, on_link)
    if as_json:
        print_json(_as_content(found))
    else:
        _print(found)
    if not found.passed:
        raise typer.Exit(1)


def _as_content(found: Verification) -> dict[str, object]:
    return {
        "folder": found.folder,
        "seed": found.seed,
        "passed": found.passed,
        "problems": list(found.problems),
        "links": [
            {
                "link": check.name,
                "passed": check.passed,
                "problem": check.problem,
                "figure": check.stated.parity.figure,
                "limit": check.stated.parity.limit,
                "largest_share": check.found.worst if check.found else None,
                "mean_share": check.found.mean if check.found else None,
            }
            for check in found.links
        ],
    }


def _print(found: Verification) -> None:
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    table = Table(box=None, pad_edge=False)
    for heading in ("link", "differs by, of range", "limit", ""):
        table.add_column(heading, justify="right" if heading in ("limit",) else "left")
    for check in found.links:
        stated, again = check.stated, check.found
        share = None if again is None else again.parity.worst
        table.add_row(
            escape(check.name),
            "" if share is None else f"{share:.1e} ({stated.parity.figure})",
            f"{stated.parity.limit:.0e}",
            "holds" if check.passed else f"[bold red]BROKEN: {escape(str(check.problem))}[/]",
        )
    console.print(table)
    for problem in found.problems:
        console.print(f"[bold red]{escape(problem)}[/]")
    verdict = "verified" if found.passed else "[bold red]NOT verified[/]"
    console.print(f"{escape(found.folder)}: {verdict} (inputs of seed {found.seed})")
