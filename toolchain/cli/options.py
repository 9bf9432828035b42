"""Options that several commands share, and what they ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from toolchain.errors import InputError
from toolchain.recipe.loading import shipped_models
from toolchain.system import caches

if TYPE_CHECKING:
    from toolchain.models.choosing import Choice
    from toolchain.recipe import Recipe

    DetectorName = str
else:
    DetectorName = Literal[tuple(shipped_models())]
"""A network that ships with a recipe of its own."""

Averaged = Annotated[
    bool, typer.Option("--ema", help="Of a file that holds averaged (EMA) weights, take those.")
]
Key = Annotated[
    str | None,
    typer.Option(
        "--ckpt-key", help="Which of several state dicts of a file, as teacher or state_dict.net."
    ),
]
Network = Annotated[DetectorName, typer.Argument(help="The network.")]
Teacher = Annotated[
    Path | None,
    typer.Option(
        "--teacher", help="Trained weights to learn from; without, from the data's own faces."
    ),
]
Start = Annotated[
    Path | None, typer.Option("--from", help="Weights to start from; without, random ones.")
]
Criterion = Annotated[
    Literal["fpgm", "l1"] | None, typer.Option("--criterion", help="Which filters matter least.")
]
Scope = Annotated[
    Literal["group", "layer"] | None,
    typer.Option("--scope", help="Choose by group, or as the paper."),
]
Epochs = Annotated[
    int | None,
    typer.Option("--epochs", min=0, help="Without a teacher: before the zeros are held."),
]
Minutes = Annotated[
    float,
    typer.Option("--minutes", min=0.1, help="With a teacher; the pace is measured at the start."),
]
Images = Annotated[
    int | None,
    typer.Option("--images", min=100, help="With a teacher: so many crops, whatever the time."),
]
Batch = Annotated[int | None, typer.Option("--batch", min=1, help="Crops in a step.")]
Labels = Annotated[
    float | None,
    typer.Option("--labels", help="With a teacher: weight of the data's own faces."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any field of the recipe, as train.hold_epochs=5."),
]
Device = Annotated[Literal["cpu", "cuda"], typer.Option("--device", help="Where to compute.")]
Half = Annotated[bool, typer.Option("--bfloat16", help="Compute in bfloat16.")]
Threads = Annotated[int, typer.Option("--threads", min=1, max=256, help="Of each process.")]
Drawers = Annotated[
    int, typer.Option("--workers", min=0, max=64, help="Processes that draw crops ahead.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of weights, order and crops.")]
Cache = Annotated[
    Path,
    typer.Option(
        "--cache", show_default=f"photos in {caches.SHOWN}", help="Where decoded photos are kept."
    ),
]
KeepSeconds = Annotated[
    float, typer.Option("--keep-seconds", min=0, help="How often the state is written.")
]
RecipeFile = Annotated[
    Path | None, typer.Option("--recipe", help="A recipe instead of the shipped one.")
]
LookedAt = Annotated[
    int,
    typer.Option("--sample", min=0, help="Photos of val to look at on the way; 0: none."),
]

PHOTOS = caches.photo_cache()
"""Where decoded photos are kept by default."""


def choice_of(ema: bool, key: str | None) -> Choice:
    """Return which of a file's weights ``--ema`` and ``--ckpt-key`` ask for."""
    from toolchain.models.choosing import Choice

    if ema and key is not None:
        raise InputError("--ema and --ckpt-key both choose among a file's weights; give one")
    return Choice(ema, key)


def recipe_of(
    recipe: Recipe, fields: Mapping[str, object], assignments: Sequence[str] | None
) -> Recipe:
    """Return ``recipe`` with the ``fields`` that are not None, and then what ``--set`` says."""
    from toolchain.recipe import override, parse_assignment

    given = {name: value for name, value in fields.items() if value is not None}
    return override(recipe, given | dict(parse_assignment(text) for text in assignments or ()))
