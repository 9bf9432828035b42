"""Options of boards: emulated ones, and those that ssh reaches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.system import caches

if TYPE_CHECKING:
    from toolchain.arm.remote import Board

OwnTargets = Annotated[
    Path | None, typer.Option("--targets", help="A table of boards of your own.")
]
ArmCache = Annotated[
    Path,
    typer.Option(
        "--cache",
        show_default=f"arm in {caches.SHOWN}",
        help="What emulation needs, and earlier checks.",
    ),
]
CACHE = caches.arm_cache()
"""What ``--cache`` is by default."""


@dataclass(frozen=True)
class Emulation:
    """What an emulated board is taken from."""

    targets_file: OwnTargets = None
    cache: ArmCache = CACHE


@dataclass(frozen=True)
class Ssh:
    """How a real board is reached."""

    ssh: Annotated[
        str | None, typer.Option(help="A real board, user@host; what is timed is timed there.")
    ] = None
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Of ssh.")] = None
    key: Annotated[Path | None, typer.Option(help="Of ssh.")] = None
    ssh_config: Annotated[Path | None, typer.Option(help="In place of ~/.ssh/config.")] = None

    @property
    def board(self) -> Board | None:
        """The board; None where none is asked for."""
        from toolchain.arm.remote import Board

        return Board(self.ssh, self.port, self.key, self.ssh_config) if self.ssh else None
