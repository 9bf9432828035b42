"""What a pruner is asked for: arguments held to the recipe's ranges, and widths made of them."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from torch import nn

from toolchain.check.cost import macs_by_weight
from toolchain.errors import InputError, ModelError, RecipeError, did_you_mean
from toolchain.export.fold import fold_batch_norm
from toolchain.library.taking import Taken, live_modules, unwrapped
from toolchain.prune.criteria import Scoring, count_of
from toolchain.prune.groups import ChannelGroup, groups_of, zeroed_counts
from toolchain.prune.prunable import Prunable
from toolchain.recipe import Criterion, PruneSection, Range, Scope
from toolchain.recipe.checking import Checker
from toolchain.shrink.flow import trace_flow
from toolchain.widths.choosing import Problem
from toolchain.widths.parameters import macs_problem, parameter_problem
from toolchain.widths.planning import mildest_rate

Rate = float | Mapping[str, float]
Ignored = Sequence[str | nn.Module]

AMOUNT, MULTIPLE = Annotated[int, Range(1, 1e18)], Annotated[int, Range(1, 1024)]


@dataclass(frozen=True)
class Asked:
    """The arguments of a pruner, checked; exactly one of the first four is given."""

    rate: Rate | None
    parameters: int | None
    macs: int | None
    widths: Mapping[str, int] | None
    criterion: Criterion | Scoring
    scope: Scope
    ignored: tuple[str, ...]
    """Shell patterns of layers."""
    round_to: int
    """Widths that stay are multiples of it."""

    @property
    def prune(self) -> PruneSection:
        """What of it a recipe can say."""
        return PruneSection(
            rate=self.rate if isinstance(self.rate, float) else None,
            criterion=self.criterion if isinstance(self.criterion, str) else "fpgm",
            scope=self.scope,
            protected=self.ignored,
            widths=dict(self.widths or {}),
        )


def asked(
    network: nn.Module,
    rate: Rate | None,
    parameters: int | None,
    macs: int | None,
    widths: Mapping[str, int] | None,
    criterion: Criterion | Scoring,
    scope: Scope,
    ignored: Ignored,
    round_to: int | None,
) -> Asked:
    """Return the arguments, checked; raise :class:`RecipeError` that names the one at fault."""
    given = {"rate": rate, "parameters": parameters, "macs": macs, "widths": widths}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise RecipeError(
            f"give exactly one of rate, parameters, macs and widths, which say how much goes (got "
            f"{' and '.join(named) or 'none'})"
        )
    if not isinstance(network, nn.Module):
        raise ModelError(f"network must be a torch.nn.Module (got {type(network).__name__})")
    checker = Checker()
    if not (isinstance(criterion, str) or callable(criterion)):
        raise RecipeError(f"criterion must be fpgm, l1 or a callable (got {criterion!r})")
    if scope == "layer" and rate is None:
        raise RecipeError(f"{named[0]} is of groups, so scope must be group (got 'layer')")
    if round_to is not None and widths is not None:
        raise RecipeError("round_to rounds what a rate or a target leaves; widths are exact")
    found = Asked(
        _checked_rate(rate),
        None if parameters is None else checker.value(AMOUNT, parameters, ("parameters",)),
        None if macs is None else checker.value(AMOUNT, macs, ("macs",)),
        widths,
        criterion,
        scope,
        _patterns(network, ignored),
        1 if round_to is None else checker.value(MULTIPLE, round_to, ("round_to",)),
    )
    section = found.prune  # checks the rest
    return found if widths is None else Asked(**{**vars(found), "widths": section.widths})


def _checked_rate(rate: Rate | None) -> Rate | None:
    if rate is None:
        return None
    if isinstance(rate, Mapping):
        if not rate:
            raise RecipeError("rate must name a layer at least, such as {'backbone.*': 0.3}")
        return {str(pattern): _checked_one(value, pattern) for pattern, value in rate.items()}
    return PruneSection(rate=rate).rate


def _checked_one(rate: float, pattern: str) -> float:
    bounds = Annotated[float, Range(0, 1, high_open=True)]
    return float(Checker().value(bounds, rate, ("prune", "rate", pattern)))


def _patterns(network: nn.Module, ignored: Ignored) -> tuple[str, ...]:
    """Return shell patterns for what is ignored; a module stands for itself and all in it."""
    if isinstance(ignored, str | nn.Module):
        raise RecipeError(f"ignored must be a list, such as ['head.*'] (got {ignored!r})")
    names = {id(unwrapped(module)): name for name, module in live_modules(network)}
    layers = [name for name, module in live_modules(network) if not [*module.children()]]
    found: list[str] = []
    for each in ignored:
        if isinstance(each, str):
            _demand_matches("ignored", [each], layers)
            found.append(each)
        elif not isinstance(each, nn.Module):
            raise RecipeError(f"ignored must hold names or modules (got {each!r})")
        elif id(unwrapped(each)) not in names:
            raise RecipeError(f"ignored: a {type(each).__name__} is no module of this network")
        else:
            name = names[id(unwrapped(each))]
            found += [name, f"{name}.*"] if name else ["*"]
    return tuple(found)


def _demand_matches(argument: str, patterns: Sequence[str], layers: Sequence[str]) -> None:
    """Raise :class:`RecipeError` for a pattern that matches no layer's name."""
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(layer, pattern) for layer in layers):
            hint = did_you_mean(pattern, layers) or f"; layers are {', '.join(layers[:5])}, ..."
            raise RecipeError(f"{argument}: no layer's name matches {pattern!r}{hint}")


# Widths -----------------------------------------------------------------------------------------


def counts_of(prunable: Prunable, taken: Taken, wanted: Asked) -> dict[str, int]:
    """Return how many filters of each group go.

    Raises :class:`RecipeError` where that is none at all though more than that is asked for, and
    :class:`InputError` where a target is out of reach.
    """
    groups = prunable.groups
    if wanted.widths is not None:
        return zeroed_counts(groups, wanted.prune)
    if wanted.rate is not None:
        rates = _rates(groups, wanted.rate)
    else:
        rates = dict.fromkeys((group.name for group in groups), _target(prunable, taken, wanted))
    counts = _counts(groups, rates, wanted.round_to)
    if any(rates.values()) and not any(counts.values()):
        widest = max(group.width for group in groups)
        least = f"at least 1 / {widest} = {1 / widest:.3g}"
        raise RecipeError(
            f"a rate of {max(rates.values()):g} takes no filter of any layer; give {least}, the "
            f"widest has {widest} filters" + (", or no round_to" if wanted.round_to > 1 else "")
        )
    return counts


def _counts(
    groups: Sequence[ChannelGroup], rates: Mapping[str, float], multiple: int
) -> dict[str, int]:
    return {group.name: gone_of(rates[group.name], group.width, multiple) for group in groups}


def gone_of(rate: float, width: int, multiple: int = 1) -> int:
    """Return how many of ``width`` filters go by a rate, where what stays is a multiple.

    What stays is rounded up, so never more goes than is asked for: of 64 filters at a rate of 0.3,
    19 go and 45 stay; in multiples of 8, 48 stay.
    """
    stays = math.ceil((width - count_of(rate, width)) / multiple) * multiple
    return max(0, width - stays)


def _rates(groups: Sequence[ChannelGroup], rate: Rate) -> dict[str, float]:
    """Return each group's rate: the smallest of its layers, of which unnamed ones have none."""
    if not isinstance(rate, Mapping):
        return {group.name: rate for group in groups}
    layers = [layer for group in groups for layer in group.layers]
    _demand_matches("rate", list(rate), layers)

    def of_layer(layer: str) -> float:
        matching = (value for key, value in rate.items() if fnmatch.fnmatchcase(layer, key))
        return next(matching, 0.0)

    return {group.name: min(map(of_layer, group.layers)) for group in groups}


def _target(prunable: Prunable, taken: Taken, wanted: Asked) -> float:
    """Return the mildest rate, equal in all groups, that meets a target."""
    problem, budget, unit = _problem(taken, wanted)
    groups = prunable.groups

    def widths(rate: float) -> dict[str, int]:
        rates = dict.fromkeys((group.name for group in groups), rate)
        counts = _counts(groups, rates, wanted.round_to)
        return {group.name: group.width - counts[group.name] for group in groups}

    def cost(rate: float) -> float:
        return problem.cost(widths(rate))

    rate = mildest_rate(groups, budget, cost)
    least = round(cost(rate))
    if least > budget:
        raise InputError(
            f"{unit}={budget} is out of reach: the highest rate leaves {least}, of {round(cost(0))}"
            f"; give more, ignore fewer layers, or round less"
        )
    return rate


def _problem(taken: Taken, wanted: Asked) -> tuple[Problem, int, str]:
    """Return what counts a target's cost by widths, the target, and its name."""
    folded = fold_batch_norm(taken.network, taken.example)
    flow = trace_flow(folded, taken.example)
    groups = groups_of(folded, flow, (*wanted.ignored, *taken.computed))
    losses: dict[str, dict[int, float]] = {group.name: {group.width: 0.0} for group in groups}
    if wanted.parameters is not None:
        problem = parameter_problem(folded, flow, groups, losses)
        return problem, wanted.parameters, "parameters"
    total, each = macs_by_weight(folded, taken.example)
    assert wanted.macs is not None
    return macs_problem(folded, flow, groups, losses, total, each), wanted.macs, "macs"
