"""The frozen records of costs per width and of a plan; what follows from one alone is here too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class GroupCost:
    """What the operators that touch one dependency group cost, all other groups being whole."""

    group: str
    layers: tuple[str, ...]
    """The layers that write the group."""
    widths: tuple[int, ...]
    """Rising; the last is the whole group."""
    instructions: tuple[int, ...]
    """Instructions by width."""

    @property
    def width(self) -> int:
        """Channels of the whole group."""
        return self.widths[-1]

    def at(self, width: int) -> int:
        """Return the instructions at a width, or at the next wider one that was measured."""
        return next(
            cost for each, cost in zip(self.widths, self.instructions, strict=True) if each >= width
        )

    def aligned(self, align: int) -> GroupCost:
        """Return the same at the multiples of ``align`` and the whole width alone."""
        kept = [
            (width, cost)
            for width, cost in zip(self.widths, self.instructions, strict=True)
            if width % align == 0 or width == self.width
        ]
        widths, instructions = zip(*kept, strict=True)
        return replace(self, widths=widths, instructions=instructions)

    def rounded(self, width: int) -> int:
        """Return the widest width that costs no more than this one, which may be itself."""
        limit = self.at(width)
        wider = zip(self.widths, self.instructions, strict=True)
        return max(each for each, cost in wider if each >= width and cost <= limit)

    @property
    def steps(self) -> tuple[int, ...]:
        """The widths that are worth having: every wider one costs more."""
        return tuple(width for width in self.widths if self.rounded(width) == width)


@dataclass(frozen=True)
class CostReport:
    """Instructions per dependency group at every width, on one board."""

    model: str
    target: str
    name: str
    """The board's name."""
    core: str
    runtime: str
    size: tuple[int, int]
    """(height, width) of the input."""
    instructions: int
    """Instructions of one inference, unpruned, one thread."""
    fixed: int
    """Instructions of the operators that no group touches."""
    operators: int
    """How many operators the runtime runs."""
    groups: tuple[GroupCost, ...]

    def slower(self, widths: Mapping[str, int]) -> dict[str, int]:
        """Return the groups that cost no less at these widths than at a wider one, with that."""
        return {
            group: wider for group, wider in self.rounded(widths).items() if wider > widths[group]
        }

    def change(self, widths: Mapping[str, int]) -> int:
        """Return how many instructions more these widths take, group by group from the whole."""
        return sum(
            group_cost.at(widths.get(group_cost.group, group_cost.width))
            - group_cost.instructions[-1]
            for group_cost in self.groups
        )

    def rounded(self, widths: Mapping[str, int]) -> dict[str, int]:
        """Return widths that are no slower than these, and wider wherever that costs nothing."""
        whole = {group_cost.group: group_cost for group_cost in self.groups}
        return {
            group: whole[group].rounded(width) for group, width in widths.items() if group in whole
        }


@dataclass(frozen=True)
class PlannedGroup:
    """What became of one dependency group."""

    group: str
    before: int
    after: int
    kept: float
    """Share of the outputs' variance that is explained with this group alone narrowed."""


@dataclass(frozen=True)
class Uniform:
    """One rate for all groups, for comparison."""

    rate: float
    cost: int
    loss: float
    """As that of :class:`WidthPlan`."""


@dataclass(frozen=True)
class Reached:
    """What a target came to, by the mildest rate of all groups."""

    unit: str
    """``parameters``, ``MACs``, or ``instructions`` of one inference."""
    budget: int
    cost: int
    """At the widths that were chosen; what is shrunk takes at most so many."""
    unpruned: int
    rate: float

    def __str__(self) -> str:
        return (
            f"{self.cost:,} {self.unit} of {self.unpruned:,} ({self.cost / self.unpruned:.3f}) are "
            f"left at a rate of {self.rate:.4g} of every group, within the target of "
            f"{self.budget:,}"
        )


@dataclass(frozen=True)
class PlannedBoard:
    """What instructions were counted on."""

    target: str
    name: str
    core: str
    runtime: str
    size: tuple[int, int]
    """(height, width) of the input."""


@dataclass(frozen=True)
class WidthPlan:
    """Widths chosen by what they cost, what was predicted of them, and what was measured."""

    model: str
    unit: str
    """Of all costs: ``instructions`` of one inference, ``parameters`` or ``MACs``."""
    board: PlannedBoard | None
    """None for what is counted without one."""
    criterion: str
    unpruned: int
    budget: int
    least: int
    """That any widths need, as far as was found."""
    predicted: int
    measured: int
    """Of the network that was really shrunk by the plan, and exported."""
    loss: float
    """Sum over groups of -log(share kept)."""
    looked_at: str
    """What the outputs were compared on: ``8 photos`` or ``8 random shapes``."""
    levels: tuple[float, ...]
    """What each level weighed in that; none where outputs have no levels."""
    uniform: Uniform | None
    """The mildest rate whose predicted cost is within the budget; None if no rate's is."""
    groups: tuple[PlannedGroup, ...]

    @property
    def error(self) -> float:
        """How far off the prediction was, as a share of what was measured."""
        return self.predicted / self.measured - 1
