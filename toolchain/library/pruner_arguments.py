"""What a pruner is given, held to the ranges of the recipe."""

from __future__ import annotations

import fnmatch
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict, get_args

from torch import nn

from toolchain.errors import ModelError, RecipeError, did_you_mean
from toolchain.library.taking import live_modules, unwrapped
from toolchain.pruning.criteria import Scoring
from toolchain.recipe import Criterion, PruneSection, Range, Scope
from toolchain.recipe.checking import Checker

Rate = float | Mapping[str, float]
Ignored = Sequence[str | nn.Module]
Amount = int | float
"""A target: so many at most, or a share ``> 0 and < 1`` of what the whole network takes."""

Runtime = Literal["ncnn", "onnxruntime"]

WILDCARDS = frozenset("*?[")
TARGET = "rpi4"
"""The board, where none is named."""
AMOUNT, MULTIPLE = Annotated[int, Range(1, 1e18)], Annotated[int, Range(1, 1024)]
SHARE = Range(0, 1, low_open=True, high_open=True)


class PrunerOptions(TypedDict, total=False):
    """The keyword arguments of :class:`~toolchain.library.pruner.SoftPruner`, which tells them."""

    rate: Rate | None
    parameters: Amount | None
    macs: Amount | None
    widths: Mapping[str, int] | None
    criterion: Criterion | Scoring
    scope: Scope
    ignored: Ignored
    round_to: int | None
    align: int
    instructions: Amount | None
    target: str
    runtime: Runtime | None


@dataclass(frozen=True)
class PrunerArguments:
    """The arguments of a pruner, checked; exactly one says how much goes."""

    rate: Rate | None
    parameters: Amount | None
    macs: Amount | None
    widths: Mapping[str, int] | None
    criterion: Criterion | Scoring
    scope: Scope
    ignored: tuple[str, ...]
    """Shell patterns of layers."""
    round_to: int
    """Widths that stay are multiples of it."""
    align: int
    """As ``round_to``, where groups share what goes."""
    instructions: Amount | None = None
    target: str = TARGET
    """The board that instructions are of."""
    runtime: Runtime | None = None
    """None: the fastest that the board has."""

    @property
    def prune(self) -> PruneSection:
        """What of it a recipe can say."""
        return PruneSection(
            rate=self.rate if isinstance(self.rate, float) else None,
            criterion=self.criterion if isinstance(self.criterion, str) else "fpgm",
            scope=self.scope,
            protected=self.ignored,
            widths=dict(self.widths or {}),
            align=self.align,
        )


def checked(
    network: nn.Module,
    rate: Rate | None,
    parameters: Amount | None,
    macs: Amount | None,
    widths: Mapping[str, int] | None,
    criterion: Criterion | Scoring,
    scope: Scope,
    ignored: Ignored,
    round_to: int | None,
    align: int,
    instructions: Amount | None = None,
    target: str = TARGET,
    runtime: Runtime | None = None,
) -> PrunerArguments:
    """Return the arguments, checked; raise :class:`RecipeError` that names the one at fault."""
    given = {"rate": rate, "parameters": parameters, "macs": macs, "widths": widths}
    given["instructions"] = instructions
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise RecipeError(
            f"give exactly one of rate, parameters, macs, widths and instructions, which say how "
            f"much goes (got {' and '.join(named) or 'none'})"
        )
    if instructions is None and (runtime is not None or target != TARGET):
        raise RecipeError("target and runtime are for instructions; give these too")
    if not isinstance(network, nn.Module):
        raise ModelError(f"network must be a torch.nn.Module (got {type(network).__name__})")
    checker = Checker()
    is_known = isinstance(criterion, str) and criterion in get_args(Criterion)
    if not (is_known or callable(criterion)):
        raise RecipeError(f"criterion must be fpgm, l1 or a callable (got {criterion!r})")
    if scope == "layer" and rate is None:
        raise RecipeError(f"{named[0]} is of groups, so scope must be group (got 'layer')")
    if round_to is not None and widths is not None:
        raise RecipeError("round_to rounds what a rate or a target leaves; widths are exact")
    if align != 1 and (scope == "layer" or round_to is not None or widths is not None):
        raise RecipeError(
            "align is for what groups lose by a rate or a target; give neither round_to nor widths "
            "with it, and scope group"
        )
    found = PrunerArguments(
        _checked_rate(rate),
        _checked_amount(parameters, "parameters"),
        _checked_amount(macs, "macs"),
        widths,
        criterion,
        scope,
        _patterns(network, ignored),
        1 if round_to is None else checker.value(MULTIPLE, round_to, ("round_to",)),
        checker.value(MULTIPLE, align, ("align",)),
        _checked_amount(instructions, "instructions"),
        target,
        runtime,
    )
    section = found.prune  # checks the rest
    return found if widths is None else PrunerArguments(**{**vars(found), "widths": section.widths})


def _checked_rate(rate: Rate | None) -> Rate | None:
    if rate is None:
        return None
    if isinstance(rate, Mapping):
        if not rate:
            raise RecipeError("rate must name a layer at least, such as {'backbone.*': 0.3}")
        return {str(pattern): _checked_one(value, pattern) for pattern, value in rate.items()}
    return PruneSection(rate=rate).rate


def _checked_amount(amount: Amount | None, name: str) -> Amount | None:
    if amount is None:
        return None
    if isinstance(amount, numbers.Real) and not isinstance(amount, numbers.Integral):
        if float(amount) in SHARE:
            return float(amount)
        raise RecipeError(
            f"{name} must be a whole number, or a share {SHARE} of the whole network's (got "
            f"{amount!r})"
        )
    return int(Checker().value(AMOUNT, amount, (name,)))


def _checked_one(rate: float, pattern: str) -> float:
    bounds = Annotated[float, Range(0, 1, high_open=True)]
    return float(Checker().value(bounds, rate, ("prune", "rate", pattern)))


def _patterns(network: nn.Module, ignored: Ignored) -> tuple[str, ...]:
    """Return shell patterns for what is ignored; a module, or its name, stands for all in it."""
    if isinstance(ignored, str | nn.Module):
        raise RecipeError(f"ignored must be a list, such as ['head.*'] (got {ignored!r})")
    names = {id(unwrapped(module)): name for name, module in live_modules(network)}
    layers = [name for name, _ in live_modules(network)]
    found: list[str] = []
    for each in ignored:
        if isinstance(each, str):
            demand_matches("ignored", [each], layers)
            found += [each] if set(each) & WILDCARDS else [each, f"{each}.*"]
        elif not isinstance(each, nn.Module):
            raise RecipeError(f"ignored must hold names or modules (got {each!r})")
        elif id(unwrapped(each)) not in names:
            raise RecipeError(f"ignored: a {type(each).__name__} is no module of this network")
        else:
            name = names[id(unwrapped(each))]
            found += [name, f"{name}.*"] if name else ["*"]
    return tuple(found)


def demand_matches(argument: str, patterns: Sequence[str], layers: Sequence[str]) -> None:
    """Raise :class:`RecipeError` for a pattern that matches no layer's name."""
    for pattern in patterns:
        if not any(matches(layer, pattern) for layer in layers):
            hint = did_you_mean(pattern, layers) or f"; layers are {', '.join(layers[:5])}, ..."
            raise RecipeError(f"{argument}: no layer's name matches {pattern!r}{hint}")


def matches(layer: str, pattern: str) -> bool:
    """Tell whether a shell pattern, or the name of a module around it, means a layer."""
    return fnmatch.fnmatchcase(layer, pattern) or layer.startswith(f"{pattern}.")
