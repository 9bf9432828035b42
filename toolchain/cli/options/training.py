"""Options of a training, which a sweep of trainings takes as well."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli import asking
from toolchain.cli.options.computing import (
    PHOTOS,
    Device,
    DrawingAhead,
    Half,
    KeepSeconds,
    PhotoCache,
)
from toolchain.cli.options.pruning import Align, Criterion, Scope
from toolchain.cli.recipes import recipe_for, with_settings

if TYPE_CHECKING:
    from toolchain.recipe import Recipe
    from toolchain.train.job import TrainingJob


@dataclass(frozen=True)
class Training:
    """What is learnt from, how long, and on what."""

    teacher: Annotated[
        Path | None,
        typer.Option(help="Trained weights to learn from; without, from the data's own faces."),
    ] = None
    start: Annotated[
        Path | None, typer.Option("--from", help="Weights to start from; without, random ones.")
    ] = None
    criterion: Criterion = None
    scope: Scope = None
    align: Align = None
    epochs: Annotated[
        int | None, typer.Option(min=0, help="Without a teacher: before the zeros are held.")
    ] = None
    minutes: Annotated[
        float, typer.Option(min=0.1, help="With a teacher; the pace is measured at the start.")
    ] = 30.0
    images: Annotated[
        int | None, typer.Option(min=100, help="With a teacher: so many crops, whatever the time.")
    ] = None
    batch: Annotated[int | None, typer.Option(min=1, help="Crops in a step.")] = None
    labels: Annotated[
        float | None, typer.Option(help="With a teacher: weight of the data's own faces.")
    ] = None
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any field of the recipe, as train.hold_epochs=5."),
    ] = None
    device: Device = "cpu"
    half: Half = False
    threads: Annotated[int, typer.Option(min=1, max=256, help="Of each process.")] = 2
    workers: DrawingAhead = 0
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and crops.")] = 0
    cache: PhotoCache = PHOTOS
    keep_seconds: KeepSeconds = 60.0
    recipe: Annotated[Path | None, typer.Option(help="A recipe instead of the shipped one.")] = None

    def check(self) -> None:
        """Raise :class:`InputError` for files that are not there, before PyTorch is loaded."""
        asking.need_checkpoint(self.teacher)
        asking.need_checkpoint(self.start)

    def everywhere(self) -> Training:
        """Return the same with paths that are right in every working folder."""
        paths = {
            name: path.resolve()
            for name in ("cache", "teacher", "start")
            if (path := getattr(self, name)) is not None
        }
        return dataclasses.replace(self, **paths)

    def recipe_of(self, model: str, rate: float | None = None) -> Recipe:
        """Return the recipe with all that was said."""
        prune: dict[str, object] = {
            "rate": rate, "criterion": self.criterion, "scope": self.scope, "align": self.align
        }  # fmt: skip
        section = "train" if self.teacher is None else "teach"
        fields = {
            f"{section}.batch": self.batch,
            "train.epochs": self.epochs,
            "teach.labels": self.labels,
        }
        return with_settings(recipe_for(model, self.recipe, prune, None), fields, self.settings)

    def job(self, recipe: Recipe, out: Path, *, events: bool = False) -> TrainingJob:
        """Return the training that was asked for."""
        from toolchain.train.job import TrainingJob

        return TrainingJob(
            recipe=recipe,
            out=out,
            cache=self.cache,
            teacher=self.teacher,
            start=self.start,
            images=self.images,
            minutes=self.minutes,
            threads=self.threads,
            workers=self.workers,
            seed=self.seed,
            device=self.device,
            half=self.half,
            keep_every_seconds=self.keep_seconds,
            events=events,
        )
