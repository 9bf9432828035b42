"""Costs per width, and a plan made of them, as HTML pages."""

from __future__ import annotations

from toolchain.records.cost_tables import CostReport, GroupCost, PlannedGroup, WidthPlan
from toolchain.report import wording
from toolchain.report.charts import figures
from toolchain.report.document.frame import page
from toolchain.report.document.markup import name, paragraph, section, table, text

HEIGHT = 44
"""Pixels of a group."""


def cost_html(report: CostReport) -> str:
    """Return a page with every group's group."""
    title = f"What widths cost: {text(report.model)} on {text(report.name)}"
    ranked = sorted(report.groups, key=lambda each: -each.instructions[-1])
    rows = "".join(
        figures.row(_group(each.group, each.layers), _stairs(each), _ends(each)) for each in ranked
    )
    legend = _legend(
        ("live", "every wider one costs more"), ("removed_live", "a wider one costs no more")
    )
    picture = (
        f'{legend}<figure><ol class="rows">{rows}</ol><figcaption>A bar for every width that was '
        f"measured, narrowest first: millions of instructions of the operators that touch the "
        f"group, all other groups whole.</figcaption></figure>"
    )
    body = [
        section("group_cost", "Instructions per group and width", paragraph(_cost_words(report)),
                picture),
        section("numbers", "In numbers", _numbers(report)),
    ]  # fmt: skip
    return _page(title, body)


def plan_html(plan: WidthPlan) -> str:
    """Return a page with every group's width before and after."""
    on = "" if plan.board is None else f" on {text(plan.board.name)}"
    title = f"A plan for {text(plan.model)}{on}"
    rows = "".join(
        figures.row(name(each.group), _kept(each), f"{each.before} → {each.after}")
        for each in plan.groups
    )
    picture = (
        f"{_legend(('live', 'stays'), ('dropped', 'goes'))}<figure>"
        f'<ol class="rows">{rows}</ol><figcaption>Filters of each group.</figcaption></figure>'
    )
    importance = [
        [name(each.group), str(each.before), str(each.after), f"{each.kept:.1%}"]
        for each in plan.groups
    ]
    head = ["group", "filters", "stay", "kept"]
    body = [
        section("result", "Predicted and measured", paragraph(plan_words(plan)), _results(plan)),
        section("widths", "Widths", picture, table("Groups", head, importance, (1, 2, 3))),
    ]
    return _page(title, body)


def plan_words(plan: WidthPlan) -> str:
    """Return how far off the prediction was, and the conditions, in a few sentences."""
    return (
        f"Budget {plan.budget:,} {plan.unit}, predicted {plan.predicted:,}, measured after "
        f"shrinking and exporting {plan.measured:,}: the prediction was off by {plan.error:+.2%}. "
        f"{_conditions(plan)} Which filters go is by {plan.criterion}; what that loses was seen on "
        f"{plan.looked_at}, before any training: average precision is not measured here."
    )


def _conditions(plan: WidthPlan) -> str:
    board = plan.board
    if board is None:
        return "Batch norm is folded in, and scalars outside layers are counted."
    size = wording.shape(board.size)
    return f"{board.name}, {board.core} under QEMU, {board.runtime}, input {size}, one thread."


def _results(plan: WidthPlan) -> str:
    rows = [
        ["unpruned", wording.count(plan.unpruned), "1.000", "0"],
        ["plan, measured", wording.count(plan.measured), f"{plan.measured / plan.unpruned:.3f}",
         f"{plan.loss:.3f}"],
    ]  # fmt: skip
    if plan.uniform is not None:
        uniform = plan.uniform
        rows.append(
            [f"every group at rate {uniform.rate:.4g}", wording.count(uniform.cost),
             f"{uniform.cost / plan.unpruned:.3f}", f"{uniform.loss:.3f}"]
        )  # fmt: skip
    rows.append(
        ["the least that widths need", wording.count(plan.least),
         f"{plan.least / plan.unpruned:.3f}", ""]
    )  # fmt: skip
    head = ["", plan.unit, "share", "lost"]
    note = (
        "Kept is the share of the outputs' variance that is still explained when a group alone is "
        "narrowed, as the geometric mean over the outputs and their levels; lost is the sum over "
        "groups of its negative logarithm."
    )
    if plan.levels:
        weights = ", ".join(f"{weight:.2f}" for weight in plan.levels)
        note += f" Levels weigh {weights}, the finest first."
    return table("Cost and loss", head, rows, (1, 2, 3)) + paragraph(note)


def _page(title: str, body: list[str]) -> str:
    definitions = figures.pattern_definitions()
    return page(title, f"<h1>{title}</h1>", "\n".join(body), definitions=definitions)


def _legend(*parts: tuple[str, str]) -> str:
    entries = "".join(
        f'<li><svg aria-hidden="true" width="30" height="14"><rect class="part-{kind}" x="1" '
        f'y="1" width="28" height="12"/></svg> <span>{text(label)}</span></li>'
        for kind, label in parts
    )
    return f'<ul class="legend">{entries}</ul>'


def _group(group: str, layers: tuple[str, ...]) -> str:
    more = f" <small>and {len(layers) - 1} more</small>" if len(layers) > 1 else ""
    return name(group) + more


def _stairs(group_cost: GroupCost) -> str:
    most, count = max(group_cost.instructions), len(group_cost.widths)
    bars = []
    for index, (width, cost) in enumerate(
        zip(group_cost.widths, group_cost.instructions, strict=True)
    ):
        height = HEIGHT * cost / most
        kind = "live" if width in group_cost.steps else "removed_live"
        bars.append(
            f'<rect class="part-{kind}" x="{figures.percent(index / count)}" '
            f'y="{HEIGHT - height:.1f}" width="{figures.percent(0.9 / count)}" '
            f'height="{height:.1f}"><title>{width}: {wording.count(cost)}</title></rect>'
        )
    words = ", ".join(
        f"{width}: {_millions(cost)}"
        for width, cost in zip(group_cost.widths, group_cost.instructions, strict=True)
    )
    return figures.drawing(f"{group_cost.group}: {words}", HEIGHT, *bars)


def _ends(group_cost: GroupCost) -> str:
    return f"{_millions(group_cost.instructions[0])} to {_millions(group_cost.instructions[-1])}"


def _millions(cost: int) -> str:
    return f"{cost / 1e6:.2f} M"


def _numbers(report: CostReport) -> str:
    rows = [
        [name(each.group), str(each.width), wording.count(each.instructions[-1]),
         ", ".join(map(str, each.steps))]
        for each in report.groups
    ]  # fmt: skip
    head = ["group", "filters", "instructions when whole", "widths worth having"]
    return table("Groups", head, rows, (1, 2))


def _cost_words(report: CostReport) -> str:
    return (
        f"{report.name}, {report.core} under QEMU, {report.runtime}, input "
        f"{wording.shape(report.size)}, one thread: {report.instructions:,} instructions of one "
        f"inference by {report.operators} operators, {report.fixed / report.instructions:.1%} of "
        f"them by operators that no width changes. An operator that touches two groups counts in "
        f"both. A single operator is right to a few thousand instructions."
    )


def _kept(group: PlannedGroup) -> str:
    share = group.after / group.before
    return figures.drawing(
        f"{group.group}: {group.after} of {group.before} stay",
        14,
        f'<rect class="part-live" x="0" y="1" height="12" width="{figures.percent(share)}"/>',
        f'<rect class="part-dropped" x="{figures.percent(share)}" y="1" height="12" '
        f'width="{figures.percent(1 - share)}"/>',
    )
