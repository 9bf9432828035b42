"""Functions of a user's own: found by name, called, and their figures checked."""

from __future__ import annotations

import contextlib
import importlib
import math
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from toolchain.errors import InputError, ToolchainError, did_you_mean, in_one_line
from toolchain.evaluating.model import Model

Score = Callable[[Model, Path], Mapping[str, float]]
"""Takes a model and the folder of the data, gives figures by name."""
NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}")
"""What a figure may be called."""


def find_function(name: str) -> Score:
    """Return the function ``module:function``, from the current folder or what is installed.

    Raises :class:`InputError` in one line.
    """
    module_name, _, wanted = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # importing a user's code may raise anything
        raise InputError(
            f"evaluate.function {name!r}: cannot import {module_name!r} from {here} or the "
            f"environment ({in_one_line(error)})"
        ) from error
    found: Any = module
    for part in wanted.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        own = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        raise InputError(
            f"evaluate.function {name!r}: module {module_name} has no function "
            f"{wanted!r}{did_you_mean(wanted, own)}"
        )
    return found  # type: ignore[no-any-return]


def figures_of(score: Score, name: str, model: Model, data: Path) -> dict[str, float]:
    """Call a function on a model; return its figures, every one of them a number.

    Raises :class:`InputError` in one line where it raises, or gives anything else.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):  # results alone go to standard output
            given = score(model, data)
    except ToolchainError as error:
        raise InputError(f"{name} on {model.name}: {error}") from error
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        where = _place(error, score)
        raise InputError(f"{name} on {model.name} failed: {in_one_line(error)}{where}") from error
    return checked_figures(given, f"{name} on {model.name}")


def checked_figures(given: object, who: str) -> dict[str, float]:
    """Return figures as floats; raise :class:`InputError` for what is no dictionary of numbers."""
    expected = 'must return figures by name, such as {"top1": 0.93}'
    if not isinstance(given, Mapping):
        raise InputError(f"{who} {expected} (got {type(given).__name__})")
    if not given:
        raise InputError(f"{who} {expected} (got none)")
    return {_name(key, who): _number(value, key, who) for key, value in given.items()}


def _name(key: object, who: str) -> str:
    if not isinstance(key, str) or not NAME.fullmatch(key):
        raise InputError(
            f"{who}: a figure's name must be of letters, digits and . _ - (got {key!r:.60})"
        )
    return key


def _number(value: Any, key: object, who: str) -> float:
    try:
        number = float(value) if not isinstance(value, str | bytes | bool) else None
    except (TypeError, ValueError, RuntimeError):  # tensors of several values
        number = None
    if number is None:
        raise InputError(f"{who}: {key} must be a number (got {type(value).__name__})")
    if not math.isfinite(number):
        raise InputError(
            f"{who}: {key} is {number}, no number that can be compared; look at what it divides "
            f"by, and at the network's outputs"
        )
    return number


def _place(error: BaseException, score: Score) -> str:
    """Return where in the user's own file an error came up."""
    code = getattr(score, "__code__", None)
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if code is not None and frame.filename == code.co_filename
    ]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
