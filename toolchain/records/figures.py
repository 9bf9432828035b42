"""The frozen records of what a recipe's evaluation found: figures by name.

Average precision on WIDER FACE has records of its own, see :mod:`toolchain.records.accuracy`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from toolchain.recipe import Recipe
from toolchain.records.accuracy import BrokenPhoto
from toolchain.records.members import MemberAccuracy


@dataclass(frozen=True)
class DataFacts:
    """The data that figures are of."""

    name: str
    """The folder's, never its path."""
    samples: int
    """Photos of a built-in evaluation; files in the folder for a function of one's own."""
    listed: int
    """Those that are there; more than ``samples`` where a limit was asked for."""
    sha256: str
    """Of all names and bytes, and of what is known of them."""

    @property
    def words(self) -> str:
        """For people, and to tell two sets of data apart."""
        of = "" if self.samples == self.listed else f" of {self.listed:,}"
        return f"{self.samples:,}{of} samples of {self.name} ({self.sha256[:12]})"


@dataclass(frozen=True)
class Figures:
    """What an evaluation found of one network or file."""

    function: str
    """``top``, ``miou``, ``coco``, ``points``, or ``module:function``."""
    values: Mapping[str, float]
    data: DataFacts
    broken: tuple[BrokenPhoto, ...] = ()
    """Photos that cannot be read; they count as wrong."""
    seconds: float = 0.0
    resumed: int = 0
    """Samples that an earlier, interrupted run had done."""


Accuracy: TypeAlias = MemberAccuracy | Figures
"""Average precision on WIDER FACE, or what a recipe's evaluation found."""
MeasureAccuracy: TypeAlias = Callable[[Path, Recipe], Accuracy]
"""Measures a file of a recipe."""


@dataclass(frozen=True)
class FiguresOf:
    """Figures with what they are of; what ``eval.json`` holds."""

    name: str
    kind: Literal["network", "onnx", "tflite", "ncnn"]
    model: str
    """The recipe's."""
    sha256: str
    figures: Figures
