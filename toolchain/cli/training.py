"""The command ``train``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from toolchain.cli.app import app, messages
from toolchain.cli.evaluating import LINE_EVERY_SECONDS, Data
from toolchain.cli.shrinking import recipe_for
from toolchain.errors import DataError

if TYPE_CHECKING:
    from toolchain.data.wider import Split


@app.command(
    epilog="Examples:  [bold]toolchain train eresfd --data WIDER --teacher eresfd_16.pth "
    "--rate 0.2 --minutes 30[/]   |   [bold]toolchain train extd --data WIDER --rate 0.3[/] (the "
    "paper's procedure)   and the same command again goes on where it was stopped"
)
def train(
    model: Annotated[Literal["eresfd", "extd"], typer.Argument(help="The network.")],
    data: Data,
    teacher: Annotated[
        Path | None,
        typer.Option(help="Trained weights to learn from; without, from the data's own faces."),
    ] = None,
    start: Annotated[
        Path | None, typer.Option("--from", help="Weights to start from; without, random ones.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Share of filters to zero.")] = None,
    criterion: Annotated[
        Literal["fpgm", "l1"] | None, typer.Option(help="Which filters matter least.")
    ] = None,
    scope: Annotated[
        Literal["group", "layer"] | None, typer.Option(help="Choose by group, or as the paper.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=0, help="Without a teacher: before the zeros are held.")
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0.1, help="With a teacher; the pace is measured at the start.")
    ] = 30.0,
    images: Annotated[
        int | None, typer.Option(min=100, help="With a teacher: so many crops, whatever the time.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Crops in a step.")] = None,
    labels: Annotated[
        float | None, typer.Option(help="With a teacher: weight of the data's own faces.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any field of the recipe, as train.hold_epochs=5."),
    ] = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to compute.")] = "cpu",
    half: Annotated[bool, typer.Option("--bfloat16", help="Compute in bfloat16.")] = False,
    threads: Annotated[int, typer.Option(min=1, max=256)] = 2,
    workers: Annotated[
        int, typer.Option(min=0, max=64, help="Processes that draw crops ahead.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and crops.")] = 0,
    sample: Annotated[
        int, typer.Option(min=0, help="Photos of val to look at on the way; 0: none.")
    ] = 40,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard events too.")] = False,
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
    """Train and prune a network; stopped at any moment, it goes on exactly."""
    from toolchain.train.processor import keep_gradients_right

    keep_gradients_right()
    from toolchain.recipe import override, parse_assignment
    from toolchain.train.job import TrainingJob
    from toolchain.train.training import train as run_training

    section = "train" if teacher is None else "teach"
    prune: dict[str, object] = {"rate": rate, "criterion": criterion, "scope": scope}
    given = {f"{section}.batch": batch, "train.epochs": epochs, "teach.labels": labels}
    wanted = override(
        recipe_for(model, recipe, prune, None),
        {key: value for key, value in given.items() if value is not None}
        | dict(parse_assignment(text) for text in settings or []),
    )
    job = TrainingJob(
        recipe=wanted,
        out=out or Path("out") / "train" / f"{model}-{wanted.prune.rate or 0:g}",
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
    with _shown() as (on_photo, on_step):
        trained = run_training(job, *_photos(data, sample), on_photo, on_step)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{trained.images:,} crops, {trained.seconds:.0f} s in this run")
    console.print(
        f"Weights are in [bold]{escape(str(trained.weights))}[/]. Next: "
        f"[bold]toolchain shrink {model} --ckpt {escape(str(trained.weights))}[/]"
    )


def _photos(data: Path, sample: int) -> tuple[Split, Split | None]:
    """Return the photos to learn from, and those to look at, if val is there with its faces."""
    from toolchain.data.wider import read_split

    learnt = read_split(data, "train")
    if sample:
        try:
            return learnt, read_split(data, "val").spread(sample)
        except DataError as error:
            messages.print(f"no average precision on the way: {error}", markup=False)
    return learnt, None


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
