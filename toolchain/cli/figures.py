"""``evaluate`` of networks that are evaluated otherwise than on WIDER FACE."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from toolchain.cli.streams import print_json
from toolchain.errors import InputError

if TYPE_CHECKING:
    from toolchain.evaluating.opening import ModelPlan
    from toolchain.recipe import Recipe
    from toolchain.records.figures import FiguresOf


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    paths: tuple[Path, ...]
    data: Path
    function: str | None
    recipe: Path | None
    model: str | None
    limit: int | None
    out: Path | None


@dataclass(frozen=True)
class Others:
    """Options that WIDER FACE alone has."""

    protocol: str
    split: str
    peers: tuple[Path, ...]
    worst: int
    max_side: int | None
    anchor_ratio: float | None
    size: str | None

    def demand_none(self, function: str) -> None:
        """Raise :class:`InputError` naming one that was given."""
        given = {
            "--protocol": self.protocol != "single",
            "--split": self.split != "val",
            "--peer": bool(self.peers),
            "--worst": bool(self.worst),
            "--max-side": self.max_side is not None,
            "--anchor-ratio": self.anchor_ratio is not None,
            "--size": self.size is not None,
        }
        for option, is_given in given.items():
            if is_given:
                raise InputError(f"{option} is of WIDER FACE; leave it out with {function}")


def is_for(asked: Asked) -> bool:
    """Tell whether the first of the models is evaluated otherwise than on WIDER FACE."""
    if asked.function is not None:
        return asked.function != "wider"
    recipe = _recipe(asked)
    if recipe is None:
        if asked.model is not None and ":" in asked.model:
            return True  # where it is told what to do about it
        recipe = _recipe_of_folder(asked.paths)
    return recipe is not None and recipe.evaluation != "wider"


def _recipe_of_folder(paths: Sequence[Path]) -> Recipe | None:
    from toolchain.evaluating.opening import folder_of

    folder = folder_of(paths[0]) if paths else None
    return None if folder is None else folder.certificate.recipe


def _recipe(asked: Asked) -> Recipe | None:
    """Return the recipe that is given, with the function that is given."""
    from toolchain.recipe import load_recipe

    return None if asked.recipe is None else load_recipe(asked.recipe)


def evaluate(asked: Asked, others: Others, *, as_json: bool) -> None:
    """Evaluate, write the results, and print them."""
    from toolchain.cli.photo_progress import photo_progress
    from toolchain.evaluating.opening import plan_model
    from toolchain.evaluating.running import evaluator
    from toolchain.workflows.figures import evaluate_model, write_figures

    if not asked.paths:
        raise InputError("there is nothing to evaluate: give weights, a folder or a file")
    plans = [
        _with_function(plan_model(path, _recipe(asked), asked.model), asked.function)
        for path in asked.paths
    ]
    others.demand_none(f"evaluate.function {plans[0].recipe.evaluation}")
    evaluation = evaluator(plans[0].recipe, asked.data, limit=asked.limit)
    out = asked.out or Path("out") / "eval" / plans[0].name.replace("/", "-")
    with photo_progress() as on_photo:
        found = [evaluate_model(plan, evaluation, out, on_photo) for plan in plans]
    content = write_figures(found, out, shlex.join(["toolchain", *sys.argv[1:]]))
    if as_json:
        print_json(content)
    else:
        _print(found, out)


def _with_function(plan: ModelPlan, function: str | None) -> ModelPlan:
    import dataclasses

    from toolchain.recipe import override

    if function is None:
        return plan
    return dataclasses.replace(plan, recipe=override(plan.recipe, {"evaluate.function": function}))


def _print(found: Sequence[FiguresOf], out: Path) -> None:
    from toolchain.report.accuracy.figures import cells, names_of

    console = Console(highlight=False, soft_wrap=True, emoji=False)
    figures = found[0].figures
    console.print(escape(f"{figures.function} on {figures.data.words}"))
    for each in found:
        for note in _notes(each):
            console.print(f"  {escape(note)}")
    table = Table(box=None, pad_edge=False)
    names = names_of(found)
    for heading in ("", *names):
        table.add_column(heading, justify="right" if heading else "left")
    for each in found:
        table.add_row(escape(each.name), *cells(each, names))
    console.print(table)
    console.print(f"Results are in [bold]{escape(str(out))}[/]; look at report.html.")


def _notes(each: FiguresOf) -> list[str]:
    figures, notes = each.figures, []
    fresh = figures.data.samples - figures.resumed
    before = f", {figures.resumed} were done before" if figures.resumed else ""
    notes.append(f"{each.name}: {fresh:,} samples in {figures.seconds:.1f} s{before}")
    if figures.broken:
        first = figures.broken[0]
        count = len(figures.broken)
        notes.append(
            f"{count} {'photo' if count == 1 else 'photos'} cannot be read and "
            f"count{'s' if count == 1 else ''} as wrong (the first: {first.name}, {first.reason})"
        )
    return notes
