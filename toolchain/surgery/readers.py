"""Layers that read constant channels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from toolchain.surgery.packing import Packed, Vector, pack
from toolchain.surgery.precision import DOUBLE, Precision


@dataclass
class Reader:
    """The constant channels that one layer reads."""

    name: str
    absorbs_uniform: bool
    """True if a uniform constant can go into the bias."""
    precision: Precision = DOUBLE
    """The type that the maps were computed in."""
    maps: dict[int, Vector] = field(default_factory=dict)
    """Input channel that may go -> its values over all positions, calls and sizes."""
    classes: dict[int, int] = field(default_factory=dict)
    """The same channels -> their class; a class goes as a whole or stays."""
    fixed: dict[int, Vector] = field(default_factory=dict)
    """The values of constant channels that stay for other reasons: carriers at no cost."""


@dataclass(frozen=True)
class PackedReader:
    """The same without the positions that repeat; a row is a channel."""

    name: str
    absorbs_uniform: bool
    precision: Precision
    channels: tuple[int, ...]
    """The channels that may go, then those that stay."""
    classes: tuple[int, ...]
    """The classes of those that may go; there are no more than these."""
    maps: Packed

    @classmethod
    def of(cls, reader: Reader) -> PackedReader:
        """Pack the maps of ``reader``, of those that stay too."""
        return cls(
            reader.name,
            reader.absorbs_uniform,
            reader.precision,
            (*reader.maps, *reader.fixed),
            tuple(reader.classes[channel] for channel in reader.maps),
            pack([*reader.maps.values(), *reader.fixed.values()]),
        )

    @property
    def going(self) -> range:
        """The rows of channels that may go."""
        return range(len(self.classes))

    @property
    def fixed(self) -> range:
        """The rows of channels that stay for other reasons."""
        return range(len(self.classes), len(self.channels))

    def staying(self, carriers: Iterable[int]) -> list[int]:
        """Return the rows of channels that stay if the classes ``carriers`` do."""
        stay = set(carriers)
        return [*self.fixed, *(row for row in self.going if self.classes[row] in stay)]

    def magnitudes(self) -> Vector:
        """Return the largest magnitude of each row."""
        magnitudes: Vector = np.abs(self.maps.values).max(axis=1, initial=0.0)
        return magnitudes
