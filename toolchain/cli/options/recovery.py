"""Options of a recovery: what goes, what is learnt from, how long, and on what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from toolchain.cli.options.budgets import Budget
from toolchain.cli.options.computing import (
    PHOTOS,
    Device,
    DrawingAhead,
    Half,
    KeepSeconds,
    PhotoCache,
)
from toolchain.cli.options.pruning import Align, Criterion
from toolchain.errors import InputError

TARGET = "rpi4"
"""The board, where none is named."""


@dataclass(frozen=True)
class Recovery:
    """What goes, what is learnt from, how long, and on what."""

    rate: Annotated[
        float | None, typer.Option(help="Share of the filters of every group that goes.")
    ] = None
    target: Annotated[
        str | None, typer.Option(help="The board of --instructions and --latency; rpi4.")
    ] = None
    runtime: Annotated[
        Literal["ncnn", "onnxruntime"] | None,
        typer.Option(help="Whose instructions; without, the fastest that the board has."),
    ] = None
    images: Annotated[
        Path | None,
        typer.Option(help="A folder of photos, nested perhaps; a few hundred that differ."),
    ] = None
    minutes: Annotated[
        float, typer.Option(min=0.1, help="How long; the pace is measured at the start.")
    ] = 30.0
    steps: Annotated[
        int | None, typer.Option(min=1, help="So many steps in place of it, whatever the time.")
    ] = None
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=4096,
            help="Crops in a step; without, 8, on a CPU as few as make 0.2 million pixels.",
        ),
    ] = None
    outputs: Annotated[
        str | None,
        typer.Option(
            help="Kinds of outputs by number or name, as 0=logits,1=boxes: logits, binary, "
            "probabilities, scores, boxes or values."
        ),
    ] = None
    blocks: Annotated[
        str | None,
        typer.Option(help="Modules that learn on their own, as 'stem,layer1.*'; found by default."),
    ] = None
    learn: Annotated[
        str | None,
        typer.Option(help="Modules that learn, as 'neck.*,head.*'; the others stay. All learn."),
    ] = None
    soft_share: Annotated[
        float,
        typer.Option(
            min=0,
            max=0.95,
            help="Of the steps, the first ones: filters are chosen anew, zeroed, and may come "
            "back (soft filter pruning). Without, they are chosen once.",
        ),
    ] = 0.0
    average: Annotated[
        bool,
        typer.Option("--average", help="End halfway between --from and what is learnt from there."),
    ] = False
    criterion: Criterion = None
    align: Align = None
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any field of the recipe, as input.color_order=BGR."),
    ] = None
    device: Device = "cpu"
    half: Half = False
    threads: Annotated[int, typer.Option(min=1, max=256, help="Of the process.")] = 2
    workers: DrawingAhead = 0
    seed: Annotated[int, typer.Option(min=0, help="Of order and crops.")] = 0
    cache: PhotoCache = PHOTOS
    keep_seconds: KeepSeconds = 60.0

    @property
    def fields(self) -> Mapping[str, object]:
        """The fields of ``[prune]``, None where nothing was said."""
        return {"rate": self.rate, "criterion": self.criterion, "align": self.align}

    def target_of_all(self, budget: Budget) -> Mapping[str, object]:
        """Return what a pruner is given in place of a rate; empty where a rate or a recipe says it.

        Raises :class:`InputError` for two of these, and for a board that nothing asks.
        """
        on_board = {"target": self.target, "runtime": self.runtime}
        board = {name: value for name, value in on_board.items() if value is not None}
        if board and not budget.on_board:
            raise InputError("--target and --runtime are for --instructions and --latency")
        if not budget:
            return {}
        from toolchain.arm.targets import find_target

        wanted = budget.within(self.rate)
        if wanted.counted is not None:
            return {wanted.counted.lower(): wanted.parameters or wanted.macs}
        return {"instructions": wanted.on(find_target(self.target or TARGET)), **board}

    @property
    def names(self) -> tuple[str, ...] | None:
        """The blocks that were named; None for those that are found."""
        return _names("--blocks", self.blocks)

    @property
    def learning(self) -> tuple[str, ...] | None:
        """The modules that learn; None for all."""
        return _names("--learn", self.learn)

    @property
    def kinds(self) -> Mapping[str, str]:
        """The kinds of outputs that were told."""
        found = {}
        for part in (self.outputs or "").split(",") if self.outputs else ():
            name, equals, kind = part.partition("=")
            if not (name.strip() and equals and kind.strip()):
                raise InputError(f"--outputs must be NAME=KIND, as 0=logits,1=boxes (got {part!r})")
            found[name.strip()] = kind.strip()
        return found


def _names(option: str, given: str | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = tuple(name.strip() for name in given.split(","))
    if not all(names):
        raise InputError(
            f"{option} must be names, as 'stem,layer1.*' (got {given!r}); see --dry-run"
        )
    return names
