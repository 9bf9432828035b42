"""Options that say what goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

Criterion = Annotated[
    Literal["fpgm", "l1"] | None, typer.Option("--criterion", help="Which filters matter least.")
]
Scope = Annotated[
    Literal["group", "layer"] | None,
    typer.Option("--scope", help="Choose by group, or as the paper."),
]
Align = Annotated[
    int | None,
    typer.Option(
        "--align",
        min=1,
        max=4096,
        help="What stays of a group is a multiple of it, and groups share the rate: 4 suits ncnn "
        "(eresfd, extd), 1 takes floor(rate * n) of every group, as the paper.",
    ),
]


@dataclass(frozen=True)
class Pruning:
    """How many filters go, and which."""

    rate: Annotated[
        float | None,
        typer.Option(
            help="The share of filters that goes: by the most accurate network that is shipped for "
            "which it pays on a board, or with --ckpt in one shot; without a rate, only what is "
            "zero."
        ),
    ] = None
    parameters: Annotated[
        str | None,
        typer.Option(
            help="In place of a rate: of the networks that are shipped, the one that finds most "
            "with at most so many deployed parameters, such as 52k."
        ),
    ] = None
    instructions: Annotated[
        str | None,
        typer.Option(
            help="The same by what ncnn takes on a Raspberry Pi 4 for 320x320, such as 22M."
        ),
    ] = None
    criterion: Criterion = None
    scope: Scope = None
    align: Align = None
    round_to: Annotated[
        Literal["auto"] | None,
        typer.Option(help="auto: widths that cost no more than the rate's, by toolchain cost."),
    ] = None
    costs: Annotated[
        Path | None,
        typer.Option(help="What toolchain cost wrote; out/cost/MODEL-rpi4/cost.json by default."),
    ] = None
    accept_partial: Annotated[
        bool,
        typer.Option(
            "--accept-partial",
            help="Go on where less than a third of the filters that are to go can be removed.",
        ),
    ] = False

    @property
    def fields(self) -> dict[str, object]:
        """The fields of ``[prune]``, None where nothing was said."""
        return {
            "rate": self.rate,
            "criterion": self.criterion,
            "scope": self.scope,
            "align": self.align,
        }
