"""Options that say which weights of which file are taken."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.errors import InputError

if TYPE_CHECKING:
    from toolchain.models.choosing import Choice


@dataclass(frozen=True)
class Chosen:
    """Which of the weights that a file holds."""

    ema: Annotated[
        bool,
        typer.Option("--ema", help="Of a file that holds averaged (EMA) weights, take those."),
    ] = False
    ckpt_key: Annotated[
        str | None,
        typer.Option(
            "--ckpt-key",
            help="Which of several state dicts of a file, as teacher or state_dict.net.",
        ),
    ] = None

    @property
    def choice(self) -> Choice:
        """What ``--ema`` and ``--ckpt-key`` ask for; :class:`InputError` if both do."""
        from toolchain.models.choosing import Choice

        if self.ema and self.ckpt_key is not None:
            raise InputError("--ema and --ckpt-key both choose among a file's weights; give one")
        return Choice(self.ema, self.ckpt_key)


@dataclass(frozen=True)
class Weights(Chosen):
    """A file of weights, and which of them."""

    ckpt: Annotated[
        Path | None, typer.Option("--ckpt", help="Weights; without, the nearest that are shipped.")
    ] = None
