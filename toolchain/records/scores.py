"""The frozen records of figures that both ends of a link have: what a coarser file lost."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class FigureChange:
    """A figure of both ends of a link."""

    name: str
    before: float
    after: float
    most_lost: float | None
    """The limit, in the figure's own unit; None: it does not decide."""
    lower_is_better: bool = False

    @property
    def lost(self) -> float:
        """How much worse the second end is; negative if it is better."""
        return self.after - self.before if self.lower_is_better else self.before - self.after

    @property
    def holds(self) -> bool:
        """True if no more is lost than may be."""
        if self.most_lost is None:
            return True
        slack = 1e-9 * max(1.0, abs(self.before), abs(self.after))
        return self.lost <= self.most_lost + slack

    @property
    def words(self) -> str:
        """For people: ``top1 0.981 -> 0.975``."""
        return f"{self.name} {self.before:.4g} -> {self.after:.4g}"


@dataclass(frozen=True)
class Scores:
    """What a recipe's evaluation found of both ends of a link."""

    function: str
    data: str
    """In words."""
    figures: tuple[FigureChange, ...] = field(default=())

    @property
    def problems(self) -> tuple[str, ...]:
        """What lost more than it may, a sentence each."""
        return tuple(
            f"{each.words}: {each.lost:.4g} is lost (at most {each.most_lost:.4g})"
            for each in self.figures
            if not each.holds
        )

    @property
    def worst(self) -> FigureChange | None:
        """The figure that lost most of what it may; None if none decides."""
        deciding = [each for each in self.figures if each.most_lost is not None]
        return max(deciding, key=lambda each: each.lost - (each.most_lost or 0.0), default=None)
