"""Parity as a record: how far two sides differ, every channel of every output on its own scale.

One unit throughout: a difference is a share of the range (maximum minus minimum) of the channels
that it is in, on the input where it is. A score between 0 and 0.05 is so never hidden behind a box
in pixels. Where a type cannot resolve the limit's share of a range, because the channel is constant
or nearly so, the scale is the smallest of which it can. Nothing here measures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Figure = Literal["largest", "mean"]
"""Which difference a limit speaks of: the largest of all values, or their mean."""


@dataclass(frozen=True)
class Spot:
    """The channels of one output in which two sides differ most, measured by their own scale."""

    output: str
    """The output's name."""
    axis: int | None
    """The output's dimension along which its channels lie; None: looked at as a whole."""
    channels: tuple[int, int] | None
    """First and last of the channels, from 0; those of one scale are judged together where means
    are. None: all of the output."""
    difference: float | None
    """Absolute; None if a value is not finite on either side."""
    output_range: float | None
    """Maximum minus minimum of these channels on the side before; None as above."""
    resolution: float = 0.0
    """Absolute difference that the number type alone explains here."""

    def share(self, limit: float) -> float | None:
        """Return the difference as a share of the channels' scale; None if it is not finite."""
        if self.difference is None or self.output_range is None:
            return None
        scale = max(self.output_range, self.resolution / limit if limit else 0.0)
        if scale:
            return self.difference / scale
        return None if self.difference else 0.0

    @property
    def place(self) -> str:
        """The output and its channels, for people."""
        if self.channels is None:
            return self.output
        first, last = self.channels
        if self.axis == 1:
            words = f"channel {first}" if first == last else f"channels {first} to {last}"
        else:  # of a map it may be a column
            words = f"index {first}" if first == last else f"indices {first} to {last}"
            words += f" of dimension {self.axis}"
        return f"{self.output}, {words}"


@dataclass(frozen=True)
class ParityCase:
    """One input on which two sides were compared."""

    input: str
    shape: tuple[int, ...]
    """(N, C, H, W) of the first tensor, whatever the layout that a file takes."""
    sha256: str
    """Of the input's values in that order."""
    largest: Spot
    """Where the largest difference is the largest share."""
    mean: Spot
    """Where the mean difference is."""

    def spot(self, figure: Figure) -> Spot:
        """Return the worst spot by a figure."""
        return self.largest if figure == "largest" else self.mean


@dataclass(frozen=True)
class Parity:
    """Two sides compared on several inputs: how far apart they are, and whether it is allowed."""

    link: str
    """For example ``soft network -> shrunk network``."""
    figure: Figure
    limit: float
    """Of that difference, as a share of the scale of the channels that it is in."""
    cases: tuple[ParityCase, ...]

    def share(self, case: ParityCase, figure: Figure | None = None) -> float | None:
        """Return a case's difference as a share of its scale; None if it is not finite."""
        return case.spot(figure or self.figure).share(self.limit)

    def worst_share(self, figure: Figure) -> float | None:
        """Return the largest share of all cases; None if one is not finite, or there is none."""
        shares = [self.share(case, figure) for case in self.cases]
        known = [share for share in shares if share is not None and math.isfinite(share)]
        return max(known, default=None) if len(known) == len(shares) else None

    @property
    def worst(self) -> float | None:
        """The largest share by the limit's figure; None if it is not finite."""
        return self.worst_share(self.figure)

    @property
    def worst_case(self) -> ParityCase | None:
        """The case of the largest share; one that is not finite comes first."""
        return max(self.cases, key=lambda case: _rank(self.share(case)), default=None)

    @property
    def max_abs_diff(self) -> float | None:
        """Largest absolute difference over all outputs that lead a case; None if not finite."""
        return _largest(case.largest.difference for case in self.cases)

    @property
    def passed(self) -> bool:
        """True if every case is within the limit; nothing compared proves nothing."""
        return self.worst is not None and self.worst <= self.limit

    @property
    def problem(self) -> str | None:
        """What is wrong, in words; None if it passed."""
        case = self.worst_case
        if self.passed:
            return None
        if case is None:
            return "nothing was compared"
        spot, share = case.spot(self.figure), self.share(case)
        on = f"(worst in {spot.place}, on {case.input}"
        if spot.difference is None or spot.output_range is None:
            return f"outputs differ by what is no number {on})"
        by = "though they are constant" if share is None else f"by {share:.2g} of their range"
        return (
            f"outputs differ {by}, {self.figure}, more than {self.limit:.2g} {on}: "
            f"{spot.difference:.2g} of a range of {spot.output_range:.3g})"
        )


def _rank(share: float | None) -> float:
    return math.inf if share is None or math.isnan(share) else share


def _largest(values: Iterable[float | None]) -> float | None:
    found = list(values)
    known = [value for value in found if value is not None]
    return max(known, default=None) if len(known) == len(found) else None


@dataclass(frozen=True)
class Decisions:
    """What outputs decide, on both sides: which scores are above a threshold, which class leads."""

    output: str
    channel: int | None
    """Of an output with several scores in each place, the one that is looked at; None: all."""
    kind: Literal["scores", "classes"]
    """``scores``: values from 0 to 1, each above or below the threshold; ``classes``: which entry
    is the largest, of an input or of a position."""
    threshold: float | None
    """The score from which on something is found."""
    inputs: int
    made: int
    """Decisions that count: scores above the threshold on either side, or all classes."""
    changed: int
    """Those that differ."""

    @property
    def words(self) -> str:
        """What is decided, for people."""
        if self.kind == "classes":
            return f"classes of {self.output}"
        where = self.output if self.channel is None else f"{self.output}, channel {self.channel}"
        return f"scores above {self.threshold:g} in {where}"

    @property
    def kept(self) -> int:
        """Decisions that are the same on both sides."""
        return self.made - self.changed

    @property
    def share(self) -> float:
        """Share of the decisions that differ, from 0 to 1; 0 if there are none."""
        return self.changed / self.made if self.made else 0.0

    def holds(self, most: float) -> bool:
        """Tell whether at most that share differs, but for chance.

        What lies at a threshold comes and goes, and of few decisions it is a large share: so two
        standard deviations of such a count are allowed, and one decision always.
        """
        spread = math.sqrt(self.made * most * (1 - most))
        return self.changed <= max(1.0, most * self.made + 2 * spread + 1e-9)
