"""What one run is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolchain.models.choosing import PLAIN, Choice
from toolchain.recipe import Recipe
from toolchain.records.figures import MeasureAccuracy


@dataclass(frozen=True)
class Job:
    """What one run is asked for."""

    recipe: Recipe
    out: Path
    checkpoint: Path | None = None
    choice: Choice = PLAIN
    """Which of the checkpoint's weights are wanted."""
    photos: tuple[Path, ...] = ()
    dynamic: bool = False
    """Leave the file's height and width free."""
    anchor_ratio: float | None = None
    """Anchor height over width, if neither recipe nor layout is right."""
    accept_partial: bool = False
    """Go on where less than a third of what is to be removed can be."""
    untrained: bool = False
    """Without a checkpoint, take random weights even where trained ones are shipped."""
    formats: tuple[str, ...] | None = None
    """Of ``onnx``, ``tflite``, ``fp16``, ``int8``, ``ncnn``; None: all that can be made here."""
    calibration: Path | None = None
    """Folder of photos for int8; None: synthetic shapes."""
    assumes_input: bool = False
    """Nobody said what the network is given of pixels: the recipe's default is taken, and told."""
    accuracy_of: MeasureAccuracy | None = None
    """Measures how good a file is; None: that is not measured."""
    command: str = ""
