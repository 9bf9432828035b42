"""Options of the files that are made: their formats, what they take and give, what they see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from toolchain.errors import InputError, did_you_mean
from toolchain.exporting.formats import read_formats
from toolchain.recipe import REWRITES


@dataclass(frozen=True)
class Files:
    """Which files are made, and by what I/O spec."""

    dynamic: Annotated[bool, typer.Option(help="Leave height and width of the file free.")] = False
    formats: Annotated[
        str | None,
        typer.Option(help="Of onnx,tflite,fp16,int8,ncnn; all that can be made here by default."),
    ] = None
    rewrites: Annotated[
        str | None,
        typer.Option(
            help="Exact rewrites that make the ONNX file faster: default (all), none, or of "
            f"{','.join(REWRITES)}."
        ),
    ] = None
    pixels: Annotated[
        Literal["float32", "uint8"] | None,
        typer.Option("--input", help="What files take; uint8: a camera's pixels, blue first."),
    ] = None
    postprocess: Annotated[
        Literal["none", "decode", "nms"] | None,
        typer.Option(help="What files do themselves: decode boxes; nms: suppress overlaps too."),
    ] = None
    calibration: Annotated[
        Path | None, typer.Option(help="A folder of about 100 photos, for int8.")
    ] = None
    data: Annotated[
        Path | None,
        typer.Option(
            help="WIDER FACE, or what evaluate.function takes: measure what half precision and "
            "int8 lose.",
        ),
    ] = None
    function: Annotated[
        str | None,
        typer.Option(help="In place of the recipe's evaluate.function: top, mymodule:score..."),
    ] = None

    @property
    def wanted(self) -> tuple[str, ...] | None:
        """The formats; None for all that can be made here."""
        return None if self.formats is None else read_formats(self.formats)

    @property
    def fields(self) -> dict[str, object]:
        """The fields of the recipe that were said."""
        asked = {
            "export.rewrites": None if self.rewrites is None else _rewrites(self.rewrites),
            "input.dtype": self.pixels,
            "decode.postprocess": self.postprocess,
            "evaluate.function": self.function,
        }
        return {path: value for path, value in asked.items() if value is not None}


def _rewrites(text: str) -> Sequence[str]:
    """Return the rewrites that ``--rewrites`` asks for; raise :class:`InputError` for others."""
    sets: dict[str, list[str]] = {"default": [*REWRITES], "none": []}
    if text in sets:
        return sets[text]
    names = [name.strip() for name in text.split(",")]
    known, unknown = (*sets, *REWRITES), [name for name in names if name not in REWRITES]
    if unknown:
        raise InputError(
            f"--rewrites must be default, none, or of {', '.join(REWRITES)} "
            f"(got {', '.join(unknown) or 'nothing'}){did_you_mean(','.join(unknown), known)}"
        )
    return names
