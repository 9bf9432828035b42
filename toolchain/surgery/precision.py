"""How exact a number type is, and what the analysis may take for equal in it.

Float64 leaves so much room between rounding (1e-16) and what matters (1e-7, float32's own
rounding) that its limits are wide and safe. Other types leave little: there a constant must
repeat nearly bit for bit, or it is not taken for one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

NEARLY = 16
"""Units in the last place that two ways to compute the same constant may differ, outside float64:
a kernel that adds up in another order."""


@dataclass(frozen=True)
class Precision:
    """The limits of an analysis in ``dtype``."""

    dtype: torch.dtype = torch.float64

    @property
    def is_double(self) -> bool:
        """True for float64."""
        return self.dtype == torch.float64

    @property
    def epsilon(self) -> float:
        """The distance from 1 to the next number."""
        return float(torch.finfo(self.dtype).eps)

    @property
    def exactness(self) -> float:
        """How far a constant may move between inputs, as a share of itself."""
        return 1e-9 if self.is_double else NEARLY * self.epsilon

    @property
    def floor(self) -> float:
        """How far a constant near zero may move."""
        return 1e-12 if self.is_double else self.epsilon / NEARLY

    @property
    def combination(self) -> float:
        """A map is a combination of others if less than this share of it is left.

        Exact combinations leave about 1e-15 in float64; what is left shows in the outputs, so it
        must lie below what the proof allows.
        """
        return 1e-12 if self.is_double else NEARLY * self.epsilon

    @property
    def direction(self) -> float:
        """A map adds a direction to a space if more than this share of it is outside."""
        return 1e-6 if self.is_double else 1e3 * self.epsilon

    @property
    def max_coefficient(self) -> float:
        """Combinations with larger coefficients would amplify rounding; not used."""
        return 1e4 if self.is_double else 1e2

    @property
    def agreement(self) -> float:
        """How far two equal networks may differ, as a share of an output's range.

        On its way through a network rounding grows; four tenths of the type's digits are left to
        that growth (a millionfold in float64), and the other six must agree: 4e-10 in float64,
        7e-5 in float32. A constant that was lost or folded at a wrong border shows far above.
        """
        return float(self.epsilon**0.6)


DOUBLE = Precision()
