"""A decoder of the user's own: a function from a file that was named on the command line."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import Array
from ..errors import DetectError, one_line
from .layouts.candidates import Candidates, best_classes
from .outputs import Given

Decoder = Callable[[Mapping[str, Array], int, int], Any]
"""Takes the outputs by name, and the input's height and width in pixels; gives boxes (N, 4) of
left, top, right, bottom in pixels of the input, and scores (N, classes)."""


def load_decoder(text: str) -> Decoder:
    """Load ``file.py:function``, which runs the file; raise :class:`DetectError` if it fails."""
    path, sign, name = text.rpartition(":")
    if not sign or not path.endswith(".py") or not name.isidentifier():
        raise DetectError(f"--decoder must be FILE.py:FUNCTION (got {text!r})")
    if not Path(path).is_file():
        raise DetectError(f"--decoder {text}: there is no file {path}")
    specification = importlib.util.spec_from_file_location("decoder_of_ones_own", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
        function = getattr(module, name)
    except (Exception, SystemExit) as error:  # a stranger's code may raise anything
        raise DetectError(f"--decoder {text}: cannot be loaded ({_said(error)})") from error
    if not callable(function):
        raise DetectError(f"--decoder {text}: {name} is no function")
    loaded: Decoder = function
    return loaded


def candidates_of(decoder: Decoder, given: Given) -> Candidates:
    """Run a decoder; raise :class:`DetectError` where it fails or gives something else."""
    try:
        found = decoder(given.outputs, *given.size)
        boxes, scores = (np.asarray(each, np.float64) for each in found)
    except (Exception, SystemExit) as error:  # a stranger's code may raise anything
        raise DetectError(f"the decoder failed ({_said(error)}); it got {given.shapes}") from error
    if scores.ndim == 1:
        scores = scores[:, None]
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.ndim != 2 or len(scores) != len(boxes):
        raise DetectError(
            f"the decoder must give boxes (N, 4) and scores (N, classes) (got {boxes.shape} and "
            f"{scores.shape})"
        )
    best, chances = best_classes(given, scores, "none")
    return Candidates(best, chances, lambda rows: (boxes[rows], None))


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {one_line(error)}"
