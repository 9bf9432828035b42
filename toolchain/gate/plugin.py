"""A plugin of pytest: a gate beside a team's own tests.

    def test_the_model_stays_small(model_gate):
        model_gate("out/model", baseline="baselines/model.json")

It measures only under ``pytest --toolchain-gate``, and is skipped otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from toolchain.records.verdicts import Verdict

Gate = Callable[..., "Verdict"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--toolchain-gate`` and where emulation keeps what it needs."""
    group = parser.getgroup("toolchain-gate", "models on emulated ARM boards")
    group.addoption("--toolchain-gate", action="store_true", help="run the gates of models")
    group.addoption("--toolchain-cache", type=Path, help="what emulation needs")


@pytest.fixture
def model_gate(request: pytest.FixtureRequest) -> Gate:
    """Return what gates a folder or a file: ``model_gate(candidate, baseline=..., target="rpi4")``.

    ``retrained``, ``scores`` (``{"top1": 0.91}``) and ``size``, which is of a file on its own, are
    as the command has them. It returns the verdict, or fails the test with what got worse or why
    nothing can be compared.
    """
    if not request.config.getoption("--toolchain-gate"):
        pytest.skip("gates of models run with --toolchain-gate")
    told: Path | None = request.config.getoption("--toolchain-cache")

    def gate(
        candidate: str | Path,
        *,
        baseline: str | Path,
        target: str = "rpi4",
        retrained: bool = False,
        scores: Mapping[str, float] | None = None,
        size: tuple[int, int] | None = None,
    ) -> Verdict:
        from toolchain.arm.targets import find_target
        from toolchain.bench.feeds import Told
        from toolchain.errors import ToolchainError
        from toolchain.gate.running import Request, run_gate
        from toolchain.report.gate import words
        from toolchain.system.caches import arm_cache

        asked = Request(
            Path(candidate),
            Path(baseline),
            find_target(target),
            told or arm_cache(),
            retrained=retrained,
            scores=scores or {},
            told=Told(size),
        )
        try:
            verdict = run_gate(asked, lambda _stage: None)
        except ToolchainError as error:
            pytest.fail(f"not compared: {error}", pytrace=False)
        if not verdict.passed:
            rows = [words.cells(row) for row in verdict.rows if row.stops]
            lines = [words.headline(verdict), *map("  ".join, rows), *words.reasons(verdict)]
            lines += words.ways(verdict)
            pytest.fail("\n".join(lines), pytrace=False)
        return verdict

    return gate
