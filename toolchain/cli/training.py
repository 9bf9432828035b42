"""The command ``train``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from toolchain.cli.app import app, messages
from toolchain.cli.evaluating import LINE_EVERY_SECONDS, Data
from toolchain.cli.shrinking import recipe_for


@app.command(
    epilog="Example:  [bold]toolchain train eresfd --data WIDER --teacher eresfd_16.pth "
    "--rate 0.2 --minutes 30[/]   and the same command again goes on where it was stopped"
)
def train(
    model: Annotated[Literal["eresfd", "extd"], typer.Argument(help="The network.")],
    data: Data,
    teacher: Annotated[Path, typer.Option("--teacher", help="Trained weights of this network.")],
    rate: Annotated[float, typer.Option(help="Share of filters that is held at zero.")] = 0.0,
    criterion: Annotated[
        Literal["fpgm", "l1"] | None, typer.Option(help="Which filters matter least.")
    ] = None,
    scope: Annotated[
        Literal["group", "layer"] | None, typer.Option(help="Choose by group, or as the paper.")
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0.1, help="How long; the pace is measured at the start.")
    ] = 30.0,
    images: Annotated[
        int | None, typer.Option(min=100, help="How many crops instead, whatever the time.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Crops in a step.")] = 2,
    threads: Annotated[int, typer.Option(min=1, max=256)] = 2,
    workers: Annotated[
        int, typer.Option(min=0, max=64, help="Processes that draw crops ahead.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and crops.")] = 0,
    labels: Annotated[
        float, typer.Option(min=0, max=100, help="Weight of the data set's own faces.")
    ] = 0.0,
    out: Annotated[Path | None, typer.Option(help="Output folder; out/train/MODEL-RATE.")] = None,
    cache: Annotated[Path, typer.Option(help="Where decoded photos are kept.")] = Path(
        ".cache/photos"
    ),
    keep_seconds: Annotated[
        float, typer.Option(min=0, help="How often the state is written.")
    ] = 60.0,
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe instead of the shipped one.")
    ] = None,
) -> None:
    """Train with a teacher, from random weights; stopped at any moment, it goes on exactly."""
    from toolchain.train.processor import keep_gradients_right

    keep_gradients_right()
    from toolchain.data.wider import read_split
    from toolchain.train.training import TrainingJob
    from toolchain.train.training import train as run_training

    prune: dict[str, object] = {"rate": rate, "criterion": criterion, "scope": scope}
    job = TrainingJob(
        recipe=recipe_for(model, recipe, prune, None),
        teacher=teacher,
        out=out or Path("out") / "train" / f"{model}-{rate:g}",
        cache=cache,
        images=images,
        minutes=minutes,
        batch=batch,
        threads=threads,
        workers=workers,
        seed=seed,
        labels=labels,
        keep_every_seconds=keep_seconds,
    )
    with _shown() as (on_photo, on_step):
        trained = run_training(job, read_split(data, "train"), on_photo, on_step)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{trained.images:,} crops, {trained.seconds:.0f} s in this run")
    console.print(
        f"Weights are in [bold]{escape(str(trained.weights))}[/]. Next: "
        f"[bold]toolchain shrink {model} --ckpt {escape(str(trained.weights))}[/]"
    )


@contextlib.contextmanager
def _shown() -> Iterator[tuple[Callable[[int, int], None], Callable[[str, int, int, float], None]]]:
    """Show photos prepared, then steps, the loss and the time left."""
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
                "steps", f"{phase}, loss {loss:.4g}", step, steps
            ),
        )


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
        start.setdefault("step", step)
        start.setdefault("at", time.perf_counter())
        if due() or step == steps:
            pace = (step - start["step"]) / max(time.perf_counter() - start["at"], 1e-9)
            left = f", {(steps - step) / pace / 60:.1f} min left" if pace and step < steps else ""
            messages.print(f"{phase}: step {step} of {steps}, loss {loss:.4g}{left}", markup=False)

    return on_photo, on_step
