"""Options of a model file on its own: what it is fed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli import asking
from toolchain.cli.feeding import read_size
from toolchain.errors import InputError

if TYPE_CHECKING:
    from toolchain.bench.feeds import Told


@dataclass(frozen=True)
class Alone:
    """What is said of a file's inputs."""

    size: Annotated[
        str | None,
        typer.Option(help="HEIGHTxWIDTH, for a file on its own that takes pictures of any size."),
    ] = None
    input_shape: Annotated[
        list[str] | None,
        typer.Option(
            "--input-shape",
            metavar="NAME=1x16",
            help="Of an input of any length, for a file on its own. Repeatable.",
        ),
    ] = None
    inputs: Annotated[
        Path | None,
        typer.Option(help="An .npz of all inputs by name, in place of random ones."),
    ] = None

    def told(self, place: Path | None) -> Told:
        """Return what is said; raise :class:`InputError` where ``place`` is no file."""
        from toolchain.bench.feeds import Told

        asking.need(self.inputs, "an .npz of arrays by input name")
        told = Told(
            None if self.size is None else read_size(self.size),
            tuple(self.input_shape or ()),
            self.inputs,
        )
        if told.arrays is not None and (told.size or told.shapes):
            raise InputError("--inputs holds the sizes, too; leave out --size and --input-shape")
        if not told.says_nothing and place is not None and not place.is_file():
            raise InputError(
                f"{place}: is a folder, whose files tell what they take; --size, --input-shape and "
                f"--inputs are for a file on its own"
            )
        return told
