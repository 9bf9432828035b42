"""The commands ``shrink`` and ``inspect``."""

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
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from toolchain.cli import asking
from toolchain.cli.app import Json, app, stage_progress
from toolchain.cli.feeding import need_size
from toolchain.cli.measuring import accuracy_measure
from toolchain.cli.options.files import Files
from toolchain.cli.options.grouping import grouped
from toolchain.cli.options.inputs import Inputs, InputShape, Size
from toolchain.cli.options.pruning import Pruning
from toolchain.cli.options.weights import Chosen, Weights
from toolchain.cli.recipes import folder_name, recipe_for
from toolchain.cli.streams import print_json, print_json_text
from toolchain.errors import InputError
from toolchain.recipe.loading import shipped_models
from toolchain.records.run_folder import ONNX, REPORT

if TYPE_CHECKING:
    from toolchain.recipe import Recipe
    from toolchain.records.certificate import Certificate, Link
    from toolchain.records.cost_tables import CostReport
    from toolchain.records.parity import Parity
    from toolchain.records.stages import Report
    from toolchain.workflows.inspection import Inspection


@app.command(
    epilog="Examples:  [bold]toolchain shrink eresfd --rate 0.1[/]   |   "
    "[bold]toolchain shrink eresfd --ckpt ERES30_FPGM.pth --photo group.jpg[/]   |   "
    "[bold]toolchain shrink mynet:build --size 224x224 --rate 0.3[/]"
)
@grouped
def shrink(
    model: Annotated[str, typer.Argument(help="eresfd, extd, or module:factory for your own.")],
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
    asking.need_folder(files.data, "the folder of WIDER FACE")
    folder = out or Path("out") / folder_name(model)
    asking.need_room(folder)
    known = _costs_of(model, pruning.costs, wanted=pruning.round_to is not None)
    if pruning.round_to is not None:
        assert known is not None
        recipes = [_rounded(each, known) for each in recipes]

    begun = time.perf_counter()
    from toolchain.records.stages import Stage
    from toolchain.workflows.pipeline import Job, run_shrink  # takes seconds

    before: tuple[Stage, ...] = (Stage("load PyTorch", round(time.perf_counter() - begun, 3)),)
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
        accuracy_of=None if files.data is None else accuracy_measure(files.data),
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
            _print_report(report, place, verbose=verbose)
            _print_slower(report, known)
        complete &= report.certificate is None or report.certificate.is_complete
    if not complete:
        raise typer.Exit(1)


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
    if pruning.parameters is not None:
        others = prune | {
            "ckpt": weights.ckpt,
            "round-to": pruning.round_to,
            "untrained": untrained or None,
        }
        prune = _within(model, pruning.parameters, others)
    form = files.fields | inputs.fields
    return [
        inputs.fed(override(recipe_for(model, path, prune, size), form)) for size in inputs.sizes
    ]


@app.command(
    epilog="Examples:  [bold]toolchain inspect ERES30_FPGM.pth[/]   |   "
    "[bold]toolchain inspect weights.pth --model mynet:build --size 224x224[/]"
)
@grouped
def inspect(
    ckpt: Annotated[Path, typer.Argument(help="A file of weights, or a folder of five.")],
    chosen: Chosen,
    model: Annotated[
        str | None, typer.Option(help="The network, where the file does not tell.")
    ] = None,
    size: Size = None,
    input_shape: InputShape = None,
    as_json: Json = False,
) -> None:
    """Tell what is in a checkpoint: layout, parameters, zero filters, and how much could go."""
    asking.need_checkpoint(ckpt)
    if model is not None:
        recipe_for(model, None, {}, size)
        asking.need_module(model)
    from toolchain.models.layouts import known_model
    from toolchain.recipe import override
    from toolchain.workflows.inspection import inspect_checkpoint

    choice = chosen.choice
    name = known_model(ckpt, model)
    with stage_progress() as on_stage:
        on_stage("look")
        recipe = override(
            recipe_for(name, None, {}, size), {"input.shapes": input_shape} if input_shape else {}
        )
        need_size(name, recipe, None, size)
        found = inspect_checkpoint(ckpt, recipe, choice)
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        _print_inspection(found)


def _within(model: str, parameters: str, others: Mapping[str, object]) -> dict[str, object]:
    """Return how the shipped network was pruned that ``--parameters`` takes."""
    from toolchain.widths.budget import read_parameters
    from toolchain.zoo.reading import choose_within

    given = [f"--{name}" for name, value in others.items() if value is not None]
    if given:
        raise InputError(f"--parameters takes a network that is shipped; leave out {given[0]}")
    member = choose_within(model, read_parameters(parameters))
    named = {
        "pruned_channels": {
            group: list(indices) for group, indices in member.pruned_channels.items()
        }
    }
    choice = named if member.pruned_channels else {"criterion": member.facts["criterion"]}
    scope = member.facts["scope"]
    return {**choice, "scope": scope, "rate": member.rate, "widths": member.widths}


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


def _print_slower(report: Report, known: CostReport | None) -> None:
    """Say in one line which widths cost more than wider ones, or that the whole is slower here."""
    from toolchain.report.run.notes import slower_words

    console = Console(highlight=False, soft_wrap=True, emoji=False)
    if known is None:
        if report.latency is not None and report.latency.ratio_low > 1:
            console.print(
                f"Slower than before, on this machine: [bold]toolchain cost {escape(report.model)}"
                f"[/] measures the widths that are not on a board, --round-to auto takes them."
            )
        return
    after = {layer.layer: layer.out_channels_after for layer in report.surgery.layers}
    widths = {
        group_cost.group: after[group_cost.group]
        for group_cost in known.groups
        if 1 <= after.get(group_cost.group, 0) <= group_cost.width
    }
    words = slower_words(known, widths)
    if words:
        console.print(escape(words))


def _print_report(report: Report, out: Path, *, verbose: bool) -> None:
    from toolchain.report.run.notes import LOUD

    console = Console(highlight=False, soft_wrap=True, emoji=False)
    for note in report.notes:
        loud = note.startswith(LOUD)
        console.print(f"[bold yellow]{escape(note)}[/]" if loud else escape(note))
    for each in report.rewrites:
        if each.lacking and verbose:
            console.print(escape(f"rewrite {each.name} does not apply: {each.lacking}"))
    console.print(_comparison(report))
    surgery = report.parity_exact or report.parity_surgery
    console.print(f"proved: {_worst(surgery)}; {_worst(report.parity_onnx)}", markup=False)
    _print_chain(report, console)
    console.print(f"Results are in [bold]{escape(str(out))}[/]; look at report.html.")
    if report.photos or report.model in shipped_models():
        console.print(
            f"Next: copy {escape(str(out / 'model.onnx'))} and detect.py beside it to the board, "
            f"run there: [bold]python3 detect.py model.onnx PHOTO --out found[/]",
        )


def _worst(parity: Parity) -> str:
    """Return the worst place of a comparison, in words."""
    case = parity.worst_case
    assert case is not None
    spot = case.spot(parity.figure)
    return (
        f"{parity.link} differs by {parity.worst or 0.0:.1e} of the range at most "
        f"({spot.place}, on {case.input}; limit {parity.limit:.0e})"
    )


def _print_chain(report: Report, console: Console) -> None:
    """Print each file for a board with its size and what it costs, and what is missing."""
    certificate = report.certificate
    if certificate is None:
        return
    size = {file.name: file.size_bytes for file in certificate.files}
    table = Table(box=None, pad_edge=False)
    for heading in ("file", "bytes", "differs by (of range)", "kept", "AP lost, points"):
        table.add_column(heading, justify="left" if heading == "file" else "right")
    for link in certificate.links:
        if link.after in size and not link.after.startswith("chain/"):
            precision = link.precision
            worst, mean = _added_up(link, certificate)
            table.add_row(
                escape(link.after),
                f"{size[link.after]:,}",
                f"{worst:.1e} at most, {mean:.1e} on average",
                _kept(link),
                "" if precision is None else f"{100 * precision.lost:.2f}",
            )
    console.print(table)
    for failure in certificate.failures:
        console.print(f"[bold red]INCOMPLETE: {escape(failure.file)}: {escape(failure.reason)}[/]")


def _kept(link: Link) -> str:
    """Return how many boxes, scores or classes of the file before the link keeps."""
    if link.boxes is not None:
        return f"{link.boxes.both} of {link.boxes.both + link.boxes.missed} boxes"
    worst = max(link.decisions, key=lambda each: each.share, default=None)
    return "" if worst is None else f"{worst.kept} of {worst.made} {worst.words}"


def _added_up(link: Link, certificate: Certificate) -> tuple[float, float]:
    """Return a link's largest and mean difference, those of files in ``chain/`` before it added."""
    made = {each.after: each for each in certificate.links}
    worst, mean = link.worst or 0.0, link.mean or 0.0
    if not link.before.startswith("chain/") or link.before not in made:
        return worst, mean
    before = _added_up(made[link.before], certificate)
    return worst + before[0], mean + before[1]


def _comparison(report: Report) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "before", "after", "change"):
        table.add_column(heading, justify="left" if not heading else "right")
    before, after = report.cost_before, report.cost_after
    size = {item.name: item.size_bytes for item in report.artifacts}[ONNX]
    for name, a, b in (
        ("deployed parameters", before.deployed_parameters, after.deployed_parameters),
        ("multiply-accumulates", before.macs, after.macs),
        ("model.onnx, bytes", report.onnx_before_bytes, size),
    ):
        table.add_row(name, f"{a:,}", f"{b:,}", f"{b / a - 1:+.1%}" if a else "")
    if report.latency is not None:
        latency = report.latency
        table.add_row(
            "time here, ms (1 thread)",
            f"{latency.before_ms:.1f}",
            f"{latency.after_ms:.1f}",
            f"x {latency.ratio:.2f} ({latency.ratio_low:.2f}-{latency.ratio_high:.2f})",
        )
    total = len(report.surgery.filters)
    kept = report.surgery.count("kept")
    table.add_row("zeroed filters", str(total), str(kept), f"{total - kept} removed")
    return table


def _print_inspection(found: Inspection) -> None:
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    for note in found.notes:
        console.print(escape(note))
    console.print(
        f"{escape(found.name)}: {escape(str(found.layout))} of {escape(found.model)}, "
        f"SHA-256 {found.sha256}"
    )
    console.print(
        f"{found.parameters:,} parameters, {found.nonzero_parameters:,} of them not zero; "
        f"deployed {found.deployed_parameters_before:,}, after shrinking "
        f"{found.deployed_parameters_after:,}"
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("layer")
    for heading in ("filters", "zero", "could go"):
        table.add_column(heading, justify="right")
    for layer in found.layers:
        if layer.zeroed_filters:
            going = layer.zeroed_filters - layer.kept
            table.add_row(
                escape(layer.layer),
                str(layer.out_channels_before),
                str(layer.zeroed_filters),
                str(going),
            )
    if table.row_count:
        console.print(table)
    else:
        console.print("no filter is zero; shrink with --rate to zero some")
