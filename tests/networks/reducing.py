"""Make a failing description small: ``python -m networks.reducing SEED``, or a pasted description.

Steps and outputs are taken out and fields set to their defaults, one after the other, as long as
the network still fails in the same way.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any

from networks import descriptions
from networks.descriptions import Description
from networks.drawing import description_of

Failure = Callable[[Description], str]
"""Names how a network fails; empty where it does not."""


def failure_of(description: Description) -> str:
    """How the surgery fails on a network: "wrong", or an exception's type."""
    from networks.promise import keep_promise
    from toolchain.surgery.removing import cut

    try:
        keep_promise(description, cut)
    except AssertionError:
        return "wrong"
    except Exception as error:
        return type(error).__name__
    return ""


def smaller(item: Any) -> Iterator[Any]:
    """Everything that is a little smaller than an item: shorter tuples, fields nearer to their
    defaults."""
    if isinstance(item, tuple):
        yield from shorter(item)
        for number, part in enumerate(item):
            for other in smaller(part):
                yield (*item[:number], other, *item[number + 1 :])
    elif is_dataclass(item):
        for field in fields(item):
            value = getattr(item, field.name)
            nearer = () if field.default is MISSING else towards(value, field.default)
            for other in (*nearer, *smaller(value)):
                yield replace(item, **{field.name: other})


def towards(value: Any, default: Any) -> tuple[Any, ...]:
    if value == default:
        return ()
    if type(value) is int and value > default + 1:
        return default, (default + value) // 2, value - 1
    return (default,)


def shorter(items: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    for length in (len(items) // 2, 1):
        for start in range(len(items) if length else 0):
            left = items[:start] + items[start + length :]
            if left:
                yield left


def reduced(
    description: Description, failure: Failure = failure_of, seconds: float = 120.0
) -> Description:
    """The smallest description found within a time that fails as the given one does."""
    end = time.monotonic() + seconds
    kind = failure(description)
    if not kind:
        return description
    again = True
    while again:
        again = False
        for other in smaller(description):
            if time.monotonic() > end:
                return description
            if failure(other) == kind:
                description, again = other, True
                break
    return description


def main() -> None:
    """Print the smallest failing description and how it fails."""
    given = sys.argv[1]
    description = description_of(int(given)) if given.isdigit() else eval(given, vars(descriptions))
    small = reduced(description)
    print(failure_of(small) or "does not fail", small, sep="\n")
    if failure_of(small):
        from networks.promise import keep_promise
        from toolchain.surgery.removing import cut

        keep_promise(small, cut)


if __name__ == "__main__":
    main()
