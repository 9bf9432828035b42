"""The frozen records of what a recipe's evaluation found: figures by name, of one file or of two.

Average precision on WIDER FACE has records of its own, see :mod:`toolchain.records.accuracy`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
    """``top``, ``miou``, ``coco``, or ``module:function``."""
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


@dataclass(frozen=True)
class FigureChange:
    """A figure of both ends of a link."""

    name: str
    before: float
    after: float
    most_lost: float | None
    """The limit, in the figure's own unit; None: it does not decide."""
    lower_is_better: bool = False

    @property
    def lost(self) -> float:
        """How much worse the second end is; negative if it is better."""
        return self.after - self.before if self.lower_is_better else self.before - self.after

    @property
    def holds(self) -> bool:
        """True if no more is lost than may be."""
        if self.most_lost is None:
            return True
        slack = 1e-9 * max(1.0, abs(self.before), abs(self.after))
        return self.lost <= self.most_lost + slack

    @property
    def words(self) -> str:
        """For people: ``top1 0.981 -> 0.975``."""
        return f"{self.name} {self.before:.4g} -> {self.after:.4g}"


@dataclass(frozen=True)
class Scores:
    """What a recipe's evaluation found of both ends of a link."""

    function: str
    data: str
    """In words."""
    figures: tuple[FigureChange, ...] = field(default=())

    @property
    def problems(self) -> tuple[str, ...]:
        """What lost more than it may, a sentence each."""
        return tuple(
            f"{each.words}: {each.lost:.4g} is lost (at most {each.most_lost:.4g})"
            for each in self.figures
            if not each.holds
        )

    @property
    def worst(self) -> FigureChange | None:
        """The figure that lost most of what it may; None if none decides."""
        deciding = [each for each in self.figures if each.most_lost is not None]
        return max(deciding, key=lambda each: each.lost - (each.most_lost or 0.0), default=None)
