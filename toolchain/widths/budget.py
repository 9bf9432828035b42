"""Budgets as people write them: a share, milliseconds, or so many."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from toolchain.arm.targets import Target
from toolchain.errors import InputError

Amount = int | float
"""So many, or a share > 0 and < 1 of the whole network's: a float."""
Unit = Literal["parameters", "MACs"]
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


@dataclass(frozen=True)
class Wanted:
    """A budget, before the cost of the whole network is known."""

    share: float | None = None
    """Of the whole network's instructions."""
    milliseconds: float | None = None
    """By the middle of the board's estimate."""
    instructions: int | None = None
    parameters: Amount | None = None
    """Deployed; in place of all instructions."""
    macs: Amount | None = None
    """Of one image, likewise."""
    rate: float | None = None
    """Share of its filters that every group loses; in place of any budget."""

    @property
    def counted(self) -> Unit | None:
        """What is counted without a board; None where it is instructions, or a rate."""
        if self.parameters is not None:
            return "parameters"
        return None if self.macs is None else "MACs"

    def on(self, target: Target) -> Amount:
        """Return the instructions on a board, or their share."""
        if self.milliseconds is not None:
            cycles = self.milliseconds / 1e3 * target.clock_hz
            return int(cycles / target.cycles_per_instruction)
        return self.instructions or self.share or 0

    def of(self, whole: int, target: Target) -> int:
        """Return the budget in instructions; raise :class:`InputError` if ``whole`` is within."""
        return _less(self.on(target), whole, "instructions")

    def counted_of(self, whole: int) -> int:
        """Return the budget in what is counted; raise :class:`InputError` likewise."""
        return _less(self.parameters or self.macs or 0, whole, self.counted or "")


def _less(amount: Amount, whole: int, unit: str) -> int:
    budget = int(amount * whole) if isinstance(amount, float) else amount
    if budget >= whole:
        raise InputError(
            f"the network takes {whole:,} {unit} unpruned, within the budget of {budget:,}: there "
            f"is nothing to plan"
        )
    return budget


def read_budget(
    latency: str | None,
    instructions: str | None,
    parameters: str | None = None,
    rate: float | None = None,
    macs: str | None = None,
) -> Wanted:
    """Read the one that is given of five; raise :class:`InputError` for what is no budget."""
    if [latency, instructions, parameters, rate, macs].count(None) != 4:
        raise InputError(
            "give one budget: --latency 0.6, --latency 30ms, --instructions 40M, --parameters 52k, "
            "--macs 0.6 or --rate 0.3"
        )
    if rate is not None:
        return Wanted(rate=rate)
    if instructions is not None:
        return Wanted(instructions=read_instructions(instructions))
    if parameters is not None:
        return Wanted(parameters=_amount(parameters, "--parameters", "52k"))
    if macs is not None:
        return Wanted(macs=_amount(macs, "--macs", "200M"))
    assert latency is not None
    number, unit = _split(latency, "--latency", "a share such as 0.6, or 30ms")
    if unit == "ms" and number > 0:
        return Wanted(milliseconds=number)
    if unit == "" and 0 < number < 1:
        return Wanted(share=number)
    raise InputError(
        f"--latency must be a share > 0 and < 1 of the unpruned cost, such as 0.6, or milliseconds "
        f"such as 30ms (got {latency!r})"
    )


def read_parameters(text: str) -> int:
    """Read ``--parameters``; raise :class:`InputError` for what is no number of them."""
    return _count(text, "--parameters", "52k, 1.5M or 52000")


def read_instructions(text: str) -> int:
    """Read ``--instructions``; raise :class:`InputError` for what is no number of them."""
    return _count(text, "--instructions", "40M, 1.5G or 40000000")


def _amount(text: str, option: str, example: str) -> Amount:
    """Read so many, or a share of the unpruned network's."""
    number, unit = _split(text, option, f"a number such as {example}, or a share such as 0.6")
    if unit == "" and 0 < number < 1:
        return number
    return _count(text, option, f"{example}, or a share such as 0.6")


def _count(text: str, option: str, examples: str) -> int:
    expected = f"a number such as {examples}"
    number, unit = _split(text, option, expected)
    is_whole = unit != "" or number.is_integer()
    if unit not in UNITS or not is_whole or not 1 <= number * UNITS[unit] < 1e18:
        raise InputError(f"{option} must be {expected} (got {text!r})")
    return int(number * UNITS[unit])


def _split(text: str, option: str, expected: str) -> tuple[float, str]:
    found = re.fullmatch(r"\s*(\d[\d_]{0,30}(?:\.\d{1,20})?|\.\d{1,20})\s*([a-zA-Z]{0,3})\s*", text)
    if found is None or not math.isfinite(float(found[1])):
        raise InputError(f"{option} must be {expected} (got {text!r})")
    return float(found[1]), found[2].lower()
