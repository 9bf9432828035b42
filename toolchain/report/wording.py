"""How numbers and untrusted words are written, the same in every rendering."""

from __future__ import annotations

import math
from collections.abc import Sequence

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
NOT_FINITE = "not finite"


def count(number: int) -> str:
    """Return a whole number with thousands separators: ``91,342``."""
    return f"{number:,}"


def plural(number: int, one: str, many: str = "") -> str:
    """Return the number with its noun: ``1 filter``, ``1,200 filters``."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def change(before: float, after: float) -> str:
    """Return how much ``after`` differs from ``before``, in percent with its sign."""
    if before == after:
        return "no change"
    if before == 0 or not math.isfinite(after / before):
        return "not comparable"
    percent = (after / before - 1) * 100
    return f"{'+' if percent > 0 else MINUS}{abs(percent):,.1f} %"


def difference(value: float | None) -> str:
    """Return a small number with two digits: ``3.8e-06``; an exact zero is ``0``."""
    if value is None or not math.isfinite(value):
        return NOT_FINITE
    return "0" if value == 0 else f"{value:.1e}"


def decimal(value: float, places: int = 2) -> str:
    """Return a number with a fixed number of decimal places: ``1,234.50``."""
    return f"{value:,.{places}f}" if math.isfinite(value) else NOT_FINITE


def significant(value: float | None) -> str:
    """Return a number of any size with three digits: ``652``, ``0.0512``, ``1.2e-07``."""
    return NOT_FINITE if value is None or not math.isfinite(value) else f"{value:.3g}"


def percentage(share: float | None) -> str:
    """Return a share in percent: 0.125 is ``12.5 %``; None is ``none``."""
    return "none" if share is None else f"{share * 100:.4g} %"


def duration(seconds: float) -> str:
    """Return a time in the two units that matter: ``45 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    return " ".join(f"{n} {unit}" for n, unit in ((hours, "h"), (rest, "min")) if n)


def shape(sizes: Sequence[int]) -> str:
    """Return the sizes of a tensor or an image: ``480 x 640`` with a true times sign."""
    return f" {TIMES} ".join(str(size) for size in sizes)


def short_hash(sha256: str) -> str:
    """Return the first twelve digits of a SHA-256."""
    return sha256[:12]


def clean(value: object) -> str:
    """Return untrusted text on one line, without control, direction or surrogate characters.

    A layer's name must not move a terminal's cursor, nor make the file impossible to encode.
    """
    line = " ".join(str(value).split())
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line
    )
