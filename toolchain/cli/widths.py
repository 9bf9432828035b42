"""The commands ``cost`` and ``plan``: widths by measured cost."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from toolchain.cli.app import Json, app, messages, stage_progress, table_console
from toolchain.cli.boards import CACHE, OwnTargets
from toolchain.cli.checking import write_all
from toolchain.cli.shrinking import recipe_for
from toolchain.files import as_json as as_json_bytes

if TYPE_CHECKING:
    from toolchain.recipe import Recipe
    from toolchain.sources import Loaded
    from toolchain.staircases import CostReport, Plan
    from toolchain.widths.costs import Costs
    from toolchain.widths.measuring import Board

Model = Annotated[str, typer.Argument(help="eresfd, extd, or module:factory for your own.")]
OnBoard = Annotated[str, typer.Option("--target", help="A board with 64 bits.")]
Weights = Annotated[
    Path | None, typer.Option("--ckpt", help="Weights; without, the unpruned that are shipped.")
]
Size = Annotated[str | None, typer.Option(help="Input size, HEIGHTxWIDTH.")]
Every = Annotated[
    int, typer.Option(min=1, max=4096, help="Measure every so many widths; for wide networks.")
]
OwnRecipe = Annotated[Path | None, typer.Option(help="A recipe instead of the shipped one.")]
Cache = Annotated[Path, typer.Option(help="What emulation needs, and costs measured before.")]


@app.command(epilog="Example:  [bold]toolchain cost eresfd --target rpi4 --size 320x320[/]")
def cost(
    model: Model,
    target: OnBoard = "rpi4",
    size: Size = None,
    ckpt: Weights = None,
    every: Every = 1,
    recipe: OwnRecipe = None,
    targets_file: OwnTargets = None,
    out: Annotated[Path | None, typer.Option(help="Folder; out/cost/MODEL-TARGET.")] = None,
    cache: Cache = CACHE,
    as_json: Json = False,
) -> None:
    """Measure what every width of every dependency group costs, on an emulated board."""
    from toolchain.report.staircases import cost_html
    from toolchain.widths.files import NAME, place_of, report_json

    whole = _unpruned(recipe_for(model, recipe, {}, size))
    with stage_progress() as on_stage:
        _, _, found, _ = _measured(whole, ckpt, target, targets_file, cache, every, on_stage)
    place = out or place_of(model, target).parent
    write_all(place, {NAME: report_json(found), "cost.html": cost_html(found).encode()})
    if as_json:
        print(report_json(found).decode(), end="")
    else:
        _print_cost(found, place)


@app.command(
    epilog="Examples:  [bold]toolchain plan eresfd --target rpi4 --latency 0.6[/]   |   "
    "[bold]toolchain plan eresfd --ckpt mine.pth --instructions 40M[/]   and then   "
    "[bold]toolchain train eresfd --recipe out/plan/eresfd-rpi4/plan.toml ...[/]"
)
def plan(
    model: Model,
    target: OnBoard = "rpi4",
    latency: Annotated[
        str | None,
        typer.Option(help="A share of the unpruned cost, 0.6, or 30ms by the board's estimate."),
    ] = None,
    instructions: Annotated[
        str | None, typer.Option(help="Of one inference, as 40M, in place of --latency.")
    ] = None,
    criterion: Annotated[
        Literal["fpgm", "l1"] | None, typer.Option(help="Which filters matter least.")
    ] = None,
    size: Size = None,
    ckpt: Weights = None,
    every: Every = 1,
    least: Annotated[
        float, typer.Option(min=0, max=1, help="Share of its filters that every group keeps.")
    ] = 0.25,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Folder of photos to see on what widths lose; without, random shapes."),
    ] = None,
    recipe: OwnRecipe = None,
    targets_file: OwnTargets = None,
    out: Annotated[Path | None, typer.Option(help="Folder; out/plan/MODEL-TARGET.")] = None,
    cache: Cache = CACHE,
    as_json: Json = False,
) -> None:
    """Choose the widths that meet a budget and lose least; shrink by them, and measure that."""
    from toolchain.recipe import override
    from toolchain.recipe.writing import as_toml
    from toolchain.report.staircases import plan_html
    from toolchain.widths.budget import read_budget

    wanted = read_budget(latency, instructions)
    whole = _unpruned(recipe_for(model, recipe, {"criterion": criterion}, size))
    place = out or Path("out") / "plan" / f"{model.replace(':', '-')}-{target}"
    with stage_progress() as on_stage:
        board, loaded, report, costs = _measured(
            whole, ckpt, target, targets_file, cache, every, on_stage
        )
        budget = wanted.of(report.instructions, board.target)
        made = _planned(loaded, costs, report, budget, least, calibration, on_stage)
        narrowed = {group.group: group.after for group in made.groups if group.after < group.before}
        planned = override(whole, {"prune.widths": narrowed})
        text = _heading(made) + as_toml(planned)
        write_all(place, {"plan.toml": text.encode()})
        made = dataclasses.replace(made, measured=_really(planned, ckpt, place, board, on_stage))
    content = as_json_bytes(dataclasses.asdict(made) | {"prediction_error": made.error})
    write_all(place, {"plan.json": content, "plan.html": plan_html(made).encode()})
    if as_json:
        print(content.decode(), end="")
    else:
        _print_plan(made, place)


def _unpruned(recipe: Recipe) -> Recipe:
    """Return the recipe of the whole network: costs are measured of that, plans made from it."""
    from toolchain.recipe import override

    return override(recipe, {"prune.rate": None, "prune.widths": {}, "prune.scope": "group"})


def _measured(
    recipe: Recipe,
    ckpt: Path | None,
    target: str,
    targets_file: Path | None,
    cache: Path,
    every: int,
    on_stage: Callable[[str], None],
) -> tuple[Board, Loaded, CostReport, Costs]:
    from toolchain.arm.sysroot import prepare
    from toolchain.arm.targets import find_target

    found = find_target(target, targets_file)  # before what takes seconds to load

    from toolchain.sources import load_start
    from toolchain.widths.measuring import Board, measure_report, open_costs

    loaded = load_start(recipe, ckpt)
    for note in loaded.notes:
        messages.print(note, markup=False)
    board = Board(found, prepare(found, cache, on_stage), cache)
    costs = open_costs(loaded, board, on_stage)
    return board, loaded, measure_report(loaded, costs, board, every, on_stage), costs


def _planned(
    loaded: Loaded,
    costs: Costs,
    report: CostReport,
    budget: int,
    least: float,
    calibration: Path | None,
    on_stage: Callable[[str], None],
) -> Plan:
    """Return the plan; what is measured of it is the prediction, until it is really shrunk."""
    from toolchain.staircases import Plan
    from toolchain.widths import planning
    from toolchain.widths.measuring import look_at_widths, read_images

    groups = tuple(costs.template.groups.values())
    images, looked_at = read_images(calibration, loaded)
    importance = look_at_widths(loaded, costs, report.staircases, images, on_stage)
    chosen = planning.plan_widths(costs, report.staircases, importance, budget, least, on_stage)
    return Plan(
        report.model,
        report.target,
        report.name,
        report.core,
        report.runtime,
        report.size,
        loaded.recipe.prune.criterion,
        report.instructions,
        budget,
        chosen.least,
        chosen.instructions,
        chosen.instructions,
        chosen.loss,
        looked_at,
        planning.uniform_within(costs, groups, importance, budget, on_stage),
        planning.planned_groups(costs, chosen, importance),
    )


def _really(
    recipe: Recipe,
    ckpt: Path | None,
    place: Path,
    board: Board,
    on_stage: Callable[[str], None],
) -> int:
    """Shrink by the plan, export and prove; return the instructions of what comes out.

    It has the form in which widths are measured: other rewrites hold for some widths only.
    """
    from toolchain.arm.checking import check_folder
    from toolchain.pipeline import Job, run_shrink
    from toolchain.recipe import override

    folder = place / "shrunk"
    command = shlex.join(["toolchain", *sys.argv[1:]])
    plain = override(recipe, {"export.rewrites": ["leaky"]})
    run_shrink(Job(plain, folder, ckpt, formats=("onnx",), command=command), on_stage)
    found = check_folder(
        folder, ["model.onnx"], board.target, board.sysroot, (), board.cache, on_stage
    )
    return found.main.instructions_per_inference


def _heading(made: Plan) -> str:
    height, width = made.size
    return (
        f"# Planned for {made.name}: {made.predicted:,} of {made.unpruned:,} instructions of one\n"
        f"# inference at {height}x{width}, {made.runtime}. For shrink and train, by --recipe.\n\n"
    )


def _print_cost(found: CostReport, place: Path) -> None:
    console = table_console()
    table = Table(box=None, pad_edge=False)
    for heading in ("group", "filters", "millions of instructions", "at half", "narrowest"):
        table.add_column(heading, justify="left" if heading == "group" else "right")
    for stairs in sorted(found.staircases, key=lambda each: -each.instructions[-1]):
        table.add_row(
            escape(stairs.group),
            str(stairs.width),
            f"{stairs.instructions[-1] / 1e6:.2f}",
            f"{stairs.at((stairs.width + 1) // 2) / 1e6:.2f}",
            f"{stairs.instructions[0] / 1e6:.2f}",
        )
    console.print(table)
    height, width = found.size
    console.print(
        f"{escape(found.name)} emulated, input {height}x{width}, one thread: "
        f"{found.instructions:,} instructions of one inference. Each group: the operators that "
        f"touch it, all others whole."
    )
    console.print(f"Results are in [bold]{escape(str(place))}[/]; look at cost.html.")


def _print_plan(made: Plan, place: Path) -> None:
    console = table_console()
    narrowed = [group for group in made.groups if group.after < group.before]
    for group in narrowed:
        console.print(f"{escape(group.group)}: {group.after} of {group.before}")
    console.print(
        f"predicted {made.predicted:,} instructions ({made.predicted / made.unpruned:.3f} of the "
        f"unpruned), measured {made.measured:,}: off by {made.error:+.2%}"
    )
    if made.uniform is not None:
        console.print(
            f"lost on {made.looked_at}: {made.loss:.2f}; at rate {made.uniform.rate:.4g} for all, "
            f"with {made.uniform.instructions:,} instructions, {made.uniform.loss:.2f}"
        )
    recipe = escape(str(place / "plan.toml"))
    console.print(
        f"Next: [bold]toolchain train {escape(made.model)} --recipe {recipe} --data WIDER "
        f"--teacher WEIGHTS[/], or shrink by the same recipe. Look at plan.html."
    )
