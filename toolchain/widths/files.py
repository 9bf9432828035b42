"""Cost reports as files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import cast

from toolchain.errors import InputError, RecipeError
from toolchain.recipe.reader import Reader
from toolchain.records.cost_tables import CostReport
from toolchain.system.files import as_json

NAME = "cost.json"
LIMIT_BYTES = 50_000_000


def report_json(report: CostReport) -> bytes:
    """Return what :func:`read_report` reads."""
    return as_json(asdict(report))


def place_of(model: str, target: str) -> Path:
    """Return where the report of a model and a board lies, unless it is told otherwise."""
    return Path("out") / "cost" / f"{model.replace(':', '-')}-{target}" / NAME


def read_report(path: Path, model: str) -> CostReport:
    """Read a report; raise :class:`InputError` where it is none, or one of another model."""
    advice = f"make it by toolchain cost {model}"
    try:
        if path.stat().st_size > LIMIT_BYTES:
            raise InputError(f"{path}: is too large for a cost report; {advice}")
        content = json.loads(path.read_bytes())
        if isinstance(content, dict) and "staircases" in content:  # as it was written before 0.2
            content["groups"] = content.pop("staircases")
    except OSError as error:
        raise InputError(f"{path}: there is no cost report ({error.strerror}); {advice}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not a cost report ({error}); {advice}") from error
    try:
        report = cast(CostReport, Reader("", path.name).section(CostReport, content, ()))
    except RecipeError as error:
        raise InputError(f"{path}: is not a cost report ({error}); {advice}") from error
    if report.model != model:
        raise InputError(f"{path}: is of {report.model}, not of {model}; {advice}")
    for group_cost in report.groups:
        rising = all(a < b for a, b in zip(group_cost.widths, group_cost.widths[1:], strict=False))
        if not (
            group_cost.widths and rising and len(group_cost.widths) == len(group_cost.instructions)
        ):
            raise InputError(f"{path}: {group_cost.group} has no rising widths; {advice}")
    return report
