"""Networks by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from toolchain.recipe.loading import models_with_recipe

if TYPE_CHECKING:
    DetectorName = str
else:
    DetectorName = Literal[tuple(models_with_recipe())]
"""A network that ships with a recipe of its own."""

Network = Annotated[DetectorName, typer.Argument(help="The network.")]
