"""What a recovery was, as a record for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RecoveryReport:
    """How near the pruned network comes to what it was; ``print(report)`` for people."""

    images: int
    """Kept out of learning, that the agreement is told on."""
    pruned: Mapping[str, float]
    """Agreement with the network before pruning, by output, right after pruning: 1 is all of what
    the outputs tell, 0 what a constant tells. ``NAME same class``: how often both find one class.
    """
    solved: Mapping[str, float]
    """The same after layers were solved in closed form and batch norm was averaged."""
    recovered: Mapping[str, float]
    """The same at the end."""
    evaluated: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """What the user's own evaluation gives: ``before`` pruning, ``pruned``, ``recovered``."""
    steps: int = 0
    kept_step: int = 0
    """After which step the network was that is given back."""
    seconds: float = 0.0
    zeroed: int = 0
    """Filters that are held at zero."""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{self.zeroed} filters held at zero; {self.steps} steps in {self.seconds:.0f} s; "
            f"agreement with the network before, on {self.images} images kept out:",
            f"  {'':30} {'pruned':>9} {'solved':>9} {'recovered':>9}",
        ]
        for name, value in self.recovered.items():
            figures = (self.pruned[name], self.solved.get(name, float("nan")), value)
            lines.append(f"  {name:30} " + " ".join(f"{figure:9.4f}" for figure in figures))
        for name in self.evaluated.get("before", {}):
            told = " -> ".join(f"{each[name]:.4f}" for each in self.evaluated.values())
            lines.append(f"  {name}: {told} ({', '.join(self.evaluated)})")
        if self.kept_step != self.steps:
            lines.append(f"  of step {self.kept_step}, where the evaluation found most")
        return "\n".join([*lines, *self.notes])
