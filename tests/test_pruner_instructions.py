"""``SoftPruner(instructions=...)``: a target of what one inference costs on a board."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from conftest import ARM_CACHE
from tiny import Convolutions

import toolchain as tc
from toolchain.arm.sysroot import Sysroot
from toolchain.library import board_costs

torch.set_num_threads(1)
EXAMPLE = torch.zeros(1, 3, 24, 32)
STREAM, INNER = "stem", "inner"


class ByWidth:
    """What stands for a board: a stream's channel costs 100, one inside the block 10."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, int]] = []
        self.board: Any = None

    def opened(self, loaded: Any, board: Any, on_stage: object) -> ByWidth:
        assert [*loaded.image.shape] == [1, 3, 24, 32]
        self.board = board
        return self

    def measured_total(self, on_stage: object) -> Callable[[Mapping[str, int]], int]:
        def total(widths: Mapping[str, int]) -> int:
            self.asked.append(widths)
            return 100 * widths[STREAM] + 10 * widths[INNER]

        return total


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> ByWidth:
    made = ByWidth()
    monkeypatch.setattr(board_costs, "open_costs", made.opened)
    monkeypatch.setattr(board_costs, "prepare", lambda *_: None)
    monkeypatch.setattr(board_costs, "choose_runtime", lambda asked, *_: asked or "ncnn")
    return made


def widths_left(**arguments: Any) -> dict[str, int]:
    pruner = tc.SoftPruner(Convolutions().eval(), EXAMPLE, **arguments)
    return {group.name: group.stays for group in pruner.groups}


def test_the_mildest_rate_in_blocks_meets_it(costs: ByWidth) -> None:
    whole = 100 * 16 + 10 * 12
    assert widths_left(instructions=whole) == {STREAM: 16, INNER: 12}
    assert widths_left(instructions=whole - 1) == {STREAM: 12, INNER: 12}
    assert widths_left(instructions=100 * 12 + 10 * 8) == {STREAM: 12, INNER: 8}
    assert all(width % 4 == 0 for asked in costs.asked for width in asked.values())
    assert (costs.board.target.key, costs.board.kind) == ("rpi4", "ncnn")


def test_board_runtime_and_multiples_are_those_asked_for(costs: ByWidth) -> None:
    left = widths_left(instructions=1500, target="rpi5", runtime="onnxruntime", round_to=2)
    assert left == {STREAM: 14, INNER: 10}  # at a rate of 3 / 16
    assert (costs.board.target.key, costs.board.kind) == ("rpi5", "onnxruntime")


def test_prune_takes_the_same_target(costs: ByWidth) -> None:
    soft = tc.prune(Convolutions().eval(), EXAMPLE, instructions=1719)
    rows = soft.get_parameter("stem.weight").flatten(1).abs().sum(1)
    assert int((rows == 0).sum()) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"instructions": 300}, "instructions=300 is out of reach: the highest rate leaves 440"),
        ({"instructions": 0}, "instructions must be >= 1"),
        ({"instructions": 900, "macs": 5}, "(got macs and instructions)"),
        ({"rate": 0.3, "target": "rpi5"}, "target and runtime are for instructions"),
        ({"instructions": 900, "target": "rpi6"}, "there is no such board; known are"),
    ],
)
def test_what_cannot_be_met_is_told(
    costs: ByWidth, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises((tc.InputError, tc.RecipeError), match=re.escape(message)):
        widths_left(**arguments)


def test_instructions_are_of_one_image(costs: ByWidth) -> None:
    with pytest.raises(tc.InputError, match=r"a tensor \(1, C, H, W\) \(got \(2, 3, 24, 32\)\)"):
        tc.SoftPruner(Convolutions().eval(), torch.zeros(2, 3, 24, 32), instructions=900)


@pytest.mark.long
def test_layers_are_measured_on_the_board(ready: Sysroot, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ncnn")
    pytest.importorskip("pnnx")
    monkeypatch.setattr(board_costs, "arm_cache", lambda: ARM_CACHE)
    asked: list[tuple[dict[str, int], float]] = []
    real = board_costs.instructions_of

    def told(taken: Any, wanted: Any) -> Callable[[Mapping[str, int]], float]:
        cost = real(taken, wanted)
        return lambda widths: asked.append((dict(widths), cost(widths))) or asked[-1][1]  # type: ignore

    monkeypatch.setattr("toolchain.library.amounts.instructions_of", told)
    widths_left(instructions=10**9)
    whole = max(cost for _, cost in asked)
    left = widths_left(instructions=round(0.9 * whole))
    found = next(cost for widths, cost in asked if widths == left)
    assert 0 < found <= 0.9 * whole
    assert left != {STREAM: 16, INNER: 12}
