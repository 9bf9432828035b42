"""Networks by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from toolchain.recipe.loading import shipped_models

if TYPE_CHECKING:
    DetectorName = str
else:
    DetectorName = Literal[tuple(shipped_models())]
"""A network that ships with a recipe of its own."""

Network = Annotated[DetectorName, typer.Argument(help="The network.")]
