"""What a recovery was, as a record for people and programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from toolchain.records.certificate import BoxAgreement
from toolchain.records.cost_tables import Reached

SHOWN = 10
"""Classes that are printed: those on which least agreement is left."""


@dataclass(frozen=True)
class ClassAgreement:
    """How often both networks find one class, of where the network before pruning finds it."""

    number: int
    count: int
    """How often that is; of images, or of cells of maps."""
    pruned: float
    """The share right after pruning, of 1."""
    recovered: float
    """The same at the end."""


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
    classes: Mapping[str, tuple[ClassAgreement, ...]] = field(default_factory=dict)
    """By output that has classes, the agreement by class."""
    boxes: Mapping[str, BoxAgreement] = field(default_factory=dict)
    """Of a detector whose boxes can be read: those that both find, ``pruned`` and ``recovered``."""
    evaluated: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """What the user's own evaluation gives: ``before`` pruning, ``pruned``, ``recovered``."""
    steps: int = 0
    soft_steps: int = 0
    """Of these the first ones, in which filters were chosen anew and might come back."""
    kept_step: int = 0
    """After which step the network was that is given back."""
    seconds: float = 0.0
    zeroed: int = 0
    """Filters that are held at zero."""
    reached: Reached | None = None
    """What a target of parameters, MACs or instructions came to; None without one."""
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
        for name, classes in self.classes.items():
            lines += _class_lines(name, classes)
        for name, boxes in self.boxes.items():
            lines.append(f"  boxes, {name}: {_box_words(boxes)}")
        for name in self.evaluated.get("before", {}):
            told = " -> ".join(f"{each[name]:.4f}" for each in self.evaluated.values())
            lines.append(f"  {name}: {told} ({', '.join(self.evaluated)})")
        if self.kept_step != self.steps:
            lines.append(f"  of step {self.kept_step}, where the evaluation found most")
        if self.reached is not None:
            lines.append(f"  {self.reached}")
        return "\n".join([*lines, *self.notes])


def class_agreements(
    pruned: Mapping[str, Mapping[int, tuple[int, float]]],
    recovered: Mapping[str, Mapping[int, tuple[int, float]]],
) -> dict[str, tuple[ClassAgreement, ...]]:
    """Return agreement by output and class, of how often each is found and shares of it."""
    return {
        name: tuple(
            ClassAgreement(number, count, round(share, 4), round(recovered[name][number][1], 4))
            for number, (count, share) in classes.items()
        )
        for name, classes in pruned.items()
    }


def _class_lines(name: str, classes: Sequence[ClassAgreement]) -> list[str]:
    worst = sorted(classes, key=lambda each: (each.recovered, each.number))[:SHOWN]
    some = "" if len(worst) == len(classes) else f", the {SHOWN} worst of {len(classes)}"
    return [f"  {name} same class, by class{some}:"] + [
        f"    {f'class {each.number} ({each.count} found)':28} {each.pruned:9.4f} {'':9} "
        f"{each.recovered:9.4f}"
        for each in worst
    ]


def _box_words(boxes: BoxAgreement) -> str:
    overlap = "" if boxes.mean_iou is None else f", overlapping {boxes.mean_iou:.3f} in the mean"
    return (
        f"{boxes.both} found by both{overlap}; {boxes.missed} only by the network before, "
        f"{boxes.added} only by the pruned one ({boxes.photos} photos)"
    )
