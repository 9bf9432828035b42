"""Options of how a training computes, and of what it keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from toolchain.system import caches

PHOTOS = caches.photo_cache()
"""Where decoded photos are kept by default."""

Device = Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to compute.")]
Half = Annotated[bool, typer.Option("--bfloat16", help="Compute in bfloat16.")]
DrawingAhead = Annotated[
    int, typer.Option("--workers", min=0, max=64, help="Processes that draw crops ahead.")
]
PhotoCache = Annotated[
    Path,
    typer.Option(show_default=f"photos in {caches.SHOWN}", help="Where decoded photos are kept."),
]
KeepSeconds = Annotated[float, typer.Option(min=0, help="How often the state is written.")]
