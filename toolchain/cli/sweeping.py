"""The command ``sweep``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from toolchain.cli import asking
from toolchain.cli.app import app, messages
from toolchain.cli.options.data import Data, Limit, LookedAt
from toolchain.cli.options.grouping import grouped
from toolchain.cli.options.networks import Network
from toolchain.cli.options.training import Training
from toolchain.cli.progress import training_progress
from toolchain.errors import ProofError

if TYPE_CHECKING:
    from toolchain.records.training import Sweep
    from toolchain.workflows.sweep.job import Making


OnRay = Annotated[
    str | None,
    typer.Option(
        "--ray",
        help="Spread the members of a sweep over the Ray cluster at this address; 'auto': the one "
        "on this machine; 'local': start one. All machines must see the same folders.",
    ),
]


@app.command(
    epilog="Example:  [bold]toolchain sweep eresfd --rates 0,0.1,0.2,0.3,0.5 --data WIDER "
    "--teacher eresfd_16.pth --minutes 30[/]   and the same command again goes on where it was"
)
@grouped
def sweep(
    model: Network,
    data: Data,
    training: Training,
    rates: Annotated[str, typer.Option(help="Rates, with commas between.")] = "0,0.1,0.2,0.3,0.5",
    protocol: Annotated[
        Literal["single", "paper"], typer.Option(help="One pass, or several scales and mirrored.")
    ] = "single",
    limit: Limit = None,
    sample: LookedAt = 0,
    chained: Annotated[
        bool,
        typer.Option("--chained", help="Each member starts from the one of the next lower rate."),
    ] = False,
    cluster: OnRay = None,
    out: Annotated[Path | None, typer.Option(help="Output folder; out/sweep/MODEL.")] = None,
) -> None:
    """Train, shrink, export and evaluate a network at several rates, and draw size against AP."""
    from toolchain.train.processor import keep_gradients_right

    keep_gradients_right()
    asking.need_folder(data, asking.WIDER_TRAIN)
    training.check()
    asking.need_room(out)
    place = (out or _usual_folder(model)).resolve()
    trained = training.everywhere().job(training.recipe_of(model), place)

    from toolchain.workflows.sweep.job import SweepJob, parse_rates

    command = shlex.join(["toolchain", *sys.argv[1:]])
    job = SweepJob(
        trained,
        parse_rates(rates),
        data.resolve(),
        protocol,
        limit,
        chained=chained,
        sample=sample,
        command=command,
    )
    finish(run(job, cluster), place)


def _usual_folder(model: str) -> Path:
    """Return out/sweep/MODEL; or where a sweep of an earlier version lies, so that it goes on."""
    earlier = Path("out") / "family" / model
    return earlier if earlier.is_dir() else Path("out") / "sweep" / model


def run(job: Making, cluster: str | None) -> Sweep:
    """Make the members of a sweep, here or on a cluster, and show how far they are."""
    from toolchain.workflows.sweep.cluster import on_cluster
    from toolchain.workflows.sweep.members import Listeners
    from toolchain.workflows.sweep.running import in_order, run_sweep

    page = escape(str(job.out / "sweep.html"))
    messages.print(f"How far it is: [bold]{page}[/]")
    if cluster is not None:
        return run_sweep(job, on_cluster(cluster))
    with training_progress() as (on_photo, on_step):
        say = lambda words: messages.print(words, markup=False)  # noqa: E731
        return run_sweep(job, in_order(Listeners(say, on_photo, on_step)))


def finish(made: Sweep, out: Path) -> None:
    """Print the members; raise what failed."""
    table = Table(box=None, pad_edge=False)
    for heading in ("rate", "parameters", "ONNX bytes", *made.figures, "hours"):
        table.add_column(heading, justify="right")
    for member in made.members:
        if member.state == "done" and member.accuracy is not None:
            figures = [f"{member.accuracy.get(name, float('nan')):.4f}" for name in made.figures]
            table.add_row(
                f"{member.rate:g}",
                f"{member.deployed_parameters:,}",
                f"{member.onnx_bytes:,}",
                *figures,
                f"{member.hours:.2f}",
            )
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    console.print(table)
    console.print(f"The picture is in [bold]{escape(str(out / 'sweep.html'))}[/]")
    failed = [member for member in made.members if member.state == "failed"]
    if failed:
        told = "; ".join(f"rate {member.rate:g}: {member.reason}" for member in failed)
        raise ProofError(
            f"{len(failed)} of {len(made.members)} members failed ({told}); the others are kept, "
            f"and the same command goes on"
        )
