"""What tells how good a network is, and how much of that a coarser file may lose."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from toolchain.errors import did_you_mean
from toolchain.recipe.checking import Range, Section

BUILT_IN = ("wider", "top", "miou", "coco", "points")
"""Evaluations that need no function of one's own."""
LOWER = {"points": "distance"}
"""The figure of such an evaluation of which less is better."""

Lost = typing.Annotated[float, Range(0, 1e18)]


@dataclass(frozen=True)
class EvaluateSection(Section, name="evaluate"):
    """How a network is evaluated, and which of the figures decide."""

    function: str | None = None
    """``wider``: average precision on WIDER FACE; ``top``: top-1 and top-5 over a folder of
    folders; ``miou``: mean intersection over union of masks; ``coco``: COCO's mAP of boxes;
    ``points``: distances as shares of the diagonal, and PCK; or ``module:function`` of your own.
    None: ``wider`` where there are ``[anchors]``, else nothing."""
    lower: tuple[str, ...] = ()
    """Figures of which less is better, as shell patterns: ``*error``."""
    judged: tuple[str, ...] = ("*",)
    """Figures that decide, as shell patterns; the others are only told."""
    most_lost: dict[str, Lost] = field(default_factory=dict)
    """What half precision and int8 may each lose of a figure, in its own unit, by its name; of
    those that are not named, ``proof.half_loss`` and ``proof.int8_loss``."""

    def problem(self) -> tuple[str, str] | None:
        """Return a field that cannot be, and why; None if all can."""
        function = self.function
        if function is None or function in BUILT_IN:
            return None
        module, colon, name = function.partition(":")
        if colon and all(each.isidentifier() for each in (*module.split("."), *name.split("."))):
            return None
        return (
            "function",
            f"must be one of {', '.join(BUILT_IN)}, or module:function (got {function!r})"
            f"{did_you_mean(function, BUILT_IN)}",
        )

    def is_lower(self, figure: str) -> bool:
        """Tell whether less of a figure is better."""
        if self.function in LOWER and figure == LOWER[self.function]:
            return True
        return any(fnmatchcase(figure, pattern) for pattern in self.lower)

    def is_judged(self, figure: str) -> bool:
        """Tell whether a figure decides."""
        return any(fnmatchcase(figure, pattern) for pattern in self.judged)
