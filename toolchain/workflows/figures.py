"""Evaluation by what a recipe names: models over the data, and what is written.

OUT/NAME-FUNCTION/results.jsonl    what is known of each sample, so that a run goes on
OUT/eval.json                      the figures and all that they depend on
OUT/report.html                    the same as a page
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import toolchain
from toolchain.errors import InputError
from toolchain.evaluating.opening import ModelPlan
from toolchain.evaluating.running import Evaluator
from toolchain.records.figures import FiguresOf
from toolchain.report.accuracy.figures import figures_document
from toolchain.report.document.html import html
from toolchain.system.files import write_bytes
from toolchain.workflows.evaluation import versions

OnSample = Callable[[str, int, int], None]
"""Called with what is evaluated, how many samples are done, and of how many."""


def evaluate_model(
    plan: ModelPlan, evaluator: Evaluator, out: Path, on_sample: OnSample
) -> FiguresOf:
    """Evaluate one model; an interrupted run goes on with what ``out`` holds of it."""
    model, sha256 = plan.open(), plan.sha256
    model.name = plan.name
    called = plan.name.replace("/", "-")
    kept = out / f"{called}-{sha256[:8]}-{evaluator.function.replace(':', '.')}"
    figures = evaluator.figures(
        model, kept, sha256, lambda done, total: on_sample(plan.name, done, total)
    )
    return FiguresOf(plan.name, plan.kind, model.recipe.model.name, sha256, figures)


def write_figures(found: Sequence[FiguresOf], out: Path, command: str) -> Mapping[str, Any]:
    """Write eval.json and report.html; return what eval.json holds."""
    content = as_json_content(found, command)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_bytes(
            out / "report.html", html(figures_document(found, versions(), command)).encode()
        )
        text = json.dumps(content, indent=2, ensure_ascii=False)
        write_bytes(out / "eval.json", f"{text}\n".encode())
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from error
    return content


def as_json_content(found: Sequence[FiguresOf], command: str) -> dict[str, Any]:
    """Return what eval.json holds: the first result, and the others under ``others``."""
    first, *others = [_one(each, command) for each in found]
    return first | ({"others": others} if others else {})


def _one(found: FiguresOf, command: str) -> dict[str, Any]:
    figures = found.figures
    return {
        "tool": f"toolchain {toolchain.__version__}",
        "function": figures.function,
        "figures": dict(figures.values),
        "subject": {
            "name": found.name,
            "kind": found.kind,
            "model": found.model,
            "sha256": found.sha256,
        },
        "data": asdict(figures.data),
        "whole_set": figures.data.samples == figures.data.listed,
        "broken": [asdict(photo) for photo in figures.broken],
        "seconds": round(figures.seconds, 3),
        "resumed": figures.resumed,
        "versions": versions(),
        "command": command,
    }
