"""What is in a checkpoint, and how much of it could go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolchain.checking.cost import count_parameters
from toolchain.exporting.fold import fold_batch_norm
from toolchain.models.choosing import PLAIN, Choice
from toolchain.models.sizes import resized
from toolchain.recipe import Recipe
from toolchain.records.stages import LayerChange
from toolchain.surgery.removing import shrink
from toolchain.zoo.sources import load_network

LOOK_SIZE = (320, 256)
"""Height and width at which detectors are looked at; networks of one's own take their recipe's."""


@dataclass(frozen=True)
class Inspection:
    """The result of ``toolchain inspect``."""

    name: str
    model: str
    layout: str
    sha256: str | None
    parameters: int
    nonzero_parameters: int
    """What the paper calls the number of parameters of a soft-pruned network."""
    deployed_parameters_before: int
    deployed_parameters_after: int
    """What would be left after an exact surgery."""
    layers: tuple[LayerChange, ...]
    notes: tuple[str, ...]
    """Which of the file's weights were looked at, and how they were read."""


def inspect_checkpoint(path: Path, recipe: Recipe, choice: Choice = PLAIN) -> Inspection:
    """Load the checkpoint into the recipe's network and try the surgery on it."""
    loaded = load_network(recipe, path, choice=choice)
    example = loaded.example
    if recipe.anchors is not None:
        example = resized(example, LOOK_SIZE)
    shrunk, surgery = shrink(loaded.network, example)
    before, _ = count_parameters(fold_batch_norm(loaded.network, example))
    after, _ = count_parameters(fold_batch_norm(shrunk, example))
    parameters = list(loaded.network.parameters())
    return Inspection(
        name=path.name,
        model=recipe.model.name,
        layout=loaded.source.layout,
        sha256=loaded.source.sha256,
        parameters=sum(parameter.numel() for parameter in parameters),
        nonzero_parameters=sum(int((parameter != 0).sum()) for parameter in parameters),
        deployed_parameters_before=before,
        deployed_parameters_after=after,
        layers=surgery.layers,
        notes=loaded.notes,
    )
