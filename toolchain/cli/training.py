"""The command ``train``."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from toolchain.cli import asking
from toolchain.cli.app import app, messages
from toolchain.cli.evaluating import LINE_EVERY_SECONDS, Data
from toolchain.cli.options import (
    PHOTOS,
    Batch,
    Cache,
    Criterion,
    Device,
    Drawers,
    Epochs,
    Half,
    Images,
    KeepSeconds,
    Labels,
    LookedAt,
    Minutes,
    Network,
    RecipeFile,
    Scope,
    Seed,
    Settings,
    Start,
    Teacher,
    Threads,
    recipe_of,
)
from toolchain.cli.shrinking import recipe_for
from toolchain.errors import DataError

if TYPE_CHECKING:
    from toolchain.data.wider import Split
    from toolchain.recipe import PruneSection


@app.command(
    epilog="Examples:  [bold]toolchain train eresfd --data WIDER --teacher eresfd_16.pth "
    "--rate 0.2 --minutes 30[/]   |   [bold]toolchain train extd --data WIDER --rate 0.3[/] (the "
    "paper's procedure)   and the same command again goes on where it was stopped"
)
def train(
    model: Network,
    data: Data,
    teacher: Teacher = None,
    start: Start = None,
    rate: Annotated[float | None, typer.Option(help="Share of filters to zero.")] = None,
    criterion: Criterion = None,
    scope: Scope = None,
    epochs: Epochs = None,
    minutes: Minutes = 30.0,
    images: Images = None,
    batch: Batch = None,
    labels: Labels = None,
    settings: Settings = None,
    device: Device = "cpu",
    half: Half = False,
    threads: Threads = 2,
    workers: Drawers = 0,
    seed: Seed = 0,
    sample: LookedAt = 40,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard events too.")] = False,
    out: Annotated[Path | None, typer.Option(help="Output folder; out/train/MODEL-RATE.")] = None,
    cache: Cache = PHOTOS,
    keep_seconds: KeepSeconds = 60.0,
    recipe: RecipeFile = None,
) -> None:
    """Train and prune a network; stopped at any moment, it goes on exactly."""
    from toolchain.train.processor import keep_gradients_right

    keep_gradients_right()
    asking.need_folder(data, asking.WIDER_TRAIN)
    asking.need_checkpoint(teacher)
    asking.need_checkpoint(start)
    asking.need_room(out)
    prune: dict[str, object] = {"rate": rate, "criterion": criterion, "scope": scope}
    section = "train" if teacher is None else "teach"
    fields = {f"{section}.batch": batch, "train.epochs": epochs, "teach.labels": labels}
    wanted = recipe_of(recipe_for(model, recipe, prune, None), fields, settings)

    from toolchain.train.job import TrainingJob
    from toolchain.train.training import train as run_training

    job = TrainingJob(
        recipe=wanted,
        out=out or Path("out") / "train" / f"{model}-{_pruned(wanted.prune)}",
        cache=cache,
        teacher=teacher,
        start=start,
        images=images,
        minutes=minutes,
        threads=threads,
        workers=workers,
        seed=seed,
        device=device,
        half=half,
        keep_every_seconds=keep_seconds,
        events=tensorboard,
    )
    with training_progress() as (on_photo, on_step):
        trained = run_training(job, *_photos(data, sample), on_photo, on_step)
    if not _is_first():
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


def _is_first() -> bool:
    """Tell whether this is the process that prints, of those that ``torchrun`` started."""
    return int(os.environ.get("RANK", "0")) == 0


def _photos(data: Path, sample: int) -> tuple[Split, Split | None]:
    """Return the photos to learn from, and those to look at, if val is there with its faces."""
    from toolchain.data.wider import read_split

    learnt = read_split(data, "train")
    if sample:
        try:
            return learnt, read_split(data, "val").spread(sample)
        except DataError as error:
            if _is_first():
                messages.print(f"no average precision on the way: {error}", markup=False)
    return learnt, None


@contextlib.contextmanager
def training_progress() -> Iterator[
    tuple[Callable[[int, int], None], Callable[[str, int, int, float], None]]
]:
    """Show photos prepared, then steps, the loss and the time left."""
    if not _is_first():
        yield _unseen, _unseen
        return
    if not messages.is_terminal:
        yield _lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.1f} %"))
    with Progress(*columns, TimeRemainingColumn(), console=messages) as progress:
        tasks: dict[str, TaskID] = {}

        def show(kind: str, words: str, done: int, total: int) -> None:
            if kind not in tasks:
                tasks[kind] = progress.add_task(words, total=total)
            progress.update(tasks[kind], description=words, completed=done)

        yield (
            lambda done, total: show("photos", "photos", done, total),
            lambda phase, step, steps, loss: show(
                "steps", f"{phase}{_with_loss(loss)}", step, steps
            ),
        )


def _with_loss(loss: float) -> str:
    return f", loss {loss:.4g}" if math.isfinite(loss) else ""


def _unseen(*_: object) -> None:
    """Take progress that nobody sees."""


def _lines() -> tuple[Callable[[int, int], None], Callable[[str, int, int, float], None]]:
    told = {"at": time.perf_counter()}
    start: dict[str, float] = {}

    def due() -> bool:
        now = time.perf_counter()
        if now - told["at"] < LINE_EVERY_SECONDS:
            return False
        told["at"] = now
        return True

    def on_photo(done: int, total: int) -> None:
        if due():
            messages.print(f"photos: {done} of {total}", markup=False)

    def on_step(phase: str, step: int, steps: int, loss: float) -> None:
        if math.isfinite(loss):  # else no step was taken yet
            start.setdefault("step", step)
            start.setdefault("at", time.perf_counter())
        if due() or step == steps:
            took = time.perf_counter() - start.get("at", math.inf)
            pace = (step - start.get("step", step)) / max(took, 1e-9)
            left = f", {(steps - step) / pace / 60:.1f} min left" if pace and step < steps else ""
            told_loss = f"{_with_loss(loss)}{left}"
            messages.print(f"{phase}: step {step} of {steps}{told_loss}", markup=False)

    return on_photo, on_step
