"""From weights and a budget to a plan: widths looked at, chosen, and the network really shrunk."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from toolchain.arm.checking import check_folder
from toolchain.arm.emulation import count_layers
from toolchain.checking.cost import macs_by_weight
from toolchain.errors import InputError
from toolchain.models.choosing import Choice
from toolchain.recipe import Recipe, override
from toolchain.recipe.writing import as_toml
from toolchain.records.cost_tables import CostReport, PlannedBoard, PlannedGroup, Uniform, WidthPlan
from toolchain.records.run_folder import NCNN_FOLDER, ONNX
from toolchain.records.stages import Report
from toolchain.report import wording
from toolchain.system.files import write_bytes
from toolchain.widths import planning
from toolchain.widths.budget import Wanted
from toolchain.widths.choosing import Problem
from toolchain.widths.cost_table import widths_of
from toolchain.widths.costs import CostModel
from toolchain.widths.importance import Importance, Ranking
from toolchain.widths.looking import Board, Deployed, Look, deploy, look_at_widths
from toolchain.widths.parameters import macs_problem, parameter_problem
from toolchain.workflows.pipeline import Job, run_shrink
from toolchain.zoo.sources import Loaded

SHRUNK = "shrunk"
"""Where the network that is shrunk by a plan lies beside it."""


@dataclass(frozen=True)
class Wish:
    """What a plan is asked for."""

    loaded: Loaded
    """With the recipe of the whole network."""
    checkpoint: Path | None
    choice: Choice
    """Which of the checkpoint's weights are wanted."""
    wanted: Wanted
    ranking: Ranking
    """How filters of a group are ranked."""
    least: float
    """Share of its filters that every group keeps."""
    every: int
    """Widths are looked at in such steps."""
    look: Look
    """What widths are looked at on."""
    align: int
    """Widths that stay are multiples of it, or whole."""
    place: Path
    """Folder for the recipe of the plan, and for what is shrunk by it."""
    command: str


def plan_by_count(wish: Wish, on_stage: Callable[[str], None]) -> WidthPlan:
    """Choose the widths that lose least within so many parameters, or MACs; shrink by them, and
    count.
    """
    loaded = wish.loaded
    deployed = deploy(loaded.network, loaded.recipe, loaded.image)
    groups, look = deployed.groups, wish.look
    unit = wish.wanted.counted or "parameters"
    whole = _whole(deployed, loaded if unit == "MACs" else None)
    unpruned = round(whole.cost(whole.widest))
    budget = wish.wanted.counted_of(unpruned)
    widths = {group.name: widths_of(group.width, wish.every, wish.align) for group in groups}
    importance = look_at_widths(loaded, groups, widths, wish.ranking, look, on_stage)
    on_stage("choose widths")
    losses = planning.losses_of(importance, widths, wish.least)
    problem = dataclasses.replace(whole, losses=losses)
    chosen = planning.plan_counted(problem, budget, unit)
    uniform = planning.uniform_within(groups, importance, budget, whole.cost)
    planned = planning.planned_groups(groups, chosen, importance)
    made = _predicted(wish, unit, None, unpruned, budget, chosen, look, uniform, planned)
    return _counted(made, importance, wish, on_stage)


def plan_by_rate(wish: Wish, on_stage: Callable[[str], None]) -> WidthPlan:
    """Choose which filters go by a rate that all groups share; shrink by that, and count."""
    loaded, rate = wish.loaded, wish.wanted.rate or 0.0
    deployed = deploy(loaded.network, loaded.recipe, loaded.image)
    groups, look = deployed.groups, wish.look
    if wish.align > 1:
        return _by_rate_in_blocks(wish, deployed, on_stage)
    left = planning.at_rate(groups, rate)
    if all(left[group.name] == group.width for group in groups):
        raise InputError(f"--rate {rate:g} takes no filter of any group; give a higher one")
    if not all(left.values()):
        raise InputError(f"--rate {rate:g} leaves no filter in some groups; give a lower one")
    whole = _whole(deployed)
    widths = {group.name: sorted({left[group.name], group.width}) for group in groups}
    importance = look_at_widths(loaded, groups, widths, wish.ranking, look, on_stage)
    unpruned, cost = round(whole.cost(whole.widest)), round(whole.cost(left))
    chosen = planning.Chosen(left, cost, cost, importance.loss(left))
    planned = planning.planned_groups(groups, chosen, importance)
    made = _predicted(wish, "parameters", None, unpruned, cost, chosen, look, None, planned)
    return _counted(made, importance, wish, on_stage)


def _by_rate_in_blocks(
    wish: Wish, deployed: Deployed, on_stage: Callable[[str], None]
) -> WidthPlan:
    """Take blocks of filters from groups where that loses least, until the rate is met."""
    groups, look, rate = deployed.groups, wish.look, wish.wanted.rate or 0.0
    widths = {group.name: widths_of(group.width, wish.every, wish.align) for group in groups}
    importance = look_at_widths(wish.loaded, groups, widths, wish.ranking, look, on_stage)
    on_stage("choose widths")
    losses = planning.losses_of(importance, widths, wish.least)
    chosen = planning.plan_filters(groups, losses, rate)
    whole = _whole(deployed)
    unpruned, cost = round(whole.cost(whole.widest)), round(whole.cost(chosen.widths))
    chosen = dataclasses.replace(chosen, cost=cost, least=cost)
    planned = planning.planned_groups(groups, chosen, importance)
    made = _predicted(wish, "parameters", None, unpruned, cost, chosen, look, None, planned)
    return _counted(made, importance, wish, on_stage)


def _whole(deployed: Deployed, of_macs: Loaded | None = None) -> Problem:
    """Return what counts parameters, or the MACs of a network on its example, before it is known
    what widths lose.
    """
    nothing_lost = {group.name: {group.width: 0.0} for group in deployed.groups}
    counted = deployed.network, deployed.flow, deployed.groups, nothing_lost
    if of_macs is None:
        return parameter_problem(*counted)
    return macs_problem(*counted, *macs_by_weight(deployed.network, of_macs.example))


def _counted(
    made: WidthPlan, importance: Importance, wish: Wish, on_stage: Callable[[str], None]
) -> WidthPlan:
    """Return the plan with the parameters, or MACs, of what is really shrunk by it."""
    after = _shrunk(_write_recipe(made, importance, wish), wish, on_stage).cost_after
    parameters = after.deployed_parameters + after.non_layer_parameters
    return dataclasses.replace(made, measured=after.macs if made.unit == "MACs" else parameters)


def plan_on_board(
    wish: Wish, costs: CostModel, report: CostReport, board: Board, on_stage: Callable[[str], None]
) -> WidthPlan:
    """Choose the widths that lose least within so many instructions; shrink by them, and count."""
    loaded, budget = wish.loaded, wish.wanted.of(report.instructions, board.target)
    groups, look = tuple(costs.template.groups.values()), wish.look
    open_groups = [group_cost.aligned(wish.align) for group_cost in report.groups]
    widths = {group_cost.group: group_cost.widths for group_cost in open_groups}
    importance = look_at_widths(loaded, groups, widths, wish.ranking, look, on_stage)
    chosen = planning.plan_widths(costs, open_groups, importance, budget, wish.least, on_stage)
    uniform = planning.uniform_within(groups, importance, budget, costs.measured_total(on_stage))
    planned = planning.planned_groups(groups, chosen, importance)
    on = PlannedBoard(report.target, report.name, report.core, report.runtime, report.size)
    whole = report.instructions
    made = _predicted(wish, "instructions", on, whole, budget, chosen, look, uniform, planned)
    recipe = _write_recipe(made, importance, wish)
    return dataclasses.replace(made, measured=_instructions(recipe, wish, board, on_stage))


def _predicted(
    wish: Wish,
    unit: str,
    board: PlannedBoard | None,
    unpruned: int,
    budget: int,
    chosen: planning.Chosen,
    look: Look,
    uniform: Uniform | None,
    groups: tuple[PlannedGroup, ...],
) -> WidthPlan:
    """Return the plan; what is measured of it is the prediction, until it is really shrunk."""
    model = wish.loaded.recipe.model.name
    return WidthPlan(
        model, unit, board, wish.ranking, unpruned, budget, chosen.least,
        chosen.cost, chosen.cost, chosen.loss, look.words, look.levels.weights, uniform, groups,
    )  # fmt: skip


def _write_recipe(made: WidthPlan, importance: Importance, wish: Wish) -> Recipe:
    """Write plan.toml, and return the recipe that it is."""
    narrowed = {group.group: group.after for group in made.groups if group.after < group.before}
    named = {group: importance.pruned_channels(group, width) for group, width in narrowed.items()}
    chosen = named if wish.ranking == "outputs" else {}
    rate = wish.wanted.rate
    much: dict[str, object] = (
        {"prune.rate": rate} if rate and wish.align == 1 else {"prune.widths": narrowed}
    )
    planned = override(wish.loaded.recipe, {**much, "prune.pruned_channels": chosen})
    wish.place.mkdir(parents=True, exist_ok=True)
    write_bytes(wish.place / "plan.toml", (_heading(made) + as_toml(planned)).encode())
    return planned


def _heading(made: WidthPlan) -> str:
    what = f"{made.predicted:,} of {made.unpruned:,} {made.unit}"
    if made.board is not None:
        size, runtime = wording.shape(made.board.size), made.board.runtime
        what = f"{made.board.name}: {what} of one\n# inference at {size}, {runtime}"
    return f"# Planned for {what}. For shrink and train, by --recipe.\n\n"


def _instructions(recipe: Recipe, wish: Wish, board: Board, on_stage: Callable[[str], None]) -> int:
    """Shrink by the plan, export and prove; return the instructions of what comes out.

    An ONNX file has the form in which widths are measured: other rewrites hold for some widths
    only.
    """
    folder, cache = wish.place / SHRUNK, board.cache
    if board.kind == "ncnn":
        _shrunk(recipe, wish, on_stage, ("onnx", "ncnn"))
        on_stage(f"run it on {board.target.name}")
        _, (found,) = count_layers((), [folder / NCNN_FOLDER], board.target, board.sysroot)
        return found
    _shrunk(override(recipe, {"export.rewrites": ["leaky"]}), wish, on_stage)
    checked = check_folder(folder, [ONNX], board.target, board.sysroot, (), cache, on_stage)
    return checked.main.instructions_per_inference


def _shrunk(
    recipe: Recipe,
    wish: Wish,
    on_stage: Callable[[str], None],
    formats: tuple[str, ...] = ("onnx",),
) -> Report:
    folder = wish.place / SHRUNK
    job = Job(
        recipe,
        folder,
        wish.checkpoint,
        choice=wish.choice,
        formats=formats,
        command=wish.command,
    )
    return run_shrink(job, on_stage)
