"""How the network's code follows where it cuts channels by their position."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from toolchain.records.reasons import operator_words
from toolchain.records.stages import Number, Surgery
from toolchain.report.run.reasons import listed

NAMED = 6
"""Numbers that a sentence names; the record has all."""

SHOWN = 4
"""Positions of picked channels that are shown; of longer lists the number."""


def ways_words(surgery: Surgery) -> Iterator[str]:
    """Yield a sentence for each way by which the code follows, without a full stop."""
    if surgery.by_arithmetic:
        operators = listed([operator_words(name) for name in surgery.by_arithmetic], NAMED)
        yield f"channels that {operators} put elsewhere went by the code's own arithmetic"
    attributes = [each for each in surgery.numbers if not each.in_code]
    if attributes:
        yield f"numbers of channels in attributes were set: {_listed(attributes)}"
    in_code = [each for each in surgery.numbers if each.in_code]
    if in_code:
        yield (
            f"numbers of channels in the code were replaced, by writing forward anew: "
            f"{_listed(in_code)}"
        )


def _listed(numbers: Sequence[Number]) -> str:
    return listed([_words(number) for number in numbers], NAMED)


def _words(number: Number) -> str:
    module = number.module or "the network"
    place = number.place.partition(":")[0]
    if number.before == number.after:
        return f"a root in {module} stays that of {_value(number.after)}"
    if number.in_code:  # the graph counts its operators: view, view_1
        operator = re.sub(r"_\d+$", "", place).replace("getitem", "a slice")
        what = f"in {operator} of {module}"
    else:
        what = f"{place} of {module}"
    return f"{what} from {_value(number.before)} to {_value(number.after)}"


def _value(value: int | str | tuple[int, ...]) -> str:
    if isinstance(value, tuple):
        return str(list(value)) if len(value) <= SHOWN else f"{len(value)} positions"
    return value if isinstance(value, str) else str(abs(value))
