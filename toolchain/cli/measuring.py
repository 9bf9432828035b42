"""How good files are, for the certificate of ``shrink`` and for ``gate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.cli.app import messages

if TYPE_CHECKING:
    from toolchain.workflows.accuracy import AccuracyMeasure


def accuracy_measure(data: Path) -> AccuracyMeasure:
    """Return what measures files on the data in a folder, by their recipe; see ``prepare``."""
    from toolchain.workflows.accuracy import AccuracyMeasure

    return AccuracyMeasure(data, lambda words: messages.print(words, markup=False))
