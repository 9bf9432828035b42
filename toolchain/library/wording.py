"""Errors of the stages below in the words of a Python caller: arguments in place of options."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from toolchain.errors import ToolchainError

IN_PYTHON = {
    "--formats onnx,tflite": "formats=['onnx', 'tflite']",
    "--formats onnx": "formats=['onnx']",
    "give --size, once for each size": "export once for each size, by example",
    "with --rewrites": "by export.rewrites of a recipe",
    "--input uint8": "input.dtype = 'uint8' of the recipe",
    "--postprocess decode": "decode.postprocess = 'decode' of the recipe",
    "--postprocess": "decode.postprocess of the recipe",
    "--targets FILE": "a Target of your own",
}
"""What options are called where they are no arguments of the same name."""
ARGUMENT = re.compile(r"--(calibration|data|dynamic|formats|function|out|recipe|target)\b")


@contextlib.contextmanager
def in_python_words() -> Iterator[None]:
    """Let errors name arguments, as what is raised here is read by who wrote a call."""
    try:
        yield
    except ToolchainError as error:
        error.args = tuple(_reworded(str(part)) for part in error.args)
        raise


def _reworded(message: str) -> str:
    for option, argument in IN_PYTHON.items():
        message = message.replace(option, argument)
    return ARGUMENT.sub(r"\1", message)
