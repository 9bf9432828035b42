"""Checking what a file's metadata say, field by field."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from .errors import DetectError, one_line

Check = Callable[[Any], bool]


def number(low: float, high: float, *, whole: bool = False) -> Check:
    """Return a check for one number in range; True and NaN are none."""
    types = (int,) if whole else (int, float)
    return lambda value: type(value) in types and low <= value <= high


def list_of(item: Check, count: int | None = None) -> Check:
    """Return a check for a list of ``count`` such items (None: at least one)."""
    return lambda value: (
        isinstance(value, list)
        and len(value) == (count or max(1, len(value)))
        and all(map(item, value))
    )


def one_of(*allowed: Any) -> Check:
    """Return a check for one of some values, of the very type."""
    return lambda value: any(type(value) is type(item) and value == item for item in allowed)


def or_none(check: Check) -> Check:
    """Return a check for what another check takes, or None."""
    return lambda value: value is None or check(value)


def is_name(value: Any) -> bool:
    """Tell whether a value is a text that is not empty."""
    return isinstance(value, str) and bool(value)


def is_pixels(value: Any) -> bool:
    """Tell whether a value is a count of pixels, or None."""
    return value is None or number(1, 65536, whole=True)(value)


def read_table(text: str, newest: int) -> tuple[Any, int]:
    """Return the metadata, and their layout, up to ``newest``; raise :class:`DetectError`."""
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DetectError(f"metadata 'detector' is not JSON ({one_line(error)})") from error
    return table, _known_schema(table, newest)


def _known_schema(table: Any, newest: int) -> int:
    value = table.get("schema") if isinstance(table, dict) else None
    if number(newest + 1, math.inf, whole=True)(value):
        raise DetectError(
            f"metadata has schema {value}, newer than the {newest} known here; "
            "use the detect.py that came with the file"
        )
    return int(checked(table, "schema", f"1 to {newest}", one_of(*range(1, newest + 1))))


def checked(table: Any, path: str, expected: str, is_right: Check) -> Any:
    """Return the value at ``path`` (``input.mean``), lists as tuples, or raise what is wrong."""
    value = table
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if not is_right(value):
        raise wrong_field(path, expected, value)
    return as_tuple(value)


def as_tuple(value: Any) -> Any:
    """Return lists as tuples, those in them too."""
    return tuple(map(as_tuple, value)) if isinstance(value, list) else value


def wrong_field(path: str, expected: str, value: Any) -> DetectError:
    """Return the error about a field that is not as it must be."""
    return DetectError(
        f"metadata {path!r} must be {expected} (got {repr(value)[:60]}); "
        "export the file again with the toolchain"
    )
