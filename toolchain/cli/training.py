"""The command ``train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from toolchain.cli import asking
from toolchain.cli.app import app, messages
from toolchain.cli.options.data import Data, LookedAt
from toolchain.cli.options.grouping import grouped
from toolchain.cli.options.networks import Network
from toolchain.cli.options.training import Training
from toolchain.cli.progress import is_first, training_progress
from toolchain.errors import DataError

if TYPE_CHECKING:
    from toolchain.data.wider import Split
    from toolchain.recipe import PruneSection


@app.command(
    epilog="Examples:  [bold]toolchain train eresfd --data WIDER --teacher eresfd_16.pth "
    "--rate 0.2 --minutes 30[/]   |   [bold]toolchain train extd --data WIDER --rate 0.3[/] (the "
    "paper's procedure)   and the same command again goes on where it was stopped"
)
@grouped
def train(
    model: Network,
    data: Data,
    training: Training,
    rate: Annotated[float | None, typer.Option(help="Share of filters to zero.")] = None,
    sample: LookedAt = 40,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard events too.")] = False,
    out: Annotated[Path | None, typer.Option(help="Output folder; out/train/MODEL-RATE.")] = None,
) -> None:
    """Train and prune a network; stopped at any moment, it goes on exactly."""
    from toolchain.train.processor import keep_gradients_right

    keep_gradients_right()
    asking.need_folder(data, asking.WIDER_TRAIN)
    training.check()
    asking.need_room(out)
    wanted = training.recipe_of(model, rate)

    from toolchain.train.training import train as run_training

    place = out or Path("out") / "train" / f"{model}-{_pruned(wanted.prune)}"
    job = training.job(wanted, place, events=tensorboard)
    with training_progress() as (on_photo, on_step):
        trained = run_training(job, *_photos(data, sample), on_photo, on_step)
    if not is_first():
        return
    for name, reason in trained.broken:
        messages.print(f"left out: {name} ({reason})", markup=False)
    if trained.dropped_faces:
        messages.print(f"{trained.dropped_faces:,} faces of no size or outside their photo")
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    console.print(f"{trained.images:,} crops, {trained.seconds:.0f} s in this run")
    console.print(
        f"Weights are in [bold]{escape(str(trained.weights))}[/]. Next: "
        f"[bold]toolchain shrink {model} --ckpt {escape(str(trained.weights))}[/]"
    )


def _pruned(prune: PruneSection) -> str:
    return "widths" if prune.widths else f"{prune.rate or 0:g}"


def _photos(data: Path, sample: int) -> tuple[Split, Split | None]:
    """Return the photos to learn from, and those to look at, if val is there with its faces."""
    from toolchain.data.wider import read_split

    learnt = read_split(data, "train")
    if sample:
        try:
            return learnt, read_split(data, "val").spread(sample)
        except DataError as error:
            if is_first():
                messages.print(f"no average precision on the way: {error}", markup=False)
    return learnt, None
