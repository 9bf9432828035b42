"""Budgets: does a file cost more than its recipe allows on a board, by how much, and what helps?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from toolchain.errors import InputError
from toolchain.recipe import BudgetSection
from toolchain.records.run_folder import RunFolder
from toolchain.records.timings import Check, FileCheck

HELP = {
    "instructions": "prune more (--rate), or a smaller --size",
    "latency_ms": "prune more (--rate), or a smaller --size",
    "size_bytes": "prune more (--rate)",
    "memory_bytes": "a smaller --size",
    "parameters": "prune more (--rate)",
}


def parameters_of(folder: Path) -> int | None:
    """Return the deployed parameters that a folder's report tells; None if it tells none."""
    try:
        return RunFolder(folder).report.deployed_parameters_after
    except InputError:
        return None


def exceeded(check: Check, budget: BudgetSection, parameters: int | None) -> tuple[str, ...]:
    """Return a sentence for every limit that the main file exceeds, or that cannot be told."""
    return tuple(_sentences(check, budget, parameters))


def _sentences(check: Check, budget: BudgetSection, parameters: int | None) -> Iterator[str]:
    found = _figures(check.main, parameters)
    for name, help_words in HELP.items():
        limit = getattr(budget, name)
        if limit is None:
            continue
        cost = found[name]
        if cost is None:
            yield f"{name}: the folder does not tell them, nor if the budget of {limit:,} is met"
        elif cost > limit:
            others = [
                file.file
                for file in check.files
                if file is not check.main and (_figures(file, None)[name] or limit + 1) <= limit
            ]
            better = f"{others[0]} is within it" if others else help_words
            yield (
                f"{name}: {check.main.file} takes {cost:,.10g}, {cost / limit - 1:.1%} over the "
                f"budget of {limit:,}; what helps: {better}"
            )


def _figures(file: FileCheck, parameters: int | None) -> dict[str, float | None]:
    return {
        "instructions": file.instructions_per_inference,
        "latency_ms": file.estimate_ms.mid,
        "size_bytes": file.size_bytes,
        "memory_bytes": file.peak_memory_bytes,
        "parameters": parameters,
    }
