"""What is gated: the kinds of figures, which way is worse, and which limit of the recipe holds."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.recipe import GateSection, Limit


@dataclass(frozen=True)
class Kind:
    """A kind of figure."""

    limit: str
    """Field of :class:`~toolchain.recipe.GateSection`."""
    unit: str
    noise_free: bool
    higher_is_better: bool = False
    starts_at_zero: bool = False
    """True if what is not listed is zero: operators of a type."""
    of_weights: bool = False
    """True if it moves when the same network is trained again."""
    is_accuracy: bool = False
    """True if it tells how good the network is."""


KINDS = {
    "instructions": Kind("instructions", "count", noise_free=True),
    "multiply_adds": Kind("multiply_adds", "count", noise_free=True),
    "operators": Kind("operators", "count", noise_free=True, starts_at_zero=True),
    "parameters": Kind("parameters", "count", noise_free=True),
    "size_bytes": Kind("size_bytes", "bytes", noise_free=True),
    "peak_memory_bytes": Kind("peak_memory_bytes", "bytes", noise_free=False),
    "parity": Kind("parity", "share", noise_free=False, of_weights=True),
    "outputs": Kind("outputs", "share", noise_free=True, of_weights=True),
    "boxes": Kind("boxes", "share", noise_free=True, of_weights=True),
    "average_precision": Kind(
        "average_precision", "share", noise_free=True, higher_is_better=True, is_accuracy=True
    ),
    "score": Kind(
        "average_precision", "score", noise_free=True, higher_is_better=True, is_accuracy=True
    ),
    "error": Kind("average_precision", "score", noise_free=True, is_accuracy=True),
    "time": Kind("time", "ratio", noise_free=False),
}
"""By the second part of a metric's name: ``model.onnx/operators/Conv`` is of ``operators``."""


def kind_of(metric: str) -> Kind:
    """Return the kind of a metric; raise KeyError for one that is none."""
    return KINDS[metric.split("/")[1]]


def is_metric(name: str) -> bool:
    """Tell whether a name is that of a metric."""
    parts = name.split("/")
    return len(parts) >= 2 and parts[1] in KINDS


def allowed(metric: str, before: float, limits: GateSection) -> float:
    """Return how much worse a figure may get."""
    limit: Limit = getattr(limits, kind_of(metric).limit)
    return max(limit.absolute, limit.relative * abs(before))


def fits(metric: str, wanted: str) -> bool:
    """Tell whether ``wanted`` names the metric: in full, or by its kind alone."""
    parts = metric.split("/")
    return wanted == metric or wanted == "/".join(parts[1:]) or wanted == parts[1]
