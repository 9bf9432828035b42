"""Which formats are made: those that are asked for, of those that can be made here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from toolchain.errors import InputError
from toolchain.exporting.extra import lacking
from toolchain.exporting.formats import FORMATS, read_formats
from toolchain.exporting.ncnn.extra import lacking_ncnn
from toolchain.lineage.tflite_io import NO_SUPPRESSION
from toolchain.models.sizes import Example


def choose_formats(
    asked: Sequence[str] | None, postprocess: str = "none"
) -> tuple[tuple[str, ...], str | None]:
    """Return the formats to make, and a note if others could be had.

    None asks for all whose extras are installed, and for ONNX alone where files suppress by
    themselves. Raises :class:`InputError` for a format that is unknown or cannot be
    made here.
    """
    if asked is None and postprocess == "nms":
        return ("onnx",), f"ONNX alone: {NO_SUPPRESSION}."
    tflite, ncnn = lacking(), lacking_ncnn()
    absent = {} if tflite is None else dict.fromkeys(("tflite", "fp16"), tflite)
    absent |= {} if ncnn is None else {"ncnn": ncnn}
    if asked is None:
        return _all_but(absent)
    asked = read_formats(",".join(asked))
    for name in asked:
        if name in absent:
            raise InputError(f"--formats {','.join(asked)}: {absent[name]}")
    chosen = {"onnx", *asked} | ({"tflite"} if "fp16" in asked else set())
    return tuple(name for name in FORMATS if name in chosen), None


def _all_but(absent: Mapping[str, str]) -> tuple[tuple[str, ...], str | None]:
    """Return all formats that can be made, and why the others cannot.

    int8 goes with TFLite: a file for onnxruntime alone is made where it is asked for.
    """
    left = {*absent, "int8"} if "tflite" in absent else set(absent)
    formats = tuple(name for name in FORMATS if name not in left)
    if not absent:
        return formats, None
    made = "ONNX alone" if formats == ("onnx",) else f"Made are {' and '.join(formats)}"
    return formats, f"{made}: {'; '.join(dict.fromkeys(absent.values()))}."


def possible_formats(
    asked: Sequence[str] | None,
    formats: tuple[str, ...],
    note: str | None,
    example: Example,
    names: Sequence[str],
) -> tuple[tuple[str, ...], str | None]:
    """Return the formats that can be made of a network that is called with ``example``; a note.

    Others than ONNX are made of networks of one image. Raises :class:`InputError` where one of them
    was asked for.
    """
    if len(example) == 1 and example[0].ndim == 4 and example[0].is_floating_point():
        return formats, note
    shapes = " and ".join("x".join(map(str, tensor.shape)) for tensor in example)
    why = f"other files are made of networks of one image, and this takes {shapes}"
    if len(names) > 1:
        why += f" ({', '.join(names)})"
    others = [name for name in formats if name != "onnx"]
    if asked is not None and others:
        raise InputError(f"--formats {','.join(others)}: {why}; give --formats onnx")
    return ("onnx",), f"ONNX alone: {why}." if others else note
