"""What goes to int8 as one: a layer's multiplications, what follows them, all that shares weights.

A layer that is called several times is one unit: in float for one call and in int8 for another, its
weights would lie in the file twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Operator:
    """An operator of a file that can be quantised."""

    name: str
    inputs: tuple[str, ...]
    """The tensors that it reads, by name."""
    outputs: tuple[str, ...]
    weight: str | None
    """The constant that it multiplies by, as a convolution does; None if there is none."""


@dataclass(frozen=True)
class Unit:
    """Operators that are quantised together."""

    name: str
    """The weights' name."""
    operators: tuple[str, ...]


class Quantiser(Protocol):
    """A float file, calibrated once, from which int8 files are made."""

    operators: tuple[str, ...]
    """All that can be quantised."""
    units: tuple[Unit, ...]

    def quantised(self, operators: Collection[str]) -> bytes:
        """Return the file with these operators in int8, and the others in float."""


def units_of(operators: Sequence[Operator]) -> tuple[Unit, ...]:
    """Return the units of a file's operators, given in the order they run.

    An operator without weights goes with the last that its inputs come from; what comes before all
    weights belongs to no unit.
    """
    found: dict[str, list[str]] = {}
    maker: dict[str, tuple[int, str]] = {}
    for index, operator in enumerate(operators):
        before = max((maker[name] for name in operator.inputs if name in maker), default=None)
        unit = operator.weight or (before[1] if before else None)
        if unit is None:
            continue
        found.setdefault(unit, []).append(operator.name)
        maker |= dict.fromkeys(operator.outputs, (index, unit))
    return tuple(Unit(name, tuple(names)) for name, names in found.items())


def weights_digest(values: NDArray[np.float32]) -> str:
    """Return a digest that knows no order of axes, nor signs of zeros: converters change both."""
    unsigned_zeros = values + np.float32(0)
    return hashlib.sha256(np.sort(unsigned_zeros, axis=None).tobytes()).hexdigest()
