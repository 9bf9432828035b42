"""Options of how much may stay: parameters, multiply-accumulates, or what a board's run costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from toolchain.widths.budget import Wanted


@dataclass(frozen=True)
class Budget:
    """One of these is given, or a rate, in place of all."""

    parameters: Annotated[
        str | None,
        typer.Option(help="At most so many deployed parameters, as 52k, or a share of them, 0.6."),
    ] = None
    macs: Annotated[
        str | None,
        typer.Option(help="Multiply-accumulates of one image likewise: 200M, or a share, 0.6."),
    ] = None
    instructions: Annotated[
        str | None,
        typer.Option(help="Of one inference on the emulated board, as 40M."),
    ] = None
    latency: Annotated[
        str | None,
        typer.Option(help="A share of the unpruned cost there, 0.6, or 30ms by its estimate."),
    ] = None

    @property
    def on_board(self) -> bool:
        """Tell whether a board says how much stays."""
        return self.latency is not None or self.instructions is not None

    def __bool__(self) -> bool:
        return any((self.latency, self.instructions, self.parameters, self.macs))

    def within(self, rate: float | None) -> Wanted:
        """Return what is wanted; raise :class:`InputError` unless it is one of these or a rate."""
        from toolchain.widths.budget import read_budget

        return read_budget(self.latency, self.instructions, self.parameters, rate, self.macs)
