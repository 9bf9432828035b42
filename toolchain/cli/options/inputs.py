"""Options that say what a network is called with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli.feeding import fed_as

if TYPE_CHECKING:
    from toolchain.recipe import Recipe

InputShape = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        help="What a network of your own is called with, such as 1x12x160x160; may be repeated, "
        "for an argument by name as mask=1x1x64x64, of another type as 1x16:int64.",
    ),
]
Size = Annotated[str | None, typer.Option(help="Input size, HEIGHTxWIDTH.")]


Scale = Annotated[
    str | None,
    typer.Option(help="The network is given (pixel * scale - mean) / std; 1/255, for example."),
]
Mean = Annotated[
    str | None, typer.Option(help="One number, or one per channel, as 0.485,0.456,0.406.")
]
Std = Annotated[str | None, typer.Option(help="The same.")]


@dataclass(frozen=True)
class Pixels:
    """What becomes of pixels."""

    scale: Scale = None
    mean: Mean = None
    std: Std = None

    def fed(self, recipe: Recipe) -> Recipe:
        """Return the recipe with what was said of pixels."""
        return fed_as(recipe, {"scale": self.scale, "mean": self.mean, "std": self.std})


@dataclass(frozen=True)
class Inputs:
    """The sizes, and what becomes of pixels."""

    size: Annotated[
        list[str] | None,
        typer.Option(help="Input size, HEIGHTxWIDTH; may be repeated, a folder for each."),
    ] = None
    input_shape: InputShape = None
    scale: Scale = None
    mean: Mean = None
    std: Std = None

    @property
    def sizes(self) -> list[str | None]:
        """Each size that was asked for; None where none was."""
        return [*self.size] if self.size else [None]

    @property
    def says_pixels(self) -> bool:
        """True if it was said what becomes of pixels."""
        return any((self.scale, self.mean, self.std))

    @property
    def fields(self) -> dict[str, object]:
        """The fields of the recipe that were said, but for size and pixels."""
        return {"input.shapes": self.input_shape} if self.input_shape else {}

    def fed(self, recipe: Recipe) -> Recipe:
        """Return the recipe with what was said of pixels."""
        return Pixels(self.scale, self.mean, self.std).fed(recipe)
