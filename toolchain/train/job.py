"""What a training is asked for, and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from toolchain.recipe import Recipe
from toolchain.train.crops import CropSettings


@dataclass(frozen=True)
class TrainingJob:
    """What a training is asked for, beside its photos."""

    recipe: Recipe
    out: Path
    cache: Path
    teacher: Path | None = None
    """Weights to learn from; None learns from the data set's own faces, for the recipe's epochs."""
    start: Path | None = None
    """Weights to start from; None: random ones."""
    images: int | None = None
    """With a teacher, crops to learn from; None: as many as fit into ``minutes``."""
    minutes: float = 30.0
    threads: int = 1
    workers: int = 0
    """Processes that draw crops ahead; 0 draws between the steps."""
    seed: int = 0
    device: Literal["cpu", "cuda"] = "cpu"
    half: bool = False
    """Compute in bfloat16 where that is safe; parameters stay float32."""
    keep_every_seconds: float = 60.0
    """How often the state is written."""
    events: bool = False
    """Write TensorBoard events beside the page."""

    @property
    def crop(self) -> CropSettings:
        """How crops are drawn."""
        return CropSettings.of(self.recipe)

    @property
    def batch(self) -> int:
        """Crops in a step, of all processes."""
        return self.recipe.teach.batch if self.teacher else self.recipe.train.batch


@dataclass(frozen=True)
class Trained:
    """What a training left."""

    weights: Path
    images: int
    seconds: float
    """Of this run, without what was done before it was taken up."""
    losses: tuple[float, ...]
    broken: tuple[tuple[str, str], ...] = ()
    """Name and reason of photos that were left out."""
    dropped_faces: int = 0
    """Faces of no size, or that lie outside their photo."""
