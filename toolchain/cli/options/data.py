"""Options of photos with known faces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Data = Annotated[Path, typer.Option("--data", help="WIDER FACE in its official layout.")]
AnyData = Annotated[
    Path, typer.Option("--data", help="WIDER FACE, or what the recipe's evaluate.function takes.")
]
SplitName = Annotated[
    Literal["val", "train", "test"], typer.Option("--split", help="Which photos.")
]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, help="A fixed, spread-out sample of so many photos.")
]
LookedAt = Annotated[
    int,
    typer.Option("--sample", min=0, help="Photos of val to look at on the way; 0: none."),
]
