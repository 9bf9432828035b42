"""Options of the gate: what a change may move."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import typer

from toolchain.errors import InputError

NAME = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Change:
    """What a change may move."""

    retrained: Annotated[
        bool,
        typer.Option(
            "--retrained",
            help="The same network, trained again: outputs, boxes and parity may move, cost may "
            "not, and the figure of accuracy decides.",
        ),
    ] = False
    score: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A figure of accuracy that you measured; higher is better. Repeatable.",
        ),
    ] = None
    accept: Annotated[
        list[str] | None, typer.Option(help="A figure that may get worse; needs --why.")
    ] = None
    why: Annotated[str, typer.Option(help="Kept in the baseline, with what was accepted.")] = ""


def read_scores(given: Iterable[str]) -> dict[str, float]:
    """Return figures of accuracy by name; raise :class:`InputError` for what is none."""
    found = {}
    for words in given:
        name, equals, text = words.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not NAME.fullmatch(name) or not equals or not math.isfinite(value):
            raise InputError(f"--score {words}: must be NAME=VALUE, as top1=0.913")
        if name in found:
            raise InputError(f"--score {name}: is given twice")
        found[name] = value
    return found
