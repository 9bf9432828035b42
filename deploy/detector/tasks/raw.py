"""Arrays in, arrays out: nothing is known of what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Array, Image
from .found import Found
from .outputs import Given


@dataclass(frozen=True)
class Raw(Found):
    """The network's outputs, as it gave them."""

    outputs: dict[str, Array]

    def facts(self) -> dict[str, Any]:
        """Return ``outputs``: each with ``name``, ``shape``, and its numbers' ends and mean."""
        return {"outputs": [_facts(name, array) for name, array in self.outputs.items()]}

    def words(self) -> str:
        """Return ``out 1x10 (-0.31 to 4.2)``."""
        return ", ".join(map(_words, self.facts()["outputs"]))

    def drawn(self, image_bgr: Image) -> Image:
        """Return the picture as it is."""
        return np.ascontiguousarray(image_bgr).copy()

    def arrays(self) -> dict[str, Array]:
        """Return the outputs."""
        return self.outputs


def _facts(name: str, array: Array) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": name, "shape": list(array.shape), "type": array.dtype.name}
    values = array.astype(np.float64).ravel()
    finite = values[np.isfinite(values)]
    if finite.size:
        ends = {"min": finite.min(), "max": finite.max(), "mean": finite.mean()}
        facts |= {key: float(f"{value:.6g}") for key, value in ends.items()}
    if finite.size < values.size:
        facts["not_finite"] = values.size - finite.size
    return facts


def _words(facts: dict[str, Any]) -> str:
    shape = "x".join(map(str, facts["shape"])) or "one number"
    ends = f" ({facts['min']:.3g} to {facts['max']:.3g})" if "min" in facts else ""
    wrong = f", {facts['not_finite']} NaN OR INFINITE" if "not_finite" in facts else ""
    return f"{facts['name']} {shape}{ends}{wrong}"


def read_raw(given: Given, threshold: float | None) -> Raw:
    """Return all outputs that the task names; there is no threshold."""
    del threshold
    which = given.specification
    return Raw({name: given.outputs[name] for name in which.read})
