"""Wall-clock: what is slower is told apart from what is noise."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.errors import InputError
from toolchain.gate.times import LOOKS, decide


def blocks_of(ratio: float, noise: float, seed: int) -> object:
    """Blocks of a busy machine: a ratio with noise, and now and then something else running."""
    dice = np.random.default_rng(seed)

    def more(count: int, seconds: float) -> list[float]:
        busy = np.where(dice.random(count) < 0.1, dice.uniform(0.5, 2, count), 1.0)
        return list(ratio * busy * np.exp(noise * dice.standard_normal(count)))

    return more


@pytest.mark.slow
def test_equal_models_are_not_called_slower() -> None:
    outcomes = [
        decide(blocks_of(1.0, 0.04, seed), 0.03, 60, "", seed).outcome for seed in range(200)
    ]  # type: ignore[arg-type]
    assert outcomes.count("slower") == 0
    assert outcomes.count("not slower") > 150


def test_a_tenth_slower_is_caught() -> None:
    outcomes = [
        decide(blocks_of(1.1, 0.04, seed), 0.03, 60, "", seed).outcome for seed in range(50)
    ]  # type: ignore[arg-type]
    assert outcomes.count("slower") >= 45


def test_a_clear_case_is_decided_at_the_first_look() -> None:
    found = decide(blocks_of(2.0, 0.01, 0), 0.03, 60, "here")  # type: ignore[arg-type]
    assert (found.outcome, found.blocks, found.where) == ("slower", LOOKS[0], "here")
    assert found.low < found.ratio < found.high


def test_a_clock_that_jumps_is_told() -> None:
    with pytest.raises(InputError, match="does the clock jump"):
        decide(lambda count, _seconds: [float("nan"), 0.0, 1e9] * count, 0.03, 60, "")
