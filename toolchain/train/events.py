"""TensorBoard events, for those who want them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from toolchain.errors import InputError
from toolchain.system.installation import how_to_get


class Events(Protocol):
    """Takes figures as they come."""

    def add(self, figures: Mapping[str, float], step: int) -> None:
        """Take the figures of a step."""


class _Nowhere:
    def add(self, figures: Mapping[str, float], step: int) -> None:
        pass


class _Folder:
    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError(
                "--tensorboard: the package tensorboard is not installed; "
                f"run {how_to_get('tensorboard')}"
            ) from error
        self.writer = SummaryWriter(str(folder))

    def add(self, figures: Mapping[str, float], step: int) -> None:
        for name, figure in figures.items():
            self.writer.add_scalar(name, figure, step)
        self.writer.flush()


def open_events(folder: Path | None) -> Events:
    """Return what writes event files into ``folder``; without a folder figures go nowhere.

    Raises :class:`InputError` where the package ``tensorboard`` is absent.
    """
    return _Nowhere() if folder is None else _Folder(folder)
