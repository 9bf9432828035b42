"""What a check says: whether a board gives what this machine gives, and what exceeds a budget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from reports import parity_of

from toolchain.arm.budget import exceeded
from toolchain.arm.comparing import Subject, compare_with_here
from toolchain.arm.targets import estimate, find_target
from toolchain.errors import RecipeError
from toolchain.recipe import BudgetSection, parse_recipe
from toolchain.records.timings import Check, FileCheck, Instructions, OperatorCount
from toolchain.report.costs.check import check_document
from toolchain.report.document.html import html


@pytest.mark.parametrize(
    ("there", "holds"),
    [
        (lambda here: here, True),
        (lambda here: [here[0], np.full_like(here[1], np.nan)], False),
        (lambda here: [here[0], here[1][..., :1]], False),
        (lambda here: [here[0], here[1] + 1e-3 * np.ptp(here[1])], False),
    ],
)
def test_a_board_must_give_what_this_machine_gives(
    there: Callable[[list[np.ndarray]], list[np.ndarray]],
    holds: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = [np.linspace(0, 900, 64).reshape(1, 1, 64), np.linspace(0, 0.01, 64).reshape(1, 1, 64)]
    monkeypatch.setattr("toolchain.arm.comparing._run_here", lambda *_: tuple(here))
    image = np.zeros((1, 3, 8, 8), np.float32)
    subject = Subject("a", (Path("model.onnx"),), {"noise": image}, None)
    found = compare_with_here(Path("model.onnx"), subject, {"noise": tuple(there(here))})
    assert found.holds is holds


def file_check(name: str, instructions: int) -> FileCheck:
    counted = Instructions(instructions, 0, 0, 0)
    return FileCheck(
        "rpi4", "onnxruntime 1", name, "ab", (96, 128), instructions, counted,
        parity_of((0.0, 1.0)), None, 1000, 50_000_000,
        estimate(instructions, find_target("rpi4")), {}, True, 5_000,
        (OperatorCount("a<b>", "Conv", instructions),), (),
    )  # fmt: skip


def check_of(*files: FileCheck) -> Check:
    return Check("out", "rpi4", "Raspberry Pi 4B", "cortex-a72", 1_500_000_000, "", files)


def test_what_exceeds_its_budget_is_told_with_what_helps() -> None:
    found = check_of(file_check("model.onnx", 1500), file_check("model.tflite", 900))
    assert exceeded(found, BudgetSection(), None) == ()
    assert exceeded(found, BudgetSection(instructions=1500, size_bytes=1000), None) == ()
    (sentence,) = exceeded(found, BudgetSection(instructions=1000), None)
    assert sentence == (
        "instructions: model.onnx takes 1,500, 50.0% over the budget of 1,000; what helps: "
        "model.tflite is within it"
    )
    (sentence,) = exceeded(found, BudgetSection(memory_bytes=40_000_000), None)
    assert "25.0% over the budget of 40,000,000; what helps: a smaller --size" in sentence
    (sentence,) = exceeded(found, BudgetSection(parameters=10), None)
    assert "does not tell" in sentence
    assert len(exceeded(found, BudgetSection(parameters=10, latency_ms=1e-6), 20)) == 2


def test_the_page_tells_costs_conditions_and_what_is_over() -> None:
    found = check_of(file_check("model.onnx", 1500), file_check("model_<i>.tflite", 900))
    page = html(check_document(found, ("size_bytes: <too much>",)))
    assert "FAILED" in page
    assert "model_<i>" not in page
    assert "<too much>" not in page
    assert "a<b>" not in page
    for words in ("Over budget", "estimated", "cortex-a72", "Fewest instructions", "The dearest"):
        assert words in page
    assert "Over budget" not in html(check_document(found, ()))


def test_a_budget_is_a_part_of_the_recipe() -> None:
    text = "[model]\nname = 'eresfd'\n[budget.rpi4]\ninstructions = 5\n[budget.mine]\n"
    found = parse_recipe(text, "own.toml").budget
    assert found == {"rpi4": BudgetSection(instructions=5), "mine": BudgetSection()}
    with pytest.raises(RecipeError, match=r"own.toml:4: budget.rpi4.instructions must be >= 1"):
        parse_recipe(text.replace("= 5", "= 0"), "own.toml")
    with pytest.raises(RecipeError, match=r"budget.rpi4.wings is unknown"):
        parse_recipe(text.replace("instructions", "wings"), "own.toml")
