"""A pruner's groups of filters, as a table, and whether two pruners have the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from toolchain.errors import InputError, RecipeError


@dataclass(frozen=True)
class FilterGroup:
    """Filters that are chosen among together: a dependency group, or in scope ``layer`` a layer."""

    name: str
    """Its first layer."""
    layers: tuple[str, ...]
    """The convolutions and linear layers that write its channels."""
    width: int
    """How many channels it has."""
    gone: int
    """How many of them are zeroed."""

    @property
    def stays(self) -> int:
        """How many channels are left."""
        return self.width - self.gone


def summary_table(
    groups: Sequence[FilterGroup],
    zeroed: Mapping[str, int],
    last: str,
    left_out: Mapping[str, str],
) -> str:
    """Return a line for each group, the line ``last``, and one for each layer that stays whole."""
    rows = [("group", "layers", "width", "to go", "zeroed")]
    for group in groups:
        numbers = len(group.layers), group.width, group.gone, zeroed.get(group.name, 0)
        rows.append((group.name, *map(str, numbers)))  # type: ignore[arg-type]
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = [
        "  ".join([name.ljust(first), *map(str.rjust, numbers, others)]) for name, *numbers in rows
    ]
    stay = [f"{name} stays whole: {reason}" for name, reason in left_out.items()]
    return "\n".join([*lines, last, *stay])


def demand_finite(parameters: Mapping[str, Tensor]) -> None:
    """Raise :class:`InputError` for weights that are not finite."""
    for name, parameter in parameters.items():
        if not bool(parameter.sum(dtype=torch.float64).isfinite()):
            raise InputError(
                f"{name} is not finite, so no filter can be chosen; go back to the last good "
                f"weights, and train with a lower learning rate"
            )


def demand_same(there: Mapping[str, object], here: Mapping[str, object]) -> None:
    """Raise :class:`RecipeError` where a kept state's configuration is not this pruner's."""
    for key, value in here.items():
        if there.get(key) != value:
            raise RecipeError(
                f"the state is of a pruner with other {key}: {_difference(there.get(key), value)}"
            )


def _difference(there: object, here: object) -> str:
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for name in {**there, **here}:
            if there.get(name) != here.get(name):
                return f"{name} has {there.get(name)} there and {here.get(name)} here"
    return f"{there} there and {here} here"
