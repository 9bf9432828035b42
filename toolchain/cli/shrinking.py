"""The command ``shrink``."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli import asking
from toolchain.cli.app import Json, app, stage_progress
from toolchain.cli.feeding import need_size
from toolchain.cli.measuring import accuracy_measure
from toolchain.cli.options.files import Files
from toolchain.cli.options.grouping import grouped
from toolchain.cli.options.inputs import Inputs
from toolchain.cli.options.pruning import Pruning
from toolchain.cli.options.weights import Weights
from toolchain.cli.recipes import folder_name, recipe_for
from toolchain.cli.shrunk import print_report, print_slower
from toolchain.cli.streams import print_json_text
from toolchain.errors import InputError
from toolchain.records.run_folder import REPORT

if TYPE_CHECKING:
    from toolchain.recipe import Recipe
    from toolchain.records.cost_tables import CostReport
    from toolchain.workflows.accuracy import AccuracyMeasure


@app.command(
    epilog="Examples:  [bold]toolchain shrink eresfd --rate 0.1[/]   |   "
    "[bold]toolchain shrink eresfd --ckpt ERES30_FPGM.pth --photo group.jpg[/]   |   "
    "[bold]toolchain shrink mynet:build --size 224x224 --rate 0.3[/]"
)
@grouped
def shrink(
    model: Annotated[
        str, typer.Argument(help="eresfd, extd, yunet, or module:factory for your own.")
    ],
    pruning: Pruning,
    weights: Weights,
    inputs: Inputs,
    files: Files,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Random weights from the recipe's seed.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Output folder; out/MODEL by default.")] = None,
    photo: Annotated[list[Path] | None, typer.Option(help="A photo to prove and draw on.")] = None,
    anchor_ratio: Annotated[
        float | None, typer.Option(help="Anchor height over width, if the weights need another.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe instead of the shipped one.")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Tell of rewrites that do not apply, too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Shrink a network, export it, and prove that nothing was lost."""
    recipes = _recipes(model, recipe, pruning, weights, inputs, files, untrained=untrained)
    if as_json and len(recipes) > 1:
        raise InputError("--json prints one result; give one --size")
    formats, ckpt = files.wanted, weights.ckpt
    asking.need_module(model)
    need_size(model, recipes[0], recipe, inputs.size)
    asking.need_checkpoint(None if untrained else ckpt)
    asking.need_photos(photo)
    asking.need_folder(files.calibration, "a folder of photos")
    asking.need_folder(files.data, "the data: WIDER FACE, or what evaluate.function takes")
    folder = out or Path("out") / folder_name(model)
    asking.need_room(folder)
    known = _costs_of(model, pruning.costs, wanted=pruning.round_to is not None)
    if pruning.round_to is not None:
        assert known is not None
        recipes = [_rounded(each, known) for each in recipes]

    started = time.perf_counter()
    from toolchain.records.stages import Stage
    from toolchain.workflows.pipeline import Job, run_shrink  # takes seconds

    before: tuple[Stage, ...] = (Stage("load PyTorch", round(time.perf_counter() - started, 3)),)
    job = Job(
        recipe=recipes[0],
        out=folder,
        checkpoint=ckpt,
        choice=weights.choice,
        photos=tuple(photo or ()),
        dynamic=files.dynamic,
        anchor_ratio=anchor_ratio,
        accept_partial=pruning.accept_partial,
        untrained=untrained,
        formats=formats,
        calibration=files.calibration,
        assumes_input=":" in model and recipe is None and not inputs.says_pixels,
        accuracy_of=_accuracy_of(files.data, recipes[0]),
        command=shlex.join(["toolchain", *sys.argv[1:]]),
    )
    complete = True
    for each, text in zip(recipes, inputs.sizes, strict=True):
        place = folder if len(recipes) == 1 else folder.with_name(f"{folder.name}-{text}".lower())
        with stage_progress() as on_stage:
            report = run_shrink(dataclasses.replace(job, recipe=each, out=place), on_stage, before)
        before = ()
        if as_json:
            print_json_text((place / REPORT).read_text(encoding="utf-8"))
        else:
            print_report(report, place, verbose=verbose)
            print_slower(report, known)
        complete &= report.certificate is None or report.certificate.is_complete
    if not complete:
        raise typer.Exit(1)


def _accuracy_of(data: Path | None, recipe: Recipe) -> AccuracyMeasure | None:
    """Return what measures files; the data that the recipe needs are read now."""
    if data is None:
        return None
    measure = accuracy_measure(data)
    measure.prepare(recipe)
    return measure


def _recipes(
    model: str,
    path: Path | None,
    pruning: Pruning,
    weights: Weights,
    inputs: Inputs,
    files: Files,
    *,
    untrained: bool,
) -> list[Recipe]:
    """Return the recipe that was asked for, at each size."""
    from toolchain.recipe import override

    prune = pruning.fields
    if pruning.parameters is not None or pruning.instructions is not None:
        others = prune | {
            "ckpt": weights.ckpt,
            "round-to": pruning.round_to,
            "untrained": untrained or None,
        }
        prune = _within(model, pruning, others)
    fields = files.fields | inputs.fields
    return [
        inputs.fed(override(recipe_for(model, path, prune, size), fields)) for size in inputs.sizes
    ]


def _within(model: str, pruning: Pruning, others: Mapping[str, object]) -> dict[str, object]:
    """Return how the shipped network was pruned that the budget takes."""
    from toolchain.widths.budget import read_instructions, read_parameters
    from toolchain.zoo.picking import best_within

    given = [f"--{name}" for name, value in others.items() if value is not None]
    if given:
        option = "--instructions" if pruning.parameters is None else "--parameters"
        raise InputError(f"{option} takes a network that is shipped; leave out {given[0]}")
    parameters, instructions = pruning.parameters, pruning.instructions
    member = best_within(
        model,
        None if parameters is None else read_parameters(parameters),
        None if instructions is None else read_instructions(instructions),
    )
    named = {
        "pruned_channels": {
            group: list(indices) for group, indices in member.pruned_channels.items()
        }
    }
    choice = named if member.pruned_channels else {"criterion": member.facts["criterion"]}
    scope = member.facts["scope"]
    exact = {"align": 1, "scope": scope, "rate": member.rate, "widths": member.widths}
    return {**choice, **exact}


def _costs_of(model: str, path: Path | None, *, wanted: bool) -> CostReport | None:
    """Return the cost report that is asked for, or else the one that is there."""
    from toolchain.widths.files import place_of, read_report

    if wanted or path:
        return read_report(path or place_of(model, "rpi4"), model)
    with contextlib.suppress(InputError):  # nobody asked for it
        return read_report(place_of(model, "rpi4"), model)
    return None


def _rounded(recipe: Recipe, known: CostReport) -> Recipe:
    """Return the recipe with widths in place of its rate: no slower, and wider where that is free.

    Raises :class:`InputError` without a rate, and in scope ``layer``.
    """
    from toolchain.pruning.criteria import count_of
    from toolchain.recipe import override

    prune = recipe.prune
    if not prune.rate or prune.scope != "group":
        raise InputError("--round-to auto rounds the widths of a rate, in scope group; give --rate")
    widths = {
        group_cost.group: group_cost.width - count_of(prune.rate, group_cost.width)
        for group_cost in known.groups
    }
    return override(recipe, {"prune.rate": None, "prune.widths": known.rounded(widths)})
