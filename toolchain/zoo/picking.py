"""Which of the shipped networks suits what is asked: a rate, a size, a cost on a board."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from toolchain.errors import InputError
from toolchain.zoo.costs import CORE, SIZE, WholeCosts, read_table
from toolchain.zoo.reading import FOLDER, Member, members

SAVED = 2 / 3
"""Share of a rate that a network which stands for it saves in instructions: more than the half that
makes a rate pay, for the layers that cost most are wanted narrower, too."""


def nearest(model: str, rate: float, folder: Path | None = None) -> Member | None:
    """Return the member of ``model`` whose rate is nearest to ``rate``; None if there is none.

    Of two that are as near, the one with the lower rate. Those with a plan have no rate.
    """
    return min(
        (member for member in members(model, folder) if not member.widths),
        key=lambda member: (round(abs(member.rate - rate), 9), member.rate),
        default=None,
    )


def paying(model: str, rate: float, folder: Path | None = None) -> tuple[Member, ...]:
    """Return the members of ``model`` for which a rate pays on a board, the most accurate first.

    That is, they lack at least that share of the whole network's parameters, and :data:`SAVED` of
    it of its instructions. A network that does not ship whole was made smaller by a plan, which
    goes by instructions alone: they lack that share of these.
    """
    known = members(model, folder)
    whole = next((each for each in known if not each.rate and not each.widths), None)
    costs, fewer, saved = read_table(folder or FOLDER).whole.get(model), 0.0, 1.0
    if whole is not None:
        costs, fewer, saved = WholeCosts(whole.parameters, whole.instructions), 1.0, SAVED
    if costs is None or not rate:
        return ()
    most = (1 - saved * rate) * costs.instructions.get(CORE, 0)
    found = [
        member
        for member in known
        if member.parameters <= (1 - fewer * rate) * costs.parameters
        and member.instructions.get(CORE, most + 1) <= most
    ]
    return tuple(sorted(found, key=lambda member: -member.precision))


def best_within(
    model: str,
    parameters: int | None = None,
    instructions: int | None = None,
    folder: Path | None = None,
) -> Member:
    """Return the member of ``model`` that finds most within a budget.

    That is at most so many deployed ``parameters`` and ``instructions``, those of an inference on a
    core of :data:`~toolchain.zoo.costs.CORE`; None is no bound. Raises :class:`InputError` where
    none is that small.
    """
    known = members(model, folder)
    within = [
        member
        for member in known
        if (parameters is None or member.parameters <= parameters)
        and (instructions is None or _cost(member) <= instructions)
    ]
    if within:
        return max(within, key=lambda member: (member.precision, -member.parameters))
    if not known:
        option = "--parameters" if instructions is None else "--instructions"
        raise InputError(f"no network of {model} is shipped, so {option} cannot choose one")
    raise InputError(_too_little(model, known, parameters, instructions))


def options_of(member: Member) -> dict[str, str]:
    """Return the options of ``shrink``, without dashes, that take a member of a folder."""
    model, folder = member.model, member.path.parent
    if not member.widths and nearest(model, member.rate, folder) == member:
        return {"rate": f"{member.rate:g}"} | ({"align": "1"} if member.rate else {})
    cost = member.instructions.get(CORE)
    for parameters in (-(-member.parameters // 1000) * 1000, member.parameters):
        if best_within(model, parameters, folder=folder) == member:
            return {"parameters": _short(parameters, 1000, "k")}
    for instructions in () if cost is None else (-(-cost // 10**5) * 10**5, cost):
        if best_within(model, instructions=instructions, folder=folder) == member:
            return {"instructions": _short(instructions, 10**6, "M")}
    if cost is not None and best_within(model, member.parameters, cost, folder) == member:
        return {"parameters": str(member.parameters), "instructions": str(cost)}
    return {"ckpt": str(member.path)}


def _short(count: int, unit: int, letter: str) -> str:
    return f"{count / unit:g}{letter}" if count % (unit // 10) == 0 else str(count)


def _cost(member: Member) -> float:
    return member.instructions.get(CORE, float("inf"))


def _too_little(
    model: str, known: Sequence[Member], parameters: int | None, instructions: int | None
) -> str:
    if parameters is not None and (least := min(m.parameters for m in known)) > parameters:
        return (
            f"the smallest {model} that is shipped has {least:,} parameters, more than "
            f"{parameters:,}; choose widths by toolchain plan {model} --parameters {parameters}, "
            f"and train them"
        )
    cheapest = min(map(_cost, known))
    if instructions is not None and cheapest > instructions:
        size = "x".join(map(str, SIZE))
        return (
            f"the cheapest {model} that is shipped takes {cheapest / 1e6:.1f} M instructions at "
            f"{size} (ncnn, {CORE}), more than {instructions / 1e6:.1f} M; choose widths by "
            f"toolchain plan {model} --size {size} --instructions {instructions}, and train them"
        )
    return f"no {model} that is shipped is within both; give --parameters or --instructions alone"
